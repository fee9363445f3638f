"""The rules of a roll-out: how hosts are split into stages, and what comes next. No database, no clock."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

from monagent.server.rollouts import states

STAGES = "1,10%,100%"
"""One host, then a tenth of all, then all."""
TOGETHER = 50
"""Hosts of a roll-out that are being changed, or waited for, at the same time."""

_GOAL = re.compile(r"([1-9][0-9]{0,6})(%?)")
_IN_HAND = (states.UPDATING, states.INSTALLED)


@dataclass(frozen=True, slots=True)
class Goal:
    """How many hosts have the new version when a stage is over: a number, or per cent of all."""

    amount: int
    percent: bool

    def reach(self, total: int) -> int:
        """The number of hosts, of so many in all."""
        return min(math.ceil(total * self.amount / 100) if self.percent else self.amount, total)


def goals_of(text: str) -> tuple[Goal, ...]:
    """Read stages such as `1,10%,100%`.

    Raises:
        ValueError: they are none, or do not end with all hosts.
    """
    goals = []
    for word in text.split(","):
        match = _GOAL.fullmatch(word.strip())
        if match is None or (match[2] and int(match[1]) > 100):
            raise ValueError(f"{word.strip()!r} is neither a number of hosts nor per cent of them (example: {STAGES})")
        goals.append(Goal(int(match[1]), bool(match[2])))
    if goals[-1] != Goal(100, percent=True):
        raise ValueError(f"the last stage must be 100% (example: {STAGES})")
    return tuple(goals)


def split(hosts: Sequence[int], goals: Sequence[Goal]) -> list[list[int]]:
    """The hosts of each stage, in their order; every stage has at least one, and none is left over.

    With few hosts there are fewer stages than goals.
    """
    stages, done = [], 0
    for goal in goals:
        until = max(goal.reach(len(hosts)), min(done + 1, len(hosts)))
        if until > done:
            stages.append(list(hosts[done:until]))
            done = until
    return stages


@dataclass(frozen=True, slots=True)
class HostState:
    """A host of the stage under way."""

    host_id: int
    name: str
    state: str
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Send:
    """Tell these hosts to update."""

    host_ids: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Halt:
    """Stop the whole roll-out; `reason` is for people."""

    reason: str


@dataclass(frozen=True, slots=True)
class Advance:
    """The stage is over, and well."""


@dataclass(frozen=True, slots=True)
class Wait:
    """Nothing can be done before something comes in."""


Step: TypeAlias = Send | Halt | Advance | Wait


def may_be_away(stage: int, size: int) -> int:
    """How many hosts of a stage may be out of reach before it counts as failed.

    None in the first stage, which must prove something; after that a tenth, and always one.
    """
    return 0 if stage == 0 else max(1, size // 10)


def next_step(stage: int, hosts: Sequence[HostState], *, push: bool) -> Step:
    """What to do now.

    Args:
        stage: the number of the stage under way, from 0.
        hosts: of that stage, in their order.
        push: nothing that happens to a host keeps the others from being updated.
    """
    reason = "" if push else _reason_to_halt(stage, hosts)
    if reason:
        return Halt(reason)
    room = TOGETHER - sum(host.state in _IN_HAND for host in hosts)
    waiting = [host.host_id for host in hosts if host.state == states.WAITING]
    if waiting and room > 0:
        return Send(tuple(waiting[:room]))
    return Wait() if waiting or room < TOGETHER else Advance()


def _reason_to_halt(stage: int, hosts: Sequence[HostState]) -> str:
    failed = [host for host in hosts if host.state == states.FAILED]
    if failed:
        more = f" (and {len(failed) - 1} more)" if len(failed) > 1 else ""
        return f"stage {stage + 1}: {failed[0].name}: {failed[0].reason}{more}"
    away = [host.name for host in hosts if host.state == states.AWAY]
    allowed = may_be_away(stage, len(hosts))
    if len(away) > allowed:
        names = ", ".join(away[:5]) + (", …" if len(away) > 5 else "")
        return f"stage {stage + 1}: {len(away)} of {len(hosts)} hosts cannot be reached, {allowed} may be: {names}"
    return ""
