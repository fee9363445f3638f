"""The rules of tickets: made so that nobody can guess them, bound to a host and a command, good for one result."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from ipaddress import IPv6Address, ip_address, ip_network

from monagent.errors import BadArguments, Fault, Unavailable
from monagent.protocol import OK
from monagent.server.records import Delivery, Host, IssuedTicket

ISSUED, SENT, ACKNOWLEDGED = "issued", "sent", "acknowledged"
DONE, FAILED, EXPIRED, REFUSED, CANCELLED = "done", "failed", "expired", "refused", "cancelled"
"""The story of a ticket: it is written down (issued), leaves (sent), and the agent says that it will do it (acknowledged).
It ends with a result (done), one that says error, or because it could not be sent (failed), because the agent would not
have it (refused), because nothing came in time (expired), or because somebody called it off (cancelled)."""
OPEN = (ISSUED, SENT, ACKNOWLEDGED)

RESOLVE_SECONDS = 60
LOOKUP_SECONDS = 5.0
"""For the names of all hosts together, when anybody at all can make us look them up."""

Found = Mapping[str, tuple[IssuedTicket, Host]]


def judge(
    deliveries: Sequence[Delivery], found: Found, is_from: Callable[[str, Host], bool], now: float
) -> list[tuple[IssuedTicket, Delivery] | str | Fault]:
    """Decide on results that were handed in together: what to keep, what to answer.

    Args:
        deliveries: in their order.
        found: the tickets that were issued, with their hosts.
        is_from: whether an address belongs to a host.
        now: seconds since the epoch.

    Returns:
        For each: the ticket to redeem with it; OK for a repeat of what is kept already; or the fault to answer.
    """
    taken: dict[str, bytes] = {}
    verdicts: list[tuple[IssuedTicket, Delivery] | str | Fault] = []
    for delivery in deliveries:
        verdict = _judge_one(delivery, found, is_from, now, taken.get(delivery.ticket))
        if isinstance(verdict, tuple):
            taken[delivery.ticket] = delivery.fingerprint
        verdicts.append(verdict)
    return verdicts


def _judge_one(
    delivery: Delivery, found: Found, is_from: Callable[[str, Host], bool], now: float, just_taken: bytes | None
) -> tuple[IssuedTicket, Delivery] | str | Fault:
    if delivery.ticket not in found or not is_from(delivery.peer, found[delivery.ticket][1]):
        return Foreign("this ticket was not issued to this host")
    ticket, _ = found[delivery.ticket]
    if delivery.method != ticket.method:
        return Foreign("this ticket was issued for another command")
    kept = just_taken or ticket.fingerprint
    if kept is not None:
        # An agent that did not get our answer sends the same again: that is no second result.
        return OK if kept == delivery.fingerprint else Used("this ticket was already used for another result")
    if ticket.state == CANCELLED:
        return Used("this ticket was cancelled")
    if now > ticket.expires:
        return Expired("this ticket has expired")
    return ticket, delivery


class Foreign(BadArguments):
    """A result for a ticket that the sender has nothing to do with."""


class Used(BadArguments):
    """A result for a ticket that is closed."""


class Expired(BadArguments):
    """A result that came too late."""


class AddressBook:
    """Where hosts are: what their names resolve to, looked up once a minute. Any thread may ask."""

    def __init__(self, resolve: Callable[[str], frozenset[str]] | None = None) -> None:
        self._resolve = resolve or _resolve
        self._known: dict[str, tuple[float, frozenset[str]]] = {}
        self._failed: dict[str, float] = {}

    def is_ready(self, host: Host) -> bool:
        """Whether `is_from` can tell without asking a name server."""
        return not self._effort(host)

    def look_up(self, host: Host) -> None:
        """Ask the name server.

        Raises:
            Unavailable: its name cannot be resolved now, and never could be before.
        """
        self._addresses(host.address)

    def is_from(self, peer: str, host: Host) -> bool:
        """Whether an address is one that results of this host may come from.

        Raises:
            Unavailable: its name cannot be resolved now, and never could be before.
        """
        address = ip_address(peer.partition("%")[0])
        if isinstance(address, IPv6Address) and address.ipv4_mapped:
            address = address.ipv4_mapped
        if host.sources:
            return any(address in ip_network(source) for source in host.sources)
        return str(address) in self._addresses(host.address)

    def of(self, peer: str, hosts: Iterable[Host]) -> list[Host]:
        """The hosts that results from an address may come from; several may share one.

        Name servers are asked only when no host is known to be there without.

        Raises:
            Unavailable: there is none that is known now, and not all names could be resolved.
        """
        until = time.monotonic() + LOOKUP_SECONDS
        missed: Unavailable | None = None
        found: list[Host] = []
        for effort, host in sorted(((self._effort(host), host) for host in hosts), key=lambda pair: pair[0]):
            if effort and found:
                break
            if effort and time.monotonic() > until:
                raise Unavailable("looking up the names of the hosts takes too long now")
            try:
                if self.is_from(peer, host):
                    found.append(host)
            except Unavailable as error:
                missed = error
        if missed is not None and not found:
            raise missed
        return found

    def _effort(self, host: Host) -> float:
        """Orders hosts: those with nothing to look up (0), then names, those that failed last at the end."""
        at_hand = bool(host.sources) or _is_address(host.address) or self._is_fresh(host.address)
        return 0.0 if at_hand else 1.0 + self._failed.get(host.address, 0.0)

    def _is_fresh(self, name: str) -> bool:
        looked_up, _ = self._known.get(name, (float("-inf"), None))
        return time.monotonic() - looked_up < RESOLVE_SECONDS

    def _addresses(self, name: str) -> frozenset[str]:
        _, addresses = self._known.get(name, (None, frozenset()))
        if self._is_fresh(name):
            return addresses
        try:
            addresses = self._resolve(name)
        except OSError as error:
            self._failed[name] = time.monotonic()
            # A name server that is away must not turn good results into refused ones.
            if not addresses:
                raise Unavailable(f"the name {name} cannot be resolved now") from error
            # What it was will do for a few seconds more, then we ask again.
            self._known[name] = (time.monotonic() - RESOLVE_SECONDS + LOOKUP_SECONDS, addresses)
            return addresses
        self._known[name] = (time.monotonic(), addresses)
        return addresses


@lru_cache(maxsize=16_384)
def _is_address(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return False
    return True


def _resolve(name: str) -> frozenset[str]:
    return frozenset(str(entry[4][0]).partition("%")[0] for entry in socket.getaddrinfo(name, None))
