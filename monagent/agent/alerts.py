"""The agent's own alarms: watch readings, the server and the backups, and mail what is worth it.

What changed and the mail that tells of it reach the disk together, so that neither a crash nor a restart loses an alarm
or tells it twice.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any

from monagent.agent.alarm import Alarm, AlertSettings, Event, alarm_of
from monagent.agent.history import number_of
from monagent.agent.mails import Mails
from monagent.alarms import caps
from monagent.alarms.watch import CRITICAL, OK, Told, observe, step
from monagent.errors import Busy, JournalError, Refused
from monagent.models import Outcome

if TYPE_CHECKING:
    from monagent.mail.queue import Mail

log = logging.getLogger(__name__)

GROUP_SECONDS = 30.0
"""How long the first event waits for others, that all go in one mail."""
LOOK_SECONDS = 5.0
"""Between looks at the server and the backups."""
CHECKS = 1_000
"""Of one section without arguments that are watched."""
WAITING = 10_000
"""Readings that may wait to be looked at."""
_RECIPIENT = "recipient\0"
_BACKUP = "backup\0"


@dataclass(frozen=True, slots=True)
class Reading:
    """A reading to be judged; `number` is None where there is none to trust."""

    sensor: str
    arguments: tuple[str, ...]
    number: float | None
    unit: str
    message: str
    at: float


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
    backups: Mapping[str, tuple[str, str]] | None = None

    @property
    def is_empty(self) -> bool:
        """Whether nothing is watched."""
        return not (self.alerts or self.server or self.backups)


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What is looked at: since when the server is away (None: it is not) and what to say of it; overdue backups."""

    away_since: Callable[[], float | None]
    away_message: Callable[[], str]
    overdue: Callable[[], Mapping[str, str]]


class Alerts:
    """The thread that watches. Everything else may be called from any thread."""

    def __init__(
        self,
        alerting: Alerting,
        mails: Mails,
        surroundings: Surroundings,
        clock: Callable[[], float] = time.time,
        timer: Callable[[], float] = time.monotonic,
    ) -> None:
        """
        Args:
            alerting: what is watched.
            mails: tell of it, and remember.
            surroundings: what is looked at.
            clock: seconds since the epoch.
            timer: seconds that never step.
        """
        self._timer = timer
        self._mails = mails
        self._surroundings = surroundings
        self._clock = clock
        self._inbox: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._alarms: dict[str, Alarm] = {}
        self._recipients: dict[str, list[float]] = {}
        self._backups: dict[str, str] = {}
        self._windows: dict[str, float] = {}
        self._thread: threading.Thread | None = None
        self._loaded = False
        self._alerting = Alerting(alerting.host)
        self._sensors: frozenset[str] = frozenset()
        self._take_up(alerting)

    # -- life ---------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start watching, where there is something to watch."""
        if self._thread is None and not self._alerting.is_empty:
            self._thread = threading.Thread(target=self._run, name="alerts", daemon=True)
            self._thread.start()

    def stop(self, deadline: float) -> None:
        """Stop, at the latest at `deadline` (monotonic seconds). What was not told yet is told after the next start."""
        if self._thread is not None:
            self._inbox.put(None)
            self._thread.join(max(0.0, deadline - time.monotonic()))

    def use(self, alerting: Alerting) -> None:
        """From now on watch by these settings."""
        if self._thread is None:
            self._take_up(alerting)
            self.start()
        else:
            self._inbox.put(lambda: self._take_up(alerting))

    def _take_up(self, alerting: Alerting) -> None:
        self._alerting = alerting
        self._sensors = frozenset(alert.sensor for alert in alerting.alerts)
        known = {alert.name: alert for alert in self._all_settings()}
        for key, alarm in list(self._alarms.items()):
            if alarm.settings.name in known:
                alarm.settings = known[alarm.settings.name]
            else:
                del self._alarms[key]

    def _all_settings(self) -> list[AlertSettings]:
        server = [self._alerting.server[0]] if self._alerting.server else []
        backups = [_backup_alert(job, report) for job, (report, _) in (self._alerting.backups or {}).items()]
        return [*self._alerting.alerts, *server, *backups]

    # -- what comes in ------------------------------------------------------------------------------------------

    def watches(self, sensor: str) -> bool:
        """Whether the readings of a sensor are looked at."""
        return sensor in self._sensors

    def note_reading(self, reading: Reading) -> None:
        """Judge a reading, soon."""
        if self._inbox.qsize() < WAITING:
            self._inbox.put(lambda: self._judge(reading))

    def note_backup(self, job: str, outcome: Outcome) -> None:
        """Tell of a backup that has ended, where that is wanted."""
        if job in (self._alerting.backups or {}):
            self._inbox.put(lambda: self._tell_backup(job, outcome))

    # -- the loop -----------------------------------------------------------------------------------------------

    def _run(self) -> None:
        looked = 0.0
        while True:
            try:
                work = self._inbox.get(timeout=1.0 if self._windows else LOOK_SECONDS)
                if work is None:
                    return
                self._load()
                work()
            except Empty:
                pass
            except Exception:  # the top of the thread: one bad reading must not end the watch
                log.exception("an alert could not be judged")
            try:
                if self._timer() - looked >= LOOK_SECONDS:
                    looked = self._timer()
                    self._load()
                    self._look()
                self._tell_what_is_due()
            except (Busy, JournalError) as error:
                log.error("alerts wait: %s", error)  # noqa: TRY400 - the disk's fault, or the mail server's
                time.sleep(1.0)
            except Exception:  # the same
                log.exception("alerts could not be told")
                time.sleep(1.0)

    def _load(self) -> None:
        """What was remembered before the last restart."""
        if self._loaded:
            return
        known = {alert.name: alert for alert in self._all_settings()}
        for key, kept in self._mails.remembered().items():
            if key.startswith(_RECIPIENT):
                self._recipients[key.removeprefix(_RECIPIENT)] = kept
            elif key.startswith(_BACKUP):
                self._backups[key.removeprefix(_BACKUP)] = kept
            elif (name := key.split("\0")[1]) in known:
                alarm = alarm_of(known[name], kept)
                self._alarms[alarm.key] = alarm
                if alarm.pending:
                    self._open_window(alarm)
        self._loaded = True

    def _judge(self, reading: Reading) -> None:
        for settings in self._alerting.alerts:
            if settings.sensor != reading.sensor or (settings.arguments and settings.arguments != reading.arguments):
                continue
            alarm = self._alarm(settings, reading.arguments)
            if alarm is not None:
                before = alarm.watch
                alarm.watch, told = observe(before, settings.rule, reading.number, reading.at)
                event = Event(
                    "", alarm.watch.state, reading.at, alarm.watch.since, reading.number, reading.unit, reading.message
                )
                self._noted(alarm, before.state, told, event)

    def _alarm(self, settings: AlertSettings, arguments: tuple[str, ...] = ()) -> Alarm | None:
        alarm = Alarm(settings, arguments)
        if alarm.key not in self._alarms:
            of_it = sum(one.settings.name == settings.name for one in self._alarms.values())
            if of_it >= CHECKS:
                return None
            self._alarms[alarm.key] = alarm
        return self._alarms[alarm.key]

    def _noted(self, alarm: Alarm, before: str, told: Told, event: Event) -> None:
        if alarm.note(told, event):
            self._open_window(alarm)
        if told is not Told.NOTHING or alarm.watch.state != before:
            self._mails.put([], {alarm.key: alarm.plain()})

    def _open_window(self, alarm: Alarm) -> None:
        self._windows.setdefault(alarm.settings.report, self._timer() + GROUP_SECONDS)

    def _look(self) -> None:
        """At the server, at backups that are overdue, and at what could not be told before."""
        now = self._clock()
        if self._alerting.server:
            settings, after = self._alerting.server
            since = self._surroundings.away_since()
            bad = since is not None and now - since >= after
            self._observe(settings, CRITICAL if bad else OK, self._surroundings.away_message() if bad else "", now)
        if self._alerting.backups:
            overdue = self._surroundings.overdue()
            for job, (report, when) in self._alerting.backups.items():
                problem = overdue.get(job, "") if when != "never" else ""
                self._observe(_backup_alert(job, report), CRITICAL if problem else OK, problem, now)
        for alarm in list(self._alarms.values()):
            if alarm.overdue(now):
                self._open_window(alarm)

    def _observe(self, settings: AlertSettings, level: str, message: str, now: float) -> None:
        alarm = self._alarm(settings)
        assert alarm is not None
        before = alarm.watch
        alarm.watch, told = step(before, settings.rule, level, now)
        self._noted(alarm, before.state, told, Event("", level, now, alarm.watch.since, None, "", message))

    # -- telling ------------------------------------------------------------------------------------------------

    def _tell_what_is_due(self) -> None:
        for report, until in list(self._windows.items()):
            if self._timer() >= until:
                self._tell(report)
                del self._windows[report]

    def _tell(self, report: str) -> None:
        """Mail all events of a report; those of one alarm one after the other, those of many in one mail."""
        alarms = [alarm for alarm in self._alarms.values() if alarm.settings.report == report and alarm.pending]
        while any(alarm.pending for alarm in alarms):
            first = [(alarm, alarm.pending[0]) for alarm in alarms if alarm.pending]
            now = self._clock()
            told = [(alarm, event) for alarm, event in first if alarm.is_told(event, now)]
            groups: dict[tuple[bool, tuple[str, ...]], list[tuple[Alarm, Event]]] = defaultdict(list)
            for alarm, event in told:
                ends = event.kind == Told.RECOVERY
                groups[ends, tuple(alarm.recipients) if ends else self._to(report)].append((alarm, event))
            mails = [self._mail(report, list(to), group, now) for (_, to), group in groups.items()]
            for alarm, _ in first:
                alarm.pending.pop(0)
            self._keep([mail for mail in mails if mail is not None], [alarm for alarm, _ in first], now)

    def _to(self, report: str) -> tuple[str, ...]:
        settings = self._mails.mailing.reports.get(report)
        return settings.to if settings else ()

    def _mail(self, report: str, to: list[str], group: list[tuple[Alarm, Event]], now: float) -> Mail | None:
        """One mail about several alarms to whoever may have one more; None when that is nobody."""
        ends = group[0][1].kind == Told.RECOVERY
        grave = any(event.kind == Told.SETTLED for _, event in group)
        cap = self._mails.mailing.cap
        free = [one for one in to if caps.room(self._recipients.get(one, ()), cap, now, grave=grave, ends=ends)]
        incidents = [alarm.name_incident(self._alerting.host, event) for alarm, event in group]
        held_back = sum(alarm.held_back for alarm, _ in group)
        context = {"alerts": [self._context(alarm, event) for alarm, event in group]}
        mail = self._made(report, "alert", context, to=free, incidents=incidents, held_back=held_back) if free else None
        for alarm, event in group:
            if mail is None:
                alarm.held_back += 1
            else:
                alarm.was_told(event, free, now)
                log.warning("alert %s %s: %s", alarm.settings.name, " ".join(alarm.arguments), event.level)
        for one in free if mail is not None else ():
            self._recipients[one] = [*caps.lately(self._recipients.get(one, ()), now), now]
        return mail

    def _made(self, report: str, template: str, context: dict[str, Any], **more: Any) -> Mail | None:
        """The mail; by the built-in template where the site's own cannot show this: nobody is to miss it for that."""
        for built_in in (False, True):
            try:
                return self._mails.make(report, template, context, built_in=built_in, **more)
            except Refused as error:
                log.error("[mail:%s] cannot be made: %s", report, error)  # noqa: TRY400 - the template's fault
        return None

    def _context(self, alarm: Alarm, event: Event) -> dict[str, Any]:
        settings = alarm.settings
        state = "warning" if event.kind == Told.FLAPPING and event.level == OK else event.level
        context: dict[str, Any] = {
            "host": self._alerting.host,
            "sensor": settings.sensor,
            "arguments": list(alarm.arguments),
            "state": state,
            "since": event.since,
            "message": self._message(alarm, event),
            "warning": settings.warning,
            "critical": settings.critical,
            "incident": alarm.incident,
            "unit": event.unit,
        }
        if event.value is not None:
            context["value"] = event.value
        if not settings.sensor:
            context["readings"] = []
        return context

    def _message(self, alarm: Alarm, event: Event) -> str:
        from monagent.mail.views import moment  # noqa: PLC0415 - a mail is being made
        from monagent.mail.words import words  # noqa: PLC0415

        report = self._mails.mailing.reports.get(alarm.settings.report)
        w = words(report.language if report else "en")
        said = [event.message] if event.message else []
        if event.kind == Told.FLAPPING:
            said.append(w["flapping"])
        if event.kind == Told.RECOVERY:
            if not alarm.settings.sensor:
                said.append(f"{alarm.settings.name}: {w['ok']}")
            said.append(w["was"].format(state=w.get(alarm.told, alarm.told), time=moment(alarm.began)))
        return "\n".join(said)

    def _keep(self, mails: Sequence[Mail], alarms: Sequence[Alarm], now: float) -> None:
        memory: dict[str, Any] = {alarm.key: None if alarm.is_quiet else alarm.plain() for alarm in alarms}
        for mail in mails:
            memory |= {_RECIPIENT + one: caps.lately(self._recipients.get(one, ()), now) for one in mail.recipients}
        self._mails.put(mails, memory)

    # -- backups ------------------------------------------------------------------------------------------------

    def _tell_backup(self, job: str, outcome: Outcome) -> None:
        """Mail the report of a run, and after a bad one that of the first good one."""
        report, when = (self._alerting.backups or {})[job]
        incident = self._backups.get(job, "")
        bad = outcome.get("status") != "ok"
        changed = bad or any(outcome.get(key) for key in ("done", "left", "differences"))
        if when == "never" or not (incident or bad or when == "always" or (when == "changes" and changed)):
            return
        if bad and not incident:
            incident = f"{self._alerting.host}/backup/{job}/{self._clock():.3f}"
        mail = self._made(report, "backup", outcome, incidents=[incident] if incident else [])
        if mail is None:
            return
        self._mails.put([mail], {_BACKUP + job: incident if bad else None})
        self._backups[job] = incident if bad else ""


def _backup_alert(job: str, report: str) -> AlertSettings:
    return AlertSettings(f"backup {job}", report)


def reading_of(sensor: str, arguments: Sequence[str], outcome: Outcome, at: float, *, trusted: bool) -> Reading:
    """What alarms need of a check's outcome."""
    number = number_of(outcome["data"]) if not outcome["error"] and trusted else None
    metrics = outcome.get("metrics") or [{}]
    said = [str(outcome.get("stderr", "")).strip()]
    if number is None:
        said.insert(0, f"{outcome['error'] or 'no number to trust'}, exit code {outcome['ret_code']}")
    return Reading(
        sensor, tuple(arguments), number, str(metrics[0].get("unit", "")), "\n".join(filter(None, said))[:2000], at
    )
