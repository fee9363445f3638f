"""What the server's parts tell each other about hosts, tickets and results."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any


@dataclass(frozen=True, slots=True)
class Host:
    """A host with an agent. `sources` are the networks its results may come from; empty: where `address` points."""

    id: int
    name: str
    address: str
    port: int
    sources: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class IssuedTicket:
    """A ticket as the server knows it."""

    id: int
    ticket: str
    host_id: int
    method: str
    arguments: list[Any]
    state: str
    fingerprint: bytes | None
    refusal: str | None = None


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
    error: str | None
    stderr: str | None
    duration: float | None
    finished: datetime
