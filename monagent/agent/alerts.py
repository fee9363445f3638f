"""The agent's own alarms: watch readings, the server and the backups, and mail what is worth it.

What changed and the mail that tells of it reach the disk together, so that neither a crash nor a full disk nor a restart
loses an alarm or tells it twice.
"""

from __future__ import annotations

import copy
import logging
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any

from monagent.agent.alarm import Alarm, AlertSettings, Event, alarm_of
from monagent.agent.alerting import Alerting, Reading, Surroundings
from monagent.agent.backups import BUSY
from monagent.agent.mails import Mails
from monagent.alarms import caps
from monagent.alarms.watch import CRITICAL, OK, UNKNOWN, WARNING, Told, Watch, observe, step
from monagent.config.checks import SERVER_ALERT
from monagent.errors import Busy, JournalError
from monagent.models import Outcome

if TYPE_CHECKING:
    from monagent.mail.queue import Mail

log = logging.getLogger(__name__)

GROUP_SECONDS = 30.0
"""How long the first event waits for others, that all go in one mail."""
LOOK_SECONDS = 5.0
"""Between looks at the server and the backups."""
RETRY_SECONDS = 5.0
CHECKS = 1_000
"""Of one section without arguments that are not well at the same time."""
WAITING = 10_000
"""Readings that may wait to be looked at."""
_RECIPIENT, _BACKUP, _DUE, _AWAY = "recipient", "backup", "backup-due", "server-away"
"""What is remembered beside alarms: under these words, and a name after a NUL."""


_GRAVITY = (CRITICAL, UNKNOWN, WARNING, OK)


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
        self._alerting = alerting
        self._mails = mails
        self._surroundings = surroundings
        self._clock = clock
        self._timer = timer
        self._inbox: SimpleQueue[Reading | Alerting | str | None] = SimpleQueue()
        self._alarms: dict[str, Alarm] = {}
        self._recipients: dict[str, tuple[float, ...]] = {}
        self._backups: dict[str, str] = {}
        self._due: dict[str, Outcome] = {}
        self._not_before: dict[str, float] = {}
        self._away: float | None = None
        self._windows: dict[str, float] = {}
        self._thread: threading.Thread | None = None
        self._stopping = threading.Event()
        self._loaded = False
        self._looked = 0.0
        self._overflowed = False
        self._sensors = frozenset(alert.sensor for alert in alerting.alerts)

    # -- life ---------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start watching, where there is something to watch."""
        if self._thread is None and not self._alerting.is_empty:
            self._thread = threading.Thread(target=self._run, name="alerts", daemon=True)
            self._thread.start()

    def stop(self, deadline: float) -> None:
        """Stop, at the latest at `deadline` (monotonic seconds). What was not told yet is told after the next start."""
        if self._thread is not None:
            self._stopping.set()
            self._inbox.put(None)
            self._thread.join(max(0.0, deadline - time.monotonic()))

    def use(self, alerting: Alerting) -> None:
        """From now on watch by these settings."""
        if self._thread is None:
            self._alerting = alerting
            self._sensors = frozenset(alert.sensor for alert in alerting.alerts)
            self.start()
        else:
            self._inbox.put(alerting)

    def ailing(self, _seconds: float) -> str:
        """What is wrong with the thread."""
        return "its thread is gone" if self._thread is not None and not self._thread.is_alive() else ""

    # -- what comes in ------------------------------------------------------------------------------------------

    def watches(self, sensor: str) -> bool:
        """Whether the readings of a sensor are looked at."""
        return sensor in self._sensors

    def note_reading(self, reading: Reading) -> None:
        """Judge a reading, soon."""
        full = self._inbox.qsize() >= WAITING
        if full and not self._overflowed:
            log.error("alerts: %d readings wait to be judged; further ones are not", WAITING)
        self._overflowed = full
        if not full:
            self._inbox.put(reading)

    def note_backup(self, job: str, outcome: Outcome) -> None:
        """Tell of a backup that has ended, where that is wanted. On disk when this returns."""
        if job in self._alerting.backups and outcome.get("result") != BUSY:
            key, told = f"{_DUE}\0{job}\0{time.time_ns()}", {**outcome, "job": job}
            try:
                self._mails.put([], {key: told})
            except (Busy, JournalError) as error:
                log.error("the report of backup %s cannot be kept: %s", job, error)  # noqa: TRY400 - the disk's fault
            self._due[key] = told
            self._inbox.put(job)

    # -- the loop -----------------------------------------------------------------------------------------------

    def _run(self) -> None:
        while not self._loaded:
            self._guarded(self._load)
            if not self._loaded and self._stopping.wait(RETRY_SECONDS):
                return
        while True:
            try:
                work = self._inbox.get(timeout=1.0 if self._windows else LOOK_SECONDS)
            except Empty:
                work = ""
            if work is None:
                return
            self._guarded(partial(self._take, work))
            if self._timer() - self._looked >= LOOK_SECONDS:
                self._looked = self._timer()
                self._guarded(self._look)
            self._guarded(self._tell_what_is_due)

    @staticmethod
    def _guarded(work: Callable[[], None]) -> None:
        """The top of the thread: one bad reading, row or mail must not end the watch."""
        try:
            work()
        except (Busy, JournalError) as error:
            log.error("alerts: %s", error)  # noqa: TRY400 - the disk's fault, or the queue's
        except Exception:
            log.exception("alerts: something cannot be judged or told")

    def _take(self, work: Reading | Alerting | str) -> None:
        if isinstance(work, Reading):
            self._judge(work)
        elif isinstance(work, Alerting):
            self._take_up(work)
        # A backup that has ended is among those that are looked at.

    def _take_up(self, alerting: Alerting) -> None:
        """Work by other sections; those that are gone, or watch something else, are forgotten."""
        self._alerting = alerting
        self._sensors = frozenset(alert.sensor for alert in alerting.alerts)
        kept: dict[str, Alarm] = {}
        gone: dict[str, None] = {}
        for key, alarm in self._alarms.items():
            settings = alerting.section(alarm.settings.name)
            if settings is not None and settings.covers(alarm.settings.sensor, alarm.arguments):
                alarm.settings = settings.settings
                kept[key] = alarm
                if alarm.pending:  # the report may be another one now
                    self._open_window(alarm)
            else:
                gone[key] = None
                if alarm.known:
                    log.warning(
                        "alert %s is watched no more; %s were told that it is %s",
                        alarm.settings.name,
                        ", ".join(alarm.known),
                        alarm.watch.state,
                    )
        self._alarms = kept
        if gone:
            self._mails.put([], gone)

    def _load(self) -> None:
        """What was remembered before the last restart."""
        gone: dict[str, None] = {}
        for key, kept in self._mails.remembered().items():
            kind, _, name = key.partition("\0")
            if kind == _RECIPIENT:
                self._recipients[name] = tuple(kept)
            elif kind == _BACKUP:
                self._backups[name] = kept
            elif kind == _DUE:
                self._due.setdefault(key, kept)
            elif kind == _AWAY:
                self._away = kept
            elif kind == "alarm" and not self._load_alarm(key, kept):
                gone[key] = None
        if gone:
            self._mails.put([], gone)
        self._loaded = True

    def _load_alarm(self, key: str, kept: dict[str, Any]) -> bool:
        """Take one up, unless its section is gone or watches something else."""
        try:
            _, name, sensor, *_ = key.split("\0")
            section = self._alerting.section(name)
            if section is None or not section.covers(sensor, tuple(kept["arguments"])):
                return False
            self._alarms[key] = alarm_of(section.settings, kept)
        except Exception:  # another version wrote it
            log.exception("what is remembered of an alert cannot be used, and is forgotten: %r", key)
            return False
        if self._alarms[key].pending:
            self._open_window(self._alarms[key])
        return True

    # -- watching -----------------------------------------------------------------------------------------------

    def _judge(self, reading: Reading) -> None:
        memory: dict[str, Any] = {}
        for settings in self._alerting.alerts:
            if settings.sensor != reading.sensor or (settings.arguments and settings.arguments != reading.arguments):
                continue
            alarm = self._alarm(settings, reading.arguments, well=settings.rule.level(reading.said.value) == OK)
            if alarm is not None:
                watch, told = observe(alarm.watch, settings.rule, reading.said.value, reading.at)
                memory |= self._noted(alarm, watch, told, reading)
        if memory:
            self._mails.put([], memory)

    def _alarm(self, settings: AlertSettings, arguments: tuple[str, ...] = (), *, well: bool) -> Alarm | None:
        """What is remembered of a check. Nothing is of those that have always been well."""
        alarm = Alarm(settings, arguments)
        if alarm.key in self._alarms or well:
            return self._alarms.get(alarm.key)
        if sum(one.settings.name == settings.name for one in self._alarms.values()) >= CHECKS:
            log.error(
                "alert %s: %d checks of it are not well already; %s is not watched", settings.name, CHECKS, arguments
            )
            return None
        self._alarms[alarm.key] = alarm
        return alarm

    def _noted(self, alarm: Alarm, watch: Watch, told: Told, reading: Reading) -> dict[str, Any]:
        """Take over what was observed; what of it is to be remembered."""
        changed = watch.state != alarm.watch.state
        alarm.watch, alarm.said = watch, reading.said
        if alarm.noted(told):
            self._open_window(alarm)
        return {alarm.key: alarm.plain()} if told or changed else {}

    def _open_window(self, alarm: Alarm) -> None:
        self._windows.setdefault(alarm.settings.report, self._timer() + GROUP_SECONDS)

    def _look(self) -> None:
        """At the server, at backups, and at what could not be told when it happened."""
        now = self._clock()
        self._tell_backups()
        self._look_at_the_server(now)
        overdue = self._surroundings.overdue() if self._alerting.backups else {}
        for job, (_, when) in self._alerting.backups.items():
            problem = overdue.get(job, "") if when != "never" else ""
            self._observe(self._alerting.backup_alert(job), problem, now)
        self._recipients = {one: caps.lately(sent, now) for one, sent in self._recipients.items()}
        for alarm in list(self._alarms.values()):
            self._look_at(alarm, now)

    def _look_at(self, alarm: Alarm, now: float) -> None:
        alarm.catch_up(now)
        ends = alarm.watch.state == OK
        unsaid = alarm.unsaid(self._to(alarm.settings.report), now)
        if self._with_room(unsaid, now, grave=not ends, ends=ends):
            alarm.say_again()
            self._open_window(alarm)
        elif alarm.is_settled(now):
            self._mails.put([], {alarm.key: None})
            del self._alarms[alarm.key]

    def _look_at_the_server(self, now: float) -> None:
        """It is away until it has taken something, also over a restart, after which nobody knows at first."""
        if self._alerting.server is None:
            return
        settings, after = self._alerting.server
        since, taken = self._surroundings.away_since(), self._surroundings.last_delivery()
        if self._away is not None and self._away > now:  # the clock was ahead
            self._away = now
            self._mails.put([], {_AWAY: now})
        if since is not None and self._away is None:
            self._away = since
            self._mails.put([], {_AWAY: since})
        elif since is None and self._away is not None and taken is not None and taken > self._away:
            self._mails.put([], {_AWAY: None})
            self._away = None
        bad = self._away is not None and not 0 <= now - self._away < after
        since_then = self._away if self._away is not None else now
        self._observe(settings, self._surroundings.away_message(since_then) if bad else "", now, since_then)

    def _observe(self, settings: AlertSettings, problem: str, now: float, since: float | None = None) -> None:
        alarm = self._alarm(settings, well=not problem)
        if alarm is not None:
            watch, told = step(alarm.watch, settings.rule, CRITICAL if problem else OK, now)
            if since is not None and problem and watch.state != alarm.watch.state:
                watch = replace(watch, since=since)
            memory = self._noted(alarm, watch, told, Reading.of(settings, problem, now))
            if memory:
                self._mails.put([], memory)

    # -- telling ------------------------------------------------------------------------------------------------

    def _tell_what_is_due(self) -> None:
        for report, until in list(self._windows.items()):
            if self._timer() < until:
                continue
            try:
                self._tell(report)
                del self._windows[report]
            except (Busy, JournalError) as error:
                log.error("alerts of [mail:%s] wait: %s", report, error)  # noqa: TRY400 - the disk's fault, or the queue's
                self._windows[report] = self._timer() + RETRY_SECONDS

    def _tell(self, report: str) -> None:
        """Mail all events of a report; those of one alarm one after the other, those of many in one mail."""
        if not self._to(report):  # other settings are on their way
            return
        while alarms := [one for one in self._alarms.values() if one.settings.report == report and one.pending]:
            now = self._clock()
            groups: dict[tuple[str, ...], list[tuple[Alarm, Event]]] = defaultdict(list)
            for alarm in map(copy.deepcopy, alarms):
                event = alarm.pending.pop(0)
                audience = alarm.audience(event, self._to(report), now)
                free = self._with_room(audience, now, grave=event.grave, ends=event.ends)
                if audience and not free and not event.ends:
                    alarm.held_back += 1
                groups[("ends" if event.ends else "begins", *free)].append((alarm, event))
            for (_, *free), group in groups.items():
                self._tell_group(report, free, group, now)

    def _with_room(self, recipients: Sequence[str], now: float, *, grave: bool, ends: bool) -> list[str]:
        cap = self._mails.mailing.cap
        return [one for one in recipients if caps.room(self._recipients.get(one, ()), cap, now, grave=grave, ends=ends)]

    def _to(self, report: str) -> tuple[str, ...]:
        settings = self._mails.mailing.reports.get(report)
        return settings.to if settings else ()

    def _tell_group(self, report: str, to: list[str], group: list[tuple[Alarm, Event]], now: float) -> None:
        """One mail about several alarms, and what is remembered of them, in one commit; no mail where nobody gets one."""
        # What was told a moment ago counts, too.
        ends, grave = group[0][1].ends, any(event.grave for _, event in group)
        to = self._with_room(to, now, grave=grave, ends=ends)
        mail = self._mail(report, to, group) if to else None
        memory: dict[str, Any] = {}
        counted = {one: (*caps.lately(self._recipients.get(one, ()), now), now) for one in to} if mail else {}
        for alarm, event in group:
            if mail is not None:
                alarm.was_told(event, to, now, self._incident(alarm, event))
                log.warning("alert %s %s: %s", alarm.settings.name, " ".join(alarm.arguments), event.kind)
            memory[alarm.key] = alarm.plain()
        memory |= {f"{_RECIPIENT}\0{one}": list(times) for one, times in counted.items()}
        self._mails.put([mail] if mail else [], memory)
        self._recipients |= counted
        self._alarms |= {alarm.key: alarm for alarm, _ in group}

    def _incident(self, alarm: Alarm, event: Event) -> str:
        words = (self._alerting.host, alarm.settings.name, " ".join(alarm.arguments), f"{event.since:.3f}")
        return alarm.incident or "/".join(words)

    def _mail(self, report: str, to: list[str], group: list[tuple[Alarm, Event]]) -> Mail | None:
        group = sorted(group, key=lambda one: _GRAVITY.index(one[1].level))
        incidents = [self._incident(alarm, event) for alarm, event in group]
        held_back = sum(alarm.held_back for alarm, _ in group)
        context = {"alerts": [self._context(alarm, event) for alarm, event in group]}
        return self._made(report, "alert", context, to=to, incidents=incidents, held_back=held_back)

    def _made(self, report: str, template: str, context: dict[str, Any], **more: Any) -> Mail | None:
        """The mail; by the built-in template where the site's own cannot show this: nobody is to miss it for that."""
        for built_in in (False, True):
            try:
                return self._mails.make(report, template, context, built_in=built_in, **more)
            except (Busy, JournalError):
                raise
            except Exception:  # whatever is wrong with one mail must not keep the others
                log.exception("a mail of [mail:%s] cannot be made", report)
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
            "unit": event.said.unit,
        }
        if event.said.value is not None and event.level != UNKNOWN:
            context["value"] = event.said.value
        if not settings.sensor:
            context["readings"] = []
        return context

    def _message(self, alarm: Alarm, event: Event) -> str:
        from monagent.mail.views import moment  # noqa: PLC0415 - a mail is being made
        from monagent.mail.words import words  # noqa: PLC0415

        report = self._mails.mailing.reports.get(alarm.settings.report)
        w = words(report.language if report else "en")
        said = [event.said.message] if event.said.message else []
        rule = alarm.settings.rule
        if event.kind == Told.FLAPPING:
            said.append(w["flapping"])
        if event.kind == Told.REMINDER:
            said.append(w["reminder"])
        if event.said.value is not None and event.level not in (OK, UNKNOWN) and rule.level(event.said.value) == OK:
            said.append(w["not yet"].format(margin=f"{rule.margin:g}"))
        if event.ends:
            if not alarm.settings.sensor:
                word = "server back" if alarm.settings.name == SERVER_ALERT else "backup back"
                said.append(w[word].format(job=alarm.settings.name.removeprefix("backup ")))
            was = next(iter(alarm.known.values()), "")
            said.append(w["was"].format(state=w.get(was, was), time=moment(alarm.began)))
        return "\n".join(said)

    # -- backups ------------------------------------------------------------------------------------------------

    def _tell_backups(self) -> None:
        for key, outcome in list(self._due.items()):
            if self._timer() < self._not_before.get(key, 0.0):
                continue
            try:
                self._tell_backup(key, str(outcome["job"]), outcome)
            except (Busy, JournalError) as error:
                log.error("the report of a backup waits: %s", error)  # noqa: TRY400 - the disk's fault, or the queue's
                self._not_before[key] = self._timer() + RETRY_SECONDS

    def _tell_backup(self, key: str, job: str, outcome: Outcome) -> None:
        """Mail the report of a run, and after a bad one that of the first good one."""
        report, when = self._alerting.backups.get(job, ("", "never"))
        incident = self._backups.get(job, "")
        bad = outcome.get("status") != "ok"
        changed = bad or any(outcome.get(name) for name in ("done", "left", "differences"))
        wanted = incident or bad or when == "always" or (when == "changes" and changed)
        if bad and not incident:
            incident = f"{self._alerting.host}/backup/{job}/{self._clock():.3f}"
        mails, memory = [], {key: None, f"{_BACKUP}\0{job}": incident if bad else None}
        if wanted and when != "never":
            made = self._made(report, "backup", outcome, incidents=[incident] if incident else [])
            mails = [made] if made else []
        self._mails.put(mails, memory)
        self._backups[job] = incident if bad else ""
        self._due.pop(key, None)
        self._not_before.pop(key, None)
