"""What one fake agent does with its commands: acknowledge, work for a while, hand in the result."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass

from benchmarks.fleet import wire
from benchmarks.fleet.crowd import Member
from benchmarks.fleet.delivery import Link
from benchmarks.fleet.loop import Loop
from benchmarks.fleet.results import Result
from benchmarks.fleet.tally import Tally
from benchmarks.fleet.wire import Command

_REMEMBERED = 1_000_000
"""Tickets, of the whole fleet."""

_NO_SUCH_METHOD, _BAD_ARGUMENTS = -32601, -32602


class Tickets:
    """Which tickets were there already."""

    def __init__(self) -> None:
        self._known: dict[bytes, None] = {}

    def is_new(self, ticket: bytes) -> bool:
        """Remember one."""
        key = wire.key(ticket)
        if key in self._known:
            return False
        self._known[key] = None
        if len(self._known) > _REMEMBERED:
            del self._known[next(iter(self._known))]
        return True


@dataclass(frozen=True, slots=True)
class Work:
    """What all agents share.

    Attributes:
        seconds: a sensor runs for, give or take a fifth.
    """

    loop: Loop
    tickets: Tickets
    tally: Tally
    seconds: float


class Agent:
    """One of them, live or slow."""

    __slots__ = ("_link", "_work", "member")

    def __init__(self, member: Member, work: Work, link: Link) -> None:
        self.member = member
        self._work = work
        self._link = link

    def answer(self, command: Command) -> tuple[bytes, bool]:
        """Take one command; what to answer, and whether that is a fault."""
        simple = _SIMPLE.get(command.method)
        if simple is not None:
            return simple, False
        if command.method != wire.SUBMIT and command.method not in _OUTCOMES:
            return wire.fault(_NO_SUCH_METHOD, f"no such method: {command.method}"), True
        if not command.ticket or not wire.key(command.ticket):
            return wire.fault(_BAD_ARGUMENTS, "a ticket is missing"), True
        self._accept(command)
        return wire.ANSWER_OK, False

    def _accept(self, command: Command) -> None:
        work = self._work
        if not work.tickets.is_new(command.ticket):
            work.tally.repeated += 1
            return
        work.tally.commands[command.method] += 1
        duration = work.seconds * random.uniform(0.8, 1.2)
        work.loop.later(duration, lambda: self._finish(command, duration))

    def _finish(self, command: Command, duration: float) -> None:
        finished = time.time()
        content = None if command.method == wire.SUBMIT else _OUTCOMES[command.method](self.member)
        self._link.hand_in(Result(command, finished, duration, content, time.monotonic()))


def _status(_member: Member) -> dict[str, object]:
    return {
        "status": "ok",
        "message": "a fake agent, doing well",
        "version": "fleet",
        "uptime": round(time.monotonic()),
        "queues": {"waiting": 0, "running": 0, "undelivered": 0, "rejected": 0},
        "last_delivery": "",
        "sensors": ["load"],
        "on_probation": False,
    }


def _sensors(member: Member) -> dict[str, object]:
    about = {"version": "1", "digest": "0" * 64, "changed": False}
    return {
        "status": "ok",
        "message": "1 sensor",
        "sensors": {"load": f"The load of {member.name}, which is made up."},
        "installed": {"load": about},
    }


def _not_here(_member: Member) -> dict[str, object]:
    return {"status": "error", "message": "a fake agent runs checks and nothing else"}


_OUTCOMES: dict[str, Callable[[Member], dict[str, object]]] = {
    "cmd_status": _status,
    "cmd_list_sensors": _sensors,
    "cmd_update_config": _not_here,
    "cmd_update_sensor_code": _not_here,
    "cmd_restore_sensor_code": _not_here,
    "cmd_sync_backup": _not_here,
    "cmd_send_mail": _not_here,
}
_SIMPLE = {"healthcheck": wire.ANSWER_OK, "system.getCapabilities": wire.CAPABILITIES}
