"""One alarm: what is remembered of it, and which of its events people are told. Rules alone."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from monagent.alarms import caps
from monagent.alarms.quiet import Quiet
from monagent.alarms.watch import CALM_SECONDS, CRITICAL, OK, WARNING, Rule, Told, Watch


@dataclass(frozen=True, slots=True)
class AlertSettings:
    """An `[alert:NAME]` section.

    Attributes:
        name: of the section.
        report: the `[mail:REPORT]` that tells of it.
        sensor: whose readings are watched; "" for what is no reading.
        arguments: of the check that is watched; empty: of all its checks, each on its own.
        rule: what is bad.
        warning, critical: the thresholds as they are written.
        quiet: hours in which only critical is told.
        cap: mails in a day.
    """

    name: str
    report: str
    sensor: str = ""
    arguments: tuple[str, ...] = ()
    rule: Rule = Rule()  # noqa: RUF009 - frozen
    warning: str = ""
    critical: str = ""
    quiet: Quiet | None = None
    cap: int = 10


@dataclass(frozen=True, slots=True)
class Event:
    """Something that is worth telling. Times are seconds since the epoch."""

    kind: str
    level: str
    at: float
    since: float
    value: float | None = None
    unit: str = ""
    message: str = ""


@dataclass(slots=True)
class Alarm:
    """What is remembered.

    Attributes:
        settings: of its section.
        arguments: of the check, as text.
        watch: of its readings.
        told: the level that people know of.
        recipients: who got the alarm, and will get its end.
        sent: when mails about it were made.
        held_back: how many were not.
        incident: what its mails are a thread of; "" while all is well.
        began: when the problem that people know of began.
        muted: something happened in quiet hours.
        pending: events that are to be told.
    """

    settings: AlertSettings
    arguments: tuple[str, ...] = ()
    watch: Watch = field(default_factory=Watch)
    told: str = OK
    recipients: list[str] = field(default_factory=list)
    sent: list[float] = field(default_factory=list)
    held_back: int = 0
    incident: str = ""
    began: float = 0.0
    muted: bool = False
    pending: list[Event] = field(default_factory=list)

    @property
    def key(self) -> str:
        """What it is remembered by."""
        return "\0".join(("alarm", self.settings.name, *self.arguments))

    def note(self, told: Told, event: Event) -> bool:
        """Something was observed; whether it is to be told."""
        if told is Told.NOTHING:
            return False
        self.pending.append(dataclasses.replace(event, kind=told.value))
        return True

    def overdue(self, now: float) -> bool:
        """Bring up again what could not be told when it happened, and still stands; whether there is such a thing."""
        quiet = self.settings.quiet
        if self.pending or self.watch.flapping or self.watch.state == self.told or (quiet and quiet.covers(now)):
            return False
        lasting = self.watch.state != OK and now - self.watch.since >= CALM_SECONDS
        if not self.muted and not (lasting and self._room(now, grave=True, ends=False)):
            return False
        self.muted = False
        kind = Told.RECOVERY if self.watch.state == OK else Told.SETTLED
        self.pending.append(Event(kind.value, self.watch.state, now, self.watch.since))
        return True

    def is_told(self, event: Event, now: float) -> bool:
        """Whether people are told of an event of its; counts those that are not."""
        ends = event.kind == Told.RECOVERY
        if ends and self.told == OK:  # nobody knows that there was anything
            return False
        quiet = self.settings.quiet
        if quiet and quiet.covers(now) and event.level != CRITICAL:
            self.muted = True
            return False
        if not self._room(now, grave=event.kind == Told.SETTLED, ends=ends):
            self.held_back += 1
            return False
        return True

    def _room(self, now: float, *, grave: bool, ends: bool) -> bool:
        return caps.room(self.sent, self.settings.cap, now, grave=grave, ends=ends)

    def was_told(self, event: Event, recipients: list[str], now: float) -> None:
        """A mail about an event is on its way."""
        self.sent = [*caps.lately(self.sent, now), now]
        self.held_back = 0
        if event.kind == Told.RECOVERY:
            self.told, self.recipients, self.incident = OK, [], ""
            return
        # Flapping is told while it may just be well: its end is told all the same.
        self.told = WARNING if event.level == OK else event.level
        self.recipients = list(dict.fromkeys([*self.recipients, *recipients]))

    def name_incident(self, host: str, event: Event) -> str:
        """What the mails about the present trouble are a thread of."""
        if not self.incident:
            self.began = event.since
            self.incident = f"{host}/{self.settings.name}/{' '.join(self.arguments)}/{event.since:.3f}"
        return self.incident

    @property
    def is_quiet(self) -> bool:
        """Whether nothing about it needs to be remembered."""
        return self.watch == Watch(last=self.watch.last) and not (self.pending or self.sent or self.told != OK)

    def plain(self) -> dict[str, Any]:
        """As JSON can carry it."""
        kept = {one.name: getattr(self, one.name) for one in dataclasses.fields(self) if one.name != "settings"}
        return {
            **kept,
            "watch": dataclasses.asdict(self.watch),
            "pending": [dataclasses.asdict(event) for event in self.pending],
        }


def alarm_of(settings: AlertSettings, kept: Mapping[str, Any]) -> Alarm:
    """What was kept by `plain()`."""
    watch = kept["watch"]
    return Alarm(
        settings,
        **{name: value for name, value in kept.items() if name not in ("watch", "pending", "arguments")},
        arguments=tuple(kept["arguments"]),
        watch=Watch(**{**watch, "last": tuple(watch["last"]), "changes": tuple(watch["changes"])}),
        pending=[Event(**event) for event in kept["pending"]],
    )
