"""One alarm: what is remembered of it, and who knows what of it. Rules alone."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from monagent.alarms import caps
from monagent.alarms.quiet import Quiet
from monagent.alarms.watch import CALM_SECONDS, CRITICAL, FLAP_SECONDS, OK, Rule, Told, Watch


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
class Said:
    """What a reading said: the number, where there was one to trust, its unit, and what the sensor wrote."""

    value: float | None = None
    unit: str = ""
    message: str = ""


@dataclass(frozen=True, slots=True)
class Event:
    """Something that is worth telling. Times are seconds since the epoch."""

    kind: str
    level: str
    since: float
    said: Said

    @property
    def ends(self) -> bool:
        """Whether it is the end of something."""
        return self.kind == Told.RECOVERY

    @property
    def grave(self) -> bool:
        """Whether it is an outage that lasts."""
        return self.kind == Told.SETTLED


@dataclass(slots=True)
class Alarm:
    """What is remembered.

    Attributes:
        settings: of its section.
        arguments: of the check.
        watch: of its readings.
        said: by the last one.
        known: who was told that it is not well: address and level.
        sent: when mails about it were made.
        held_back: how many were not.
        incident: what its mails are a thread of; "" while nobody was told anything.
        began: when that began.
        muted: something happened in quiet hours.
        pending: events that are to be told.
    """

    settings: AlertSettings
    arguments: tuple[str, ...] = ()
    watch: Watch = field(default_factory=Watch)
    said: Said = field(default_factory=Said)
    known: dict[str, str] = field(default_factory=dict)
    sent: tuple[float, ...] = ()
    held_back: int = 0
    incident: str = ""
    began: float = 0.0
    muted: bool = False
    pending: list[Event] = field(default_factory=list)

    @property
    def key(self) -> str:
        """What it is remembered by."""
        return "\0".join(("alarm", self.settings.name, self.settings.sensor, *self.arguments))

    def noted(self, told: Told) -> bool:
        """Something was observed; whether it is to be told."""
        if told is not Told.NOTHING:
            self.pending.append(self._event(told))
        return told is not Told.NOTHING

    def _event(self, told: Told) -> Event:
        return Event(told.value, self.watch.state, self.watch.since, self.said)

    def is_quiet(self, now: float) -> bool:
        """Whether it is an hour in which only critical is told."""
        return self.settings.quiet is not None and self.settings.quiet.covers(now)

    def room(self, now: float, *, grave: bool, ends: bool) -> bool:
        """Whether one more mail may be made about it."""
        return caps.room(self.sent, self.settings.cap, now, grave=grave, ends=ends)

    def unsaid(self, to: Sequence[str], now: float) -> list[str]:
        """Who should know what stands now, and was not told when it happened: it was quiet, or there was no room.

        A problem counts once it has lasted for a while; its end at once.
        """
        if self.pending or self.watch.flapping or self.is_quiet(now):
            return []
        if self.watch.state == OK:
            return list(self.known) if self.room(now, grave=False, ends=True) else []
        lasting = now - self.watch.since >= CALM_SECONDS
        if not (self.muted or lasting) or not self.room(now, grave=True, ends=False):
            return []
        return [one for one in to if self.known.get(one) != self.watch.state]

    def say_again(self) -> None:
        """Bring up what stands now."""
        self.muted = False
        self.pending.append(self._event(Told.RECOVERY if self.watch.state == OK else Told.SETTLED))

    def audience(self, event: Event, to: Sequence[str], now: float) -> list[str]:
        """Who is to be told of an event; nobody where it is quiet or the cap is reached."""
        if event.ends:
            # Nobody needs to hear of the end of what nobody knows.
            return list(self.known) if not self.is_quiet(now) and self.room(now, grave=False, ends=True) else []
        if self.is_quiet(now) and event.level != CRITICAL:
            self.muted = True
            return []
        if not self.room(now, grave=event.grave, ends=False):
            self.held_back += 1
            return []
        return [one for one in to if self.known.get(one) != event.level] if event.grave else list(to)

    def was_told(self, event: Event, recipients: Sequence[str], now: float, incident: str) -> None:
        """A mail about an event is on its way to those."""
        self.sent = (*caps.lately(self.sent, now), now)
        self.held_back, self.muted = 0, False
        if event.ends:
            self.known = {one: level for one, level in self.known.items() if one not in recipients}
        else:
            if not self.incident:
                self.incident, self.began = incident, event.since
            # What flaps may just be well: it is not what they know.
            level = event.kind if event.kind == Told.FLAPPING else event.level
            self.known |= dict.fromkeys(recipients, level)
        if not self.known:
            self.incident = ""

    def catch_up(self, now: float) -> None:
        """The clock may have been ahead: what was told then was told now, at the latest."""
        self.sent = caps.lately(self.sent, now)

    def is_settled(self, now: float) -> bool:
        """Whether nothing about it needs to be remembered."""
        watch = self.watch
        recent = any(now - when < FLAP_SECONDS for when in watch.changes)
        # A check that nobody asks for any more is not waited for.
        begun = watch.flapping or watch.last[-1:] not in ((), (OK,))
        busy = self.known or self.pending or self.sent or recent
        busy = busy or (begun and now - max(watch.times, default=0.0) < caps.WINDOW_SECONDS)
        return watch.state == OK and not busy

    def plain(self) -> dict[str, Any]:
        """As JSON can carry it."""
        return {name: value for name, value in dataclasses.asdict(self).items() if name != "settings"}


def alarm_of(settings: AlertSettings, kept: Mapping[str, Any]) -> Alarm:
    """What was kept by `plain()`."""
    watch = kept["watch"]
    return Alarm(
        settings,
        **{name: value for name, value in kept.items() if name not in _REBUILT},
        arguments=tuple(kept["arguments"]),
        watch=Watch(**{**watch, **{name: tuple(watch[name]) for name in ("last", "times", "changes")}}),
        said=Said(**kept["said"]),
        sent=tuple(kept["sent"]),
        pending=[Event(**{**event, "said": Said(**event["said"])}) for event in kept["pending"]],
    )


_REBUILT = ("arguments", "watch", "said", "sent", "pending")
