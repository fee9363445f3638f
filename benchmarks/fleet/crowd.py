"""Who the fake agents are: their names, their addresses, and what is wrong with some of them. No I/O."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from ipaddress import IPv4Address


class Nature(Enum):
    """How an agent behaves towards its server."""

    LIVE = "live"
    SLOW = "slow"
    """Answers each command only after a while."""
    REFUSING = "refusing"
    """Nothing listens on its port: the connection is reset."""
    MUTE = "mute"
    """The connection is taken, and then nothing comes."""
    VOID = "void"
    """Not even the connection is taken: packets to it vanish, as those to a host without power do."""

    @property
    def is_dead(self) -> bool:
        """Whether no command ever comes back from it."""
        return self in _DEAD


_DEAD = (Nature.REFUSING, Nature.MUTE, Nature.VOID)


@dataclass(frozen=True, slots=True)
class Member:
    """One fake agent.

    Attributes:
        name: of its host, as the server's definitions know it.
        address: that it listens on and sends from.
        port: that the server is told.
    """

    name: str
    address: str
    port: int
    nature: Nature


@dataclass(frozen=True, slots=True)
class Ports:
    """Three ports tell what becomes of a connection; every address has them."""

    served: int

    @property
    def refused(self) -> int:
        """Bound, and never listened on."""
        return self.served + 1

    @property
    def void(self) -> int:
        """Listened on, with a queue that is full for ever."""
        return self.served + 2

    def of(self, nature: Nature) -> int:
        """The port of an agent of that nature."""
        return {Nature.REFUSING: self.refused, Nature.VOID: self.void}.get(nature, self.served)


def crowd(agents: int, first: str, ports: Ports, dead: float, slow: float) -> list[Member]:
    """The same agents each time for the same arguments.

    Args:
        agents: how many.
        first: address of the first; the others follow it.
        ports: see there.
        dead: share of those that do not answer, a third of each kind.
        slow: share of those that answer late.

    Raises:
        ValueError: there are no such shares, or not so many addresses.
    """
    if not (0 <= dead <= 1 and 0 <= slow <= 1 and dead + slow <= 1):
        raise ValueError("the dead and the slow are shares that make up 100 % at most")
    base = IPv4Address(first)
    _last = base + (agents - 1)  # raises when the addresses run out
    members = []
    for number, nature in enumerate(_natures(agents, dead, slow)):
        members.append(Member(f"agent-{number:05}", str(base + number), ports.of(nature), nature))
    return members


def _natures(agents: int, dead: float, slow: float) -> Sequence[Nature]:
    """Spread evenly, so that each part of a fleet has its share."""
    natures, gone, late = [], 0, 0
    for count in range(1, agents + 1):
        if gone < round(count * dead):
            natures.append(_DEAD[gone % len(_DEAD)])
            gone += 1
        elif late < round(count * slow):
            natures.append(Nature.SLOW)
            late += 1
        else:
            natures.append(Nature.LIVE)
    return natures
