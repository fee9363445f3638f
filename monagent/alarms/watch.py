"""Make of many readings the few changes that are worth telling. Rules alone: no clock, no disk, no mail.

A level becomes the state when it held for `runs` readings in a row; what is better counts at once, once it is better by the
margin. A state that changes too often is told as flapping, once, and then nothing until it has stood still for a while.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from monagent.alarms.ranges import Range

OK, WARNING, UNKNOWN, CRITICAL = "ok", "warning", "unknown", "critical"
LEVELS = (OK, WARNING, CRITICAL)
"""Of numbers, from good to bad. UNKNOWN is none of them: there was no number to trust."""
FLAP_CHANGES, FLAP_SECONDS = 6, 3600.0
"""So many changes within so long are flapping."""
CALM_SECONDS = 600.0
"""It is over once the state has stood still for so long: long enough to be told from one more flap."""


class Told(StrEnum):
    """Why a change is worth telling."""

    NOTHING = ""
    PROBLEM = "problem"
    RECOVERY = "recovery"
    FLAPPING = "flapping"
    SETTLED = "settled"
    """Flapping has ended, and it is bad."""
    REMINDER = "reminder"


@dataclass(frozen=True, slots=True)
class Rule:
    """What makes a reading bad, and how patient we are.

    Attributes:
        warning: numbers outside are a warning.
        critical: numbers outside are critical.
        runs: in a row, until a worse level is believed.
        margin: how far inside its range a number must be again before the level gets better.
        remind: seconds after which a problem that goes on is told again; 0 = never.
    """

    warning: Range | None = None
    critical: Range | None = None
    runs: int = 1
    margin: float = 0.0
    remind: float = 0.0

    def level(self, number: float | None, state: str = OK) -> str:
        """The level of a number, while `state` is in force; None is a number that nobody can trust."""
        if number is None or number != number:  # noqa: PLR0124 - nan
            return UNKNOWN
        for level, limits in ((CRITICAL, self.critical), (WARNING, self.warning)):
            # Who is at this level, or beyond, must come back by the margin to leave it.
            margin = self.margin if state in (level, CRITICAL) else 0.0
            if limits is not None and limits.alerts(number, margin):
                return level
        return OK


@dataclass(frozen=True, slots=True)
class Watch:
    """What is remembered of one check between its readings; times are seconds since the epoch.

    Attributes:
        state: in force.
        base: the last one that a number made.
        since: when it began.
        told: the level that people were told last.
        told_at: when.
        last: the levels of the last readings.
        times: when those were.
        changes: when the state changed.
        flapping: whether it is taken for flapping.
    """

    state: str = OK
    base: str = OK
    since: float = 0.0
    told: str = OK
    told_at: float = 0.0
    last: tuple[str, ...] = ()
    times: tuple[float, ...] = ()
    changes: tuple[float, ...] = ()
    flapping: bool = False


def observe(watch: Watch, rule: Rule, number: float | None, now: float) -> tuple[Watch, Told]:
    """What a reading makes of it, and whether that is to be told."""
    return step(watch, rule, rule.level(number, watch.base), now)


def step(watch: Watch, rule: Rule, level: str, now: float) -> tuple[Watch, Told]:
    """The same, of a level that is known already."""
    last = (*watch.last, level)[-max(rule.runs, 1) :]
    state = _believed(watch.state, level, last, rule.runs)
    watch = replace(watch, last=last, times=(*watch.times, now)[-len(last) :])
    if state != watch.state:
        changes = (*[when for when in watch.changes if 0 <= now - when < FLAP_SECONDS], now)[-FLAP_CHANGES:]
        # What is believed after several readings began with the first of them.
        better = state == OK or (
            UNKNOWN not in (state, watch.state) and LEVELS.index(state) < LEVELS.index(watch.state)
        )
        began = now if better else watch.times[0]
        watch = replace(watch, state=state, since=began, changes=changes)
        watch = watch if state == UNKNOWN else replace(watch, base=state)
    if watch.flapping:
        return _while_flapping(watch, now)
    if len(watch.changes) >= FLAP_CHANGES and watch.changes[-1] == now:
        return replace(watch, flapping=True, told_at=now), Told.FLAPPING
    return _told(watch, rule, now)


def _believed(state: str, level: str, last: Sequence[str], runs: int) -> str:
    """Better counts at once; worse, and no number at all, when it was so for `runs` readings."""
    in_a_row = len(last) >= runs
    if level == UNKNOWN:
        return UNKNOWN if in_a_row and set(last) == {UNKNOWN} else state
    if level == OK or (state != UNKNOWN and LEVELS.index(level) <= LEVELS.index(state)):
        return level
    if not in_a_row or UNKNOWN in last:
        return state
    least = min(last, key=LEVELS.index)
    return least if state == UNKNOWN else max(least, state, key=LEVELS.index)


def _while_flapping(watch: Watch, now: float) -> tuple[Watch, Told]:
    if 0 <= now - max(watch.changes[-1:], default=0.0) < CALM_SECONDS:
        return watch, Told.NOTHING
    calm = replace(watch, flapping=False, changes=(), told=watch.state, told_at=now)
    return calm, Told.RECOVERY if watch.state == OK else Told.SETTLED


def _told(watch: Watch, rule: Rule, now: float) -> tuple[Watch, Told]:
    if watch.state != watch.told:
        told = Told.RECOVERY if watch.state == OK else Told.PROBLEM
        return replace(watch, told=watch.state, told_at=now), told
    if watch.state != OK and rule.remind and not 0 <= now - watch.told_at < rule.remind:
        return replace(watch, told_at=now), Told.REMINDER
    return watch, Told.NOTHING
