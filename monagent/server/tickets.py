"""The rules of tickets: made so that nobody can guess them, bound to a host and a command, good for one result."""

from __future__ import annotations

import secrets
import socket
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from ipaddress import IPv6Address, ip_address, ip_network

from monagent.errors import BadArguments, Fault, Unavailable
from monagent.protocol import OK
from monagent.server.records import Delivery, Host, IssuedTicket

RESOLVE_SECONDS = 60
LOOKUP_SECONDS = 5.0
"""For the names of all hosts together, when anybody at all can make us look them up."""

Found = Mapping[str, tuple[IssuedTicket, Host]]


def new_ticket() -> str:
    """A ticket with 192 bits that nobody can guess."""
    return secrets.token_urlsafe(24)


def judge(
    deliveries: Sequence[Delivery], found: Found, is_from: Callable[[str, Host], bool]
) -> list[tuple[IssuedTicket, Delivery] | str | Fault]:
    """Decide on results that were handed in together: what to keep, what to answer.

    Args:
        deliveries: in their order.
        found: the tickets that were issued, with their hosts.
        is_from: whether an address belongs to a host.

    Returns:
        For each: the ticket to redeem with it; OK for a repeat of what is kept already; or the fault to answer.
    """
    taken: dict[str, bytes] = {}
    verdicts: list[tuple[IssuedTicket, Delivery] | str | Fault] = []
    for delivery in deliveries:
        verdict = _judge_one(delivery, found, is_from, taken.get(delivery.ticket))
        if isinstance(verdict, tuple):
            taken[delivery.ticket] = delivery.fingerprint
        verdicts.append(verdict)
    return verdicts


def _judge_one(
    delivery: Delivery, found: Found, is_from: Callable[[str, Host], bool], just_taken: bytes | None
) -> tuple[IssuedTicket, Delivery] | str | Fault:
    if delivery.ticket not in found:
        return BadArguments("this ticket was not issued to this host")
    ticket, host = found[delivery.ticket]
    if not is_from(delivery.peer, host):
        return BadArguments("this ticket was not issued to this host")
    if delivery.method != ticket.method:
        return BadArguments("this ticket was issued for another command")
    kept = just_taken or (ticket.fingerprint if ticket.state == "done" else None)
    if kept is None:
        return ticket, delivery
    # An agent that did not get our answer sends the same again: that is no second result.
    return OK if kept == delivery.fingerprint else BadArguments("this ticket was already used for another result")


class AddressBook:
    """Where hosts are: what their names resolve to, looked up once a minute. Any thread may ask."""

    def __init__(self, resolve: Callable[[str], frozenset[str]] | None = None) -> None:
        self._resolve = resolve or _resolve
        self._known: dict[str, tuple[float, frozenset[str]]] = {}
        self._failed: dict[str, float] = {}

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

    def is_from_any(self, peer: str, hosts: Iterable[Host]) -> bool:
        """Whether an address is one that results of any of these hosts may come from.

        Raises:
            Unavailable: it is none that is known now, and not all names could be resolved.
        """
        until = time.monotonic() + LOOKUP_SECONDS
        missed: Unavailable | None = None
        for effort, host in sorted(((self._effort(host), host) for host in hosts), key=lambda pair: pair[0]):
            if effort and time.monotonic() > until:
                raise Unavailable("looking up the names of the hosts takes too long now")
            try:
                if self.is_from(peer, host):
                    return True
            except Unavailable as error:
                missed = error
        if missed is not None:
            raise missed
        return False

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
            return addresses
        self._known[name] = (time.monotonic(), addresses)
        return addresses


def _is_address(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return False
    return True


def _resolve(name: str) -> frozenset[str]:
    return frozenset(str(entry[4][0]).partition("%")[0] for entry in socket.getaddrinfo(name, None))
