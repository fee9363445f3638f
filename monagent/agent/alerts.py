"""The agent's own alarms: watch readings, the server and the backups, and mail what is worth it.

What changed and the mail that tells of it reach the disk together, so that neither a crash nor a full disk nor a restart
loses an alarm or tells it twice.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from queue import Empty, SimpleQueue
from typing import Any

from monagent.agent.alarm import Alarm, AlertSettings, alarm_of
from monagent.agent.alerting import Alerting, Reading, Surroundings
from monagent.agent.backup_mails import BACKUP, DUE, BackupMails
from monagent.agent.mails import Mails
from monagent.agent.telling import RECIPIENT, Telling
from monagent.alarms import caps
from monagent.alarms.watch import CRITICAL, OK, Told, Watch, observe, step
from monagent.errors import Busy, JournalError
from monagent.models import Outcome

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
_AWAY = "server-away"
"""What is remembered under this word: since when."""


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
        self._inbox: SimpleQueue[Reading | Alerting | None] = SimpleQueue()
        self._alarms: dict[str, Alarm] = {}
        self._telling = Telling(alerting.host, mails, clock)
        self._backups = BackupMails(alerting.backups, mails, self._telling, clock, timer)
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
            self._set(alerting)
            self.start()
        else:
            self._inbox.put(alerting)

    def _set(self, alerting: Alerting) -> None:
        self._alerting = alerting
        self._sensors = frozenset(alert.sensor for alert in alerting.alerts)
        self._telling.host, self._backups.jobs = alerting.host, alerting.backups

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
        self._backups.note(job, outcome)

    # -- the loop -----------------------------------------------------------------------------------------------

    def _run(self) -> None:
        while not self._loaded:
            self._guarded(self._load)
            if not self._loaded and self._stopping.wait(RETRY_SECONDS):
                return
        while True:
            with contextlib.suppress(Empty):
                work = self._inbox.get(timeout=1.0 if self._windows else LOOK_SECONDS)
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

    def _take(self, work: Reading | Alerting) -> None:
        if isinstance(work, Reading):
            self._judge(work)
        else:
            self._take_up(work)

    def _take_up(self, alerting: Alerting) -> None:
        """Work by other sections; those that are gone, or watch something else, are forgotten."""
        self._set(alerting)
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
            if kind == RECIPIENT:
                self._telling.recipients[name] = tuple(kept)
            elif kind == BACKUP:
                self._backups.incidents[name] = kept
            elif kind == DUE:
                self._backups.due.setdefault(key, kept)
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
        except (AttributeError, KeyError, TypeError, ValueError):  # another version wrote it
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
        self._backups.tell()
        self._look_at_the_server(now)
        overdue = self._surroundings.overdue() if self._alerting.backups else {}
        for job, (_, when) in self._alerting.backups.items():
            problem = overdue.get(job, "") if when != "never" else ""
            self._observe(self._alerting.backup_alert(job), problem, now)
        self._telling.recipients = {one: caps.lately(sent, now) for one, sent in self._telling.recipients.items()}
        for alarm in list(self._alarms.values()):
            self._look_at(alarm, now)

    def _look_at(self, alarm: Alarm, now: float) -> None:
        alarm.catch_up(now)
        ends = alarm.watch.state == OK
        unsaid = alarm.unsaid(self._telling.to(alarm.settings.report), now)
        if self._telling.with_room(unsaid, now, grave=not ends, ends=ends):
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
                self._telling.tell(report, self._alarms)
                del self._windows[report]
            except (Busy, JournalError) as error:
                log.error("alerts of [mail:%s] wait: %s", report, error)  # noqa: TRY400 - the disk's fault, or the queue's
                self._windows[report] = self._timer() + RETRY_SECONDS
