"""Put a fleet together and let it run."""

from __future__ import annotations

import contextlib
import resource
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from benchmarks.fleet.agents import Agent, Tickets, Work
from benchmarks.fleet.crowd import Member, Nature, Ports
from benchmarks.fleet.delivery import Link, Target
from benchmarks.fleet.loop import Loop
from benchmarks.fleet.nowhere import DeadPorts
from benchmarks.fleet.reception import Reception
from benchmarks.fleet.tally import Tally

_HEAD = (
    "POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Type: text/xml\r\nUser-Agent: monagent-fleet\r\n"
    "Accept-Encoding: identity\r\nContent-Length: "
)


@dataclass(frozen=True, slots=True)
class Manners:
    """Seconds: a sensor runs for so long, and a slow agent answers after so long."""

    sensor: float = 0.05
    slow: float = 5.0


class Fleet:
    """All agents; they listen from the start."""

    def __init__(self, members: Sequence[Member], ports: Ports, servers: Sequence[str], manners: Manners) -> None:
        """
        Args:
            members: who they are.
            ports: where they listen.
            servers: the URLs that results go to; each agent has one of them.
            manners: see there.

        Raises:
            ValueError: results cannot go to such a URL.
            OSError: a port is taken, or there is no such address here.
        """
        _allow_many_descriptors()
        self.loop = Loop()
        self.tally = Tally()
        targets = [_target(server) for server in servers]
        work = Work(self.loop, Tickets(), self.tally, manners.sensor)
        answering = [member for member in members if member.nature in (Nature.LIVE, Nature.SLOW)]
        self._links = {
            member.address: Link(self.loop, member.address, targets[number % len(targets)], self.tally)
            for number, member in enumerate(answering)
        }
        agents = {member.address: Agent(member, work, self._links[member.address]) for member in answering}
        mute = frozenset(member.address for member in members if member.nature is Nature.MUTE)
        with contextlib.ExitStack() as opened:
            opened.callback(self.loop.close)
            reception = Reception(self.loop, ports.served, agents, mute, manners.slow, self.tally)
            opened.callback(reception.close)
            opened.callback(DeadPorts(ports.refused, ports.void).close)
            self._opened = opened.pop_all()
        self._look_round()

    @property
    def waiting(self) -> int:
        """Results that the server has not taken yet."""
        return sum(link.waiting for link in self._links.values())

    def every(self, seconds: float, action: Callable[[], None]) -> None:
        """Call something again and again while the fleet runs."""

        def again() -> None:
            action()
            self.loop.later(seconds, again)

        self.loop.later(seconds, again)

    def run(self, seconds: float | None = None) -> None:
        """Live for so many seconds, or until the loop is told to end."""
        self.loop.run(seconds)

    def close(self) -> None:
        """Hang up everywhere."""
        for link in self._links.values():
            link.close()
        self._opened.close()

    def _look_round(self) -> None:
        now = time.monotonic()
        for link in self._links.values():
            link.overdue(now)
        self.loop.later(1.0, self._look_round)


def _target(url: str) -> Target:
    parts = urlsplit(url)
    if parts.scheme != "http" or not parts.hostname:
        raise ValueError(f"{url!r} is not a URL that fake agents can use (example: http://127.0.0.1:8081/xmlrpc/)")
    head = _HEAD.format(path=parts.path or "/RPC2", host=parts.netloc).encode().replace(b"%", b"%%")
    return Target((parts.hostname, parts.port or 80), head + b"%d\r\n\r\n%b")


def _allow_many_descriptors() -> None:
    """Two connections an agent, as far as the system lets us."""
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
