"""Every error monagent raises on purpose.

MonagentError
├── ConfigError             client.cfg or server.cfg is wrong; carries every problem found
├── Fault                   an answer of the XML-RPC protocol that says no
│   ├── NotWellFormed       -32700
│   ├── InvalidRequest      -32600
│   ├── UnknownMethod       -32601
│   ├── BadArguments        -32602
│   ├── InternalFault       -32603
│   ├── TicketClash         -32001
│   └── Busy                -32002   (try again later)
├── HttpRefusal             what gets a plain HTTP error instead of an XML-RPC answer
├── Unavailable             the other side cannot be reached or does not speak XML-RPC (try again later)
│   └── TooLarge            the other side takes no request of that size
├── Refused                 what was asked for is not done, and nothing has changed; says why
│   ├── PackageRefused      a sensor package that cannot be trusted or used
│   └── SyncStopped         a sync that must not or cannot be done now
├── JournalError            the journal cannot be written
├── StoreError              the server's database cannot be used
│   └── StoreAway           just now; it is waited for (try again later)
└── AlreadyRunning          another process holds the state directory
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from http import HTTPStatus


class MonagentError(Exception):
    """Base of the tree. `exit_code` is what a command line ends with when nobody handles it."""

    exit_code = 70


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong in a configuration file: where it stands and what would do."""

    file: str
    line: int | None
    section: str
    option: str
    message: str

    def __str__(self) -> str:
        place = self.file if self.line is None else f"{self.file}:{self.line}"
        section = f" [{self.section}]" if self.section else ""
        option = f" {self.option}" if self.option else ""
        return f"{place}{section}{option}: {self.message}"


class ConfigError(MonagentError):
    """A configuration that cannot be used; `problems` lists all that was found, in the order of the file."""

    exit_code = 78

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))


class Fault(MonagentError):
    """A negative answer on the wire. Raised here it is sent; received from the other side it is raised."""

    code = -32603
    exit_code = 1

    def __init__(self, message: str, code: int | None = None) -> None:
        super().__init__(message)
        if code is not None:
            self.code = code

    @property
    def message(self) -> str:
        """The sentence for a person, without the code."""
        return str(self.args[0])


class NotWellFormed(Fault):
    """Not well-formed XML, or not UTF-8."""

    code = -32700


class InvalidRequest(Fault):
    """Well-formed, but not an XML-RPC call; or over a limit."""

    code = -32600


class UnknownMethod(Fault):
    """No such method."""

    code = -32601


class BadArguments(Fault):
    """Wrong count or type of arguments, a bad ticket, an unknown sensor, job or report."""

    code = -32602


class InternalFault(Fault):
    """A bug. The text names an incident id found in the log, and nothing else."""

    code = -32603


class TicketClash(Fault):
    """The ticket was already used for another command."""

    code = -32001


class Busy(Fault):
    """The journal or the queue is full."""

    code = -32002
    exit_code = 75


class HttpRefusal(MonagentError):
    """A request that is answered with a plain HTTP error. `headers` go with the answer."""

    def __init__(self, status: HTTPStatus, headers: Sequence[tuple[str, str]] = ()) -> None:
        super().__init__(f"{status.value} {status.phrase}")
        self.status = status
        self.headers = tuple(headers)


class Unavailable(MonagentError):
    """The other side is away: no connection, a time-out, HTTP trouble, or an answer that is not XML-RPC."""

    exit_code = 69


class TooLarge(Unavailable):
    """The other side answered HTTP 413: this very request will not get through, others may."""


class Refused(MonagentError):
    """What was asked for is not done, for a reason that a person understands. Nothing has changed."""

    exit_code = 1


class PackageRefused(Refused):
    """A sensor package that cannot be read, trusted or used."""


class SyncStopped(Refused):
    """A sync that must not be done, or cannot go on. `exit_code` tells of which kind it is."""

    def __init__(self, message: str, exit_code: int = 74) -> None:
        super().__init__(message)
        self.exit_code = exit_code


class JournalError(MonagentError):
    """The journal could not be opened or written; nothing was acknowledged."""

    exit_code = 74


class StoreError(MonagentError):
    """The server's database could not be opened or used; nothing was taken."""

    exit_code = 74


class StoreAway(StoreError):
    """The database cannot be reached, or cannot write, just now; nothing was taken."""

    exit_code = 69


class AlreadyRunning(MonagentError):
    """Another process works in this state directory, or something listens on the port."""

    exit_code = 75


class TryLater(MonagentError):
    """It is under way, and not done yet."""

    exit_code = 75
