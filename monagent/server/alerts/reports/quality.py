"""How well checks went in a period: records, and what follows from sums. Rules alone."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

STATES = ("ok", "warning", "unknown", "critical")
"""From good to bad, as sums number them."""


@dataclass(frozen=True, slots=True)
class Trouble:
    """Incidents of one check or host in a period: how many, and their seconds within it."""

    count: int = 0
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Check:
    """One probe of one host in a period.

    Attributes:
        id: of the host's probe.
        every: it runs by itself; without a reading it went wrong then.
        readings: how many came.
        bad: of those, without a number to trust or critical.
        mean, low, high: None: there was no number.
        worst: state.
        trouble: its incidents.
    """

    id: int
    host: str
    probe: str
    scheduled: bool
    readings: int = 0
    bad: int = 0
    warnings: int = 0
    mean: float | None = None
    low: float | None = None
    high: float | None = None
    worst: str = "ok"
    trouble: Trouble = Trouble()

    @property
    def name(self) -> str:
        """As people read it."""
        return f"{self.host} {self.probe}"

    @property
    def availability(self) -> float | None:
        """The share of readings that were neither missing nor critical, from 0 to 1; None: there was none."""
        return 1.0 - self.bad / self.readings if self.readings else None


@dataclass(frozen=True, slots=True)
class Happened:
    """An incident that touches a period. `check` None: the whole host was silent. `closed` None: it goes on."""

    host: str
    check: str | None
    worst: str
    message: str
    opened: float
    closed: float | None
    seconds: float


@dataclass(frozen=True, slots=True)
class Quality:
    """All that a report tells.

    Attributes:
        hosts: how many there are.
        checks: the worst first.
        silent: how long each host handed in nothing, by name; those alone that were silent.
        incidents: the longest first; at most as many as were asked for.
        incident_count, incident_seconds: of all.
        open: incidents that were not over at the end.
    """

    hosts: int
    checks: Sequence[Check]
    silent: dict[str, Trouble]
    incidents: Sequence[Happened]
    incident_count: int
    incident_seconds: float
    open: int

    @property
    def readings(self) -> int:
        """Of all checks."""
        return sum(check.readings for check in self.checks)

    @property
    def availability(self) -> float | None:
        """The share of all readings that were neither missing nor critical; None: there was none."""
        readings = self.readings
        return 1.0 - sum(check.bad for check in self.checks) / readings if readings else None

    @property
    def unwell(self) -> int:
        """How many checks had a bad reading, an incident, or no reading although they should."""
        return sum(is_unwell(check) for check in self.checks)

    @property
    def mute(self) -> list[Check]:
        """Checks that should have run, and gave not one reading."""
        return [check for check in self.checks if check.scheduled and not check.readings]


def is_unwell(check: Check) -> bool:
    """Whether a check is worth a look."""
    return check.bad > 0 or check.trouble.count > 0 or (check.scheduled and not check.readings)


def worst_first(checks: Iterable[Check]) -> list[Check]:
    """By availability, then by how long incidents lasted; those without a reading that should have some come first."""
    return sorted(checks, key=_badness)


def _badness(check: Check) -> tuple[float, float, int, str]:
    if check.availability is None:
        return (0.0 if check.scheduled else 1.0), -check.trouble.seconds, -check.trouble.count, check.name
    return check.availability, -check.trouble.seconds, -check.warnings, check.name


def within(opened: float, closed: float | None, start: float, end: float) -> float:
    """How many seconds of something lie in a period; what is not closed lasts to its end."""
    return max(0.0, min(end if closed is None else closed, end) - max(opened, start))


def bad_readings(missing: int, criticals: int, readings: int) -> int:
    """Missing or critical; a plug-in's critical reading without a number is both, and counts once at most."""
    return min(missing + criticals, readings)


def duration_text(seconds: float) -> str:
    """A length of time in two units at most, like `3 h 12 min`."""
    whole = round(seconds)
    for size, unit, smaller, small in ((86_400, "d", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s")):
        if whole >= size:
            rest = whole % size // smaller
            return f"{whole // size} {unit}" + (f" {rest} {small}" if rest else "")
    return f"{whole} s"
