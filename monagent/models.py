"""The records that travel between the parts: made once, passed on, never changed."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeAlias

_SENSOR_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}")

Ticket: TypeAlias = int | str
"""Names one command, once. An integer and its decimal string are the same ticket."""

Value: TypeAlias = "None | bool | int | float | str | bytes | datetime | list[Value] | dict[str, Value]"
"""What XML-RPC can carry."""

Outcome: TypeAlias = dict[str, Any]
"""What a finished command leaves behind: plain JSON values, shaped as its method's page in the reference says."""

NUMBER, NAGIOS = "number", "nagios"
"""What a sensor prints: one number, or text and performance data as Nagios-style plug-ins do."""


@dataclass(frozen=True, slots=True)
class Command:
    """A command as it is journaled: checked, its arguments in one canonical form."""

    ticket: Ticket | None
    method: str
    arguments: list[Any]


@dataclass(frozen=True, slots=True)
class Job:
    """An accepted command on its way through the executor. `id` is its row in the journal."""

    id: int
    command: Command


@dataclass(frozen=True, slots=True)
class Result:
    """A finished command that waits for the server to take it.

    `finished` is in seconds since the epoch; `size` is an upper bound of what the outcome takes in a call, in bytes.
    """

    id: int
    command: Command
    outcome: Outcome
    finished: float
    attempts: int
    size: int


@dataclass(frozen=True, slots=True)
class Bounds:
    """What a program, and all that it starts, may take of the host; negative means no limit (setrlimit(2)).

    `memory` (private, writable) and `file_size` are in bytes, `processes` counts those of its user, `files` are open at
    once in one process. `nice` is added to 0, `io` is the class and level of ioprio_set(2), or -1.
    """

    memory: int = -1
    processes: int = -1
    files: int = -1
    cpu_seconds: int = -1
    file_size: int = -1
    nice: int = 0
    io: int = -1

    @property
    def limits(self) -> tuple[int, int, int, int, int]:
        """Those of setrlimit(2), in the order of the attributes."""
        return self.memory, self.processes, self.files, self.cpu_seconds, self.file_size


UNBOUNDED = Bounds()


@dataclass(frozen=True, slots=True)
class Run:
    """A program to be run once: no shell, a deadline in seconds, a cap on its output in bytes, bounds on what it takes."""

    argv: tuple[str, ...]
    timeout: float
    output_limit: int
    user: str = ""
    bounds: Bounds = UNBOUNDED


@dataclass(frozen=True, slots=True)
class RunResult:
    """How a run ended.

    `code` is the exit status; negative = killed by that signal; 126 = could not be executed; 127 = not there.
    `error` is empty or one of `timeout`, `signal`, `output-too-long`, `not-executable`, `not-found`.
    `started` is in seconds since the epoch, `duration` in seconds. `errno` tells why it could not be started, `printed`
    counts the bytes of its output, kept or not.
    """

    code: int
    output: bytes
    stderr: bytes
    error: str
    started: float
    duration: float
    errno: int = 0
    printed: int = 0


def is_sensor_name(name: str) -> bool:
    """Letters, digits, `_`, `-`, `.`; not starting with `.` or `-`; at most 64 characters."""
    return _SENSOR_NAME.fullmatch(name) is not None


@dataclass(frozen=True, slots=True)
class Sensor:
    """A sensor as it stands on disk or in a `[sensor:NAME]` section: what to run, and under which limits.

    `format` says how its output is read: `NUMBER` or `NAGIOS`; `help_argument` makes it print its help. Two runs with the
    same arguments overlap only where `overlap` says so.
    """

    name: str
    command: tuple[str, ...]
    timeout: float
    output_limit: int
    user: str = ""
    format: str = NUMBER
    help_argument: str = "options"
    bounds: Bounds = UNBOUNDED
    overlap: bool = False

    def run(self, arguments: Sequence[str]) -> Run:
        """A run of it."""
        return Run((*self.command, *arguments), self.timeout, self.output_limit, self.user, self.bounds)

    @property
    def help_codes(self) -> tuple[int, ...]:
        """What it may end with after its help: plug-ins in the style of Nagios with 3, by their guidelines, or 0."""
        return (0, 3) if self.format == NAGIOS else (0,)


@dataclass(frozen=True, slots=True)
class Head:
    """The request line and headers of one HTTP request, already found to be plain and unambiguous.

    Header names are lower-case; `length` is None when the request announced none.
    """

    method: str
    target: str
    path: str
    query: str
    version: tuple[int, int]
    headers: Mapping[str, str]
    length: int | None
    keep_alive: bool
