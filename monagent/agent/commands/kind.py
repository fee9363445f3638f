"""What every built-in command consists of, and what it may use."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from monagent.errors import BadArguments
from monagent.models import Command, Outcome, Run, RunResult, Value
from monagent.sensors.store import SensorStore


@dataclass(frozen=True, slots=True)
class Tools:
    """The parts of the agent that commands work with."""

    sensors: SensorStore
    run: Callable[[Run], RunResult]
    help_argument: str
    status: Callable[[], Outcome]


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
        perform: does the command. It runs after the acknowledgement, in a worker.
        failed: makes the outcome of a command that could not be done at all, from a sentence for people.
        long: whether it may take long and so must not occupy a worker for checks.
        direct: answers the form without a ticket at once, where there is one.
    """

    method: str
    arguments: str
    signatures: tuple[tuple[str, ...], ...]
    help: str
    check: Callable[[Sequence[Value], Tools], list[Any]]
    perform: Callable[[Command, Tools], Outcome]
    failed: Callable[[str], Outcome] = lambda message: {"status": "error", "message": message}
    long: bool = False
    direct: Callable[[Tools], Value] | None = None

    @property
    def usage(self) -> str:
        """How it is called, in one line."""
        return f"{self.method}(ticket{self.arguments})"


def no_arguments(params: Sequence[Value], _tools: Tools) -> list[Any]:
    """The `check` of a command that takes a ticket and nothing else.

    Raises:
        BadArguments: there is more.
    """
    if params:
        raise BadArguments("this method takes a ticket and nothing else")
    return []
