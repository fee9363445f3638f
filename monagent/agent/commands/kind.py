"""What every built-in command consists of, and what it may use."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from monagent.agent.backups import Backups
from monagent.agent.mails import Mails
from monagent.errors import BadArguments
from monagent.models import Job, Outcome, Run, RunResult, Value
from monagent.sensors.occupancy import Occupancy
from monagent.sensors.probation import Probation
from monagent.sensors.store import SensorStore
from monagent.sensors.updater import Updater

SHORT, LONG, BACKUP, MAIL = "short", "long", "backup", "mail"
"""Lanes: checks; work of seconds or minutes; work of hours; mails, that are to be sent in the order they were asked for."""


@dataclass(frozen=True, slots=True)
class Tools:
    """The parts of the agent that commands work with, as the settings in force make them.

    Attributes:
        sensors: what is installed.
        run: runs a program within its bounds.
        occupancy: who uses which sensor's directory.
        probation: watches the first runs of new versions.
        updater: changes what is installed.
        fetch: gets the package of a sensor from the server.
        move: moves to another server, for the command with this token.
        server_url: the server in use.
        status: the agent's own figures.
        backups: runs backup jobs.
        mails: sends mail.
    """

    sensors: SensorStore
    run: Callable[[Run], RunResult]
    occupancy: Occupancy
    probation: Probation
    updater: Updater
    fetch: Callable[[str], bytes]
    move: Callable[[str], Outcome]
    server_url: Callable[[], str]
    status: Callable[[], Outcome]
    backups: Backups
    mails: Mails


@dataclass(frozen=True, slots=True)
class CommandKind:
    """A built-in command.

    Attributes:
        method: its name on the wire.
        arguments: how its arguments after the ticket are written in a signature, for people.
        signatures: the types after the ticket, one tuple for each form.
        help: what it does; told by `system.methodHelp` and in the reference.
        check: makes the one canonical form of the arguments after the ticket, or raises `BadArguments`. It runs before
            the command is acknowledged and must be quick.
        perform: does the command. It runs after the acknowledgement, in a worker. None: the outcome comes later, by
            another way, and after a restart the command is performed once more.
        failed: makes the outcome of a command that could not be done at all, from a sentence for people.
        lane: who does it: `SHORT` work never waits for `LONG` work, nor that for a `BACKUP`.
        direct: answers the form without a ticket at once, where there is one.
        ticketed: whether it is called with a ticket at all.
        unticketed: whether it may be called without one: acknowledged, done once, and no result is sent.
    """

    method: str
    arguments: str
    signatures: tuple[tuple[str, ...], ...]
    help: str
    check: Callable[[Sequence[Value], Tools], list[Any]]
    perform: Callable[[Job, Tools], Outcome | None]
    failed: Callable[[str], Outcome] = lambda message: {"status": "error", "message": message}
    lane: str = SHORT
    direct: Callable[[Tools], Value] | None = None
    ticketed: bool = True
    unticketed: bool = False

    @property
    def usage(self) -> str:
        """How it is called, in one line."""
        forms = [f"{self.method}(ticket{self.arguments})"] if self.ticketed else []
        if self.unticketed:
            forms.append(f"{self.method}({self.arguments.removeprefix(', ')})")
        return " or ".join(forms)


def no_arguments(params: Sequence[Value], _tools: Tools) -> list[Any]:
    """The `check` of a command that takes nothing, or nothing but a ticket.

    Raises:
        BadArguments: there is more.
    """
    if params:
        raise BadArguments("there are too many arguments")
    return []
