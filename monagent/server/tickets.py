"""The rules of tickets: made so that nobody can guess them, bound to a host and a command, good for one result."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import CancelledError
from concurrent.futures import TimeoutError as FutureTimeout
from ipaddress import IPv6Address, ip_address, ip_network

from monagent.errors import BadArguments, Fault, Unavailable
from monagent.protocol import OK
from monagent.server.names import Names
from monagent.server.records import Delivery, Host, IssuedTicket

ISSUED, SENT, ACKNOWLEDGED = "issued", "sent", "acknowledged"
DONE, FAILED, EXPIRED, REFUSED, CANCELLED = "done", "failed", "expired", "refused", "cancelled"
"""The story of a ticket: it is written down (issued), leaves (sent), and the agent says that it will do it (acknowledged).
It ends with a result (done), one that says error, or because it could not be sent (failed), because the agent would not
have it (refused), because nothing came in time (expired), or because somebody called it off (cancelled)."""
OPEN = (ISSUED, SENT, ACKNOWLEDGED)

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
    """Where hosts are. Any thread may ask."""

    def __init__(self, names: Names) -> None:
        self._names = names

    def is_ready(self, host: Host) -> bool:
        """Whether `is_from` can tell without waiting for a name server."""
        return bool(host.sources) or self._names.known(host.address) is not None

    def look_up(self, host: Host, seconds: float = LOOKUP_SECONDS) -> None:
        """Wait for the name server.

        Raises:
            Unavailable: its name cannot be resolved now, and never could be before.
        """
        try:
            self._names.asked(host.address).result(max(seconds, 0.0))
        except (OSError, FutureTimeout, CancelledError) as error:
            raise Unavailable(f"the name {host.address} cannot be resolved now") from error

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
        if not self.is_ready(host):
            self.look_up(host)
        return str(address) in (self._names.known(host.address) or ())

    def of(self, peer: str, hosts: Iterable[Host]) -> list[Host]:
        """The hosts that results from an address may come from; several may share one.

        Name servers are waited for only when no host is known to be there without.

        Raises:
            Unavailable: there is none that is known now, and not all names could be resolved.
        """
        ready: list[Host] = []
        unknown: list[Host] = []
        for host in hosts:
            (ready if self.is_ready(host) else unknown).append(host)
        found = [host for host in ready if self.is_from(peer, host)]
        until = time.monotonic() + LOOKUP_SECONDS
        missed: Unavailable | None = None
        for host in unknown if not found else ():
            try:
                self.look_up(host, until - time.monotonic())
                found += [host] if self.is_from(peer, host) else []
            except Unavailable as error:
                missed = error
        if missed is not None and not found:
            raise missed
        return found
