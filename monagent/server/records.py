"""What the server's parts tell each other about hosts, tickets and results. Times are seconds since the epoch."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from monagent.models import Value


@dataclass(frozen=True, slots=True)
class Host:
    """A host with an agent.

    Attributes:
        sources: networks its results may come from; empty: where `address` points.
        groups: that it belongs to.
        url: the server that it is told to use; None: this one.
        tls: its agent speaks https.
    """

    id: int
    name: str
    address: str
    port: int
    sources: tuple[str, ...]
    groups: tuple[str, ...] = ()
    url: str | None = None
    tls: bool = False

    @property
    def agent_url(self) -> str:
        """Where its agent listens."""
        address = f"[{self.address}]" if ":" in self.address else self.address
        return f"{'https' if self.tls else 'http'}://{address}:{self.port}/xmlrpc/"


@dataclass(frozen=True, slots=True)
class Command:
    """Something to send: `arguments` follow the ticket on the wire."""

    ticket: str
    method: str
    arguments: list[Value]


@dataclass(frozen=True, slots=True)
class IssuedTicket:
    """A ticket as the server knows it."""

    id: int
    ticket: str
    host_id: int
    host_probe_id: int | None
    method: str
    arguments: list[Any]
    state: str
    expires: float
    fingerprint: bytes | None
    issued: float | None = None


@dataclass(frozen=True, slots=True)
class Delivery:
    """A result as an agent hands it in, its ticket not yet looked up.

    Attributes:
        ticket: as the agent sent it, in its text form.
        peer: the address that it came from.
        method: the command that such a result belongs to.
        content: the reading or outcome.
        finished: when the command was done, by the agent's clock.
        fingerprint: of all that was handed in.
    """

    ticket: str
    peer: str
    method: str
    content: dict[str, Any]
    finished: datetime
    fingerprint: bytes


@dataclass(frozen=True, slots=True)
class StoredReading:
    """A reading with the names of what it belongs to."""

    ticket: str
    host: str
    sensor: str
    arguments: list[Any]
    ret_code: int
    data: str
    error: str
    stderr: str
    duration: float | None
    finished: float


@dataclass(frozen=True, slots=True)
class Seen:
    """A reading that is being kept in this transaction, and its probe as it was before.

    Attributes:
        every: seconds between its runs; None: by cron, or only by hand.
        warning, critical, runs, margin, nagios: of the probe, see the schema.
        watch: what the rules of alarms remembered of it; None: nothing yet.
        newest: when its newest reading so far was finished.
        value: None: no number to trust.
        finished: by the agent's clock; where that cannot be true, when it was asked for.
    """

    host_probe_id: int
    host_id: int
    every: float | None
    warning: str | None
    critical: str | None
    runs: int
    margin: float
    nagios: bool
    watch: dict[str, Any] | None
    newest: float | None
    ret_code: int
    data: str
    value: float | None
    error: str | None
    finished: float


@dataclass(frozen=True, slots=True)
class Judged:
    """What a reading made of its probe: the state in force since when, and what is to be remembered."""

    state: str
    since: float
    watch: dict[str, Any]
