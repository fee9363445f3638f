"""What the agent watches by itself, as values: sections, readings, and what stands around it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from monagent.agent.alarm import AlertSettings, Said
from monagent.agent.history import number_of
from monagent.models import Outcome

MESSAGE_LIMIT = 2000


@dataclass(frozen=True, slots=True)
class Reading:
    """A reading to be judged."""

    sensor: str
    arguments: tuple[str, ...]
    said: Said
    at: float

    @classmethod
    def of(cls, settings: AlertSettings, problem: str, at: float) -> Reading:
        """What stands for a reading where something else is watched."""
        return cls(settings.sensor, settings.arguments, Said(message=problem), at)


@dataclass(frozen=True, slots=True)
class Section:
    """A section that is in force."""

    settings: AlertSettings

    def covers(self, sensor: str, arguments: tuple[str, ...]) -> bool:
        """Whether it watches that check."""
        return self.settings.sensor == sensor and self.settings.arguments in ((), arguments)


@dataclass(frozen=True, slots=True)
class Alerting:
    """All that is watched.

    Attributes:
        host: the name of this host.
        alerts: on readings.
        server: on the monitoring server, and after how many seconds; None: not watched.
        backups: the report for each backup job that is mailed about, and when.
    """

    host: str
    alerts: Sequence[AlertSettings] = ()
    server: tuple[AlertSettings, float] | None = None
    backups: Mapping[str, tuple[str, str]] = field(default_factory=dict)

    @property
    def is_empty(self) -> bool:
        """Whether nothing is watched."""
        return not (self.alerts or self.server or self.backups)

    def backup_alert(self, job: str) -> AlertSettings:
        """What an overdue job is told by."""
        return AlertSettings(f"backup {job}", self.backups[job][0])

    def section(self, name: str) -> Section | None:
        """The section of that name, or what stands for one."""
        server = [self.server[0]] if self.server else []
        known = [*self.alerts, *server, *(self.backup_alert(job) for job in self.backups)]
        return next((Section(one) for one in known if one.name == name), None)


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What is looked at. Times are seconds since the epoch.

    Attributes:
        away_since: since when the server is away; None when it is not, or nobody has tried yet.
        last_delivery: when it took something last; None before the first.
        away_message: what to say of it, given since when.
        overdue: a sentence for each overdue backup job.
    """

    away_since: Callable[[], float | None]
    last_delivery: Callable[[], float | None]
    away_message: Callable[[float], str]
    overdue: Callable[[], Mapping[str, str]]


def reading_of(sensor: str, arguments: Sequence[str], outcome: Outcome, at: float, *, trusted: bool) -> Reading:
    """What alarms need of a check's outcome."""
    number = number_of(outcome["data"]) if not outcome["error"] and trusted else None
    metrics = outcome.get("metrics") or [{}]
    said = [str(outcome.get("stderr", "")).strip()]
    if number is None:
        said.insert(0, f"{outcome['error'] or 'no number to trust'}, exit code {outcome['ret_code']}")
    message = "\n".join(filter(None, said))[:MESSAGE_LIMIT]
    return Reading(sensor, tuple(arguments), Said(number, str(metrics[0].get("unit", "")), message), at)
