"""The rules of tickets, as rules: no network, no database."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monagent.errors import BadArguments, Unavailable
from monagent.protocol import ticket_from_wire
from monagent.server.names import Names
from monagent.server.records import Delivery, Host, IssuedTicket
from monagent.server.ticketing import new_ticket
from monagent.server.tickets import AddressBook, judge

WEB1 = Host(1, "web1", "192.0.2.1", 8080, ())
WHEN = datetime(2026, 1, 1, tzinfo=UTC)


def issued(
    name: str, *, state: str = "acknowledged", kept: bytes | None = None, expires: float = 2000.0
) -> tuple[IssuedTicket, Host]:
    """A check's ticket of web1."""
    return IssuedTicket(hash(name), name, 1, None, "cmd_submit_reading", ["disk", []], state, expires, kept), WEB1


def handed(
    ticket: str, *, result: bytes = b"a", method: str = "cmd_submit_reading", peer: str = "192.0.2.1"
) -> Delivery:
    """A result from web1."""
    return Delivery(ticket, peer, method, {}, WHEN, result)


def from_web1(peer: str, host: Host) -> bool:
    """What `is_from` would say, without names."""
    return peer == host.address


def words(verdicts: Sequence[Any]) -> list[str]:
    """Each verdict in a word: keep, OK, or what the fault says."""
    return [
        "keep" if isinstance(verdict, tuple) else verdict if isinstance(verdict, str) else verdict.message
        for verdict in verdicts
    ]


NOT_ISSUED = "this ticket was not issued to this host"
OTHER_COMMAND = "this ticket was issued for another command"
USED = "this ticket was already used for another result"


def test_a_ticket_that_has_expired_or_was_called_off_takes_no_result() -> None:
    """But what it took before is told to be kept."""
    late, off = issued("t", expires=999.0), issued("t", state="cancelled")

    assert words(judge([handed("t")], {"t": late}, from_web1, 1000.0)) == ["this ticket has expired"]
    assert words(judge([handed("t")], {"t": off}, from_web1, 1000.0)) == ["this ticket was cancelled"]
    kept = issued("t", state="done", kept=b"a", expires=999.0)
    assert words(judge([handed("t")], {"t": kept}, from_web1, 1000.0)) == ["OK"]


@pytest.mark.parametrize("state", ["issued", "sent", "acknowledged", "refused", "failed"])
def test_a_result_for_an_open_ticket_is_kept(state: str) -> None:
    """Also when it was quicker than the acknowledgement, or when that was lost."""
    known = issued("t", state=state)
    delivery = handed("t")

    assert judge([delivery], {"t": known}, from_web1, 1000.0) == [(known[0], delivery)]


def test_a_repeat_of_what_is_kept_is_ok_and_not_kept_again() -> None:
    """The agent did not get our answer."""
    assert words(judge([handed("t")], {"t": issued("t", state="done", kept=b"a")}, from_web1, 1000.0)) == ["OK"]


def test_another_result_for_a_used_ticket_is_refused() -> None:
    """One ticket, one result."""
    verdicts = judge([handed("t", result=b"b")], {"t": issued("t", state="done", kept=b"a")}, from_web1, 1000.0)

    assert words(verdicts) == [USED]
    assert isinstance(verdicts[0], BadArguments)


def test_a_ticket_that_nobody_issued_is_refused() -> None:
    """By the same words as one of another host, so that nobody learns which tickets there are."""
    assert words(judge([handed("t")], {}, from_web1, 1000.0)) == [NOT_ISSUED]
    assert words(judge([handed("t", peer="192.0.2.9")], {"t": issued("t")}, from_web1, 1000.0)) == [NOT_ISSUED]


def test_a_result_of_another_command_is_refused() -> None:
    """A status is no reading."""
    assert words(judge([handed("t", method="cmd_status")], {"t": issued("t")}, from_web1, 1000.0)) == [OTHER_COMMAND]


def test_a_stranger_learns_nothing_about_a_used_ticket() -> None:
    """Not even by sending the very result."""
    known = {"t": issued("t", state="done", kept=b"a")}

    assert words(judge([handed("t", peer="192.0.2.9")], known, from_web1, 1000.0)) == [NOT_ISSUED]


def test_results_that_come_together_are_judged_in_their_order() -> None:
    """Of several for one ticket the first is kept; the same again is a repeat, another one is refused."""
    deliveries = [handed("t"), handed("u"), handed("t"), handed("t", result=b"b"), handed("x")]

    assert words(judge(deliveries, {"t": issued("t"), "u": issued("u")}, from_web1, 1000.0)) == [
        "keep", "keep", "OK", USED, NOT_ISSUED,
    ]  # fmt: skip


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["open", "done", "unknown"]),
            st.sampled_from([b"a", b"b"]),
            st.sampled_from(["cmd_submit_reading", "cmd_status"]),
            st.sampled_from(["192.0.2.1", "192.0.2.9"]),
        ),
        max_size=12,
    )
)
def test_whatever_comes_a_ticket_keeps_one_result_of_its_host_and_command(
    sent: list[tuple[str, bytes, str, str]],
) -> None:
    """At most one is kept for a ticket; OK is only said for what is kept."""
    found = {"open": issued("open"), "done": issued("done", state="done", kept=b"a")}
    kept: dict[str, bytes] = {"done": b"a"}
    deliveries = [handed(ticket, result=result, method=method, peer=peer) for ticket, result, method, peer in sent]
    verdicts = judge(deliveries, found, from_web1, 1000.0)

    for (ticket, result, method, peer), word in zip(sent, words(verdicts), strict=True):
        if ticket == "unknown" or peer != "192.0.2.1":
            assert word == NOT_ISSUED
        elif method != "cmd_submit_reading":
            assert word == OTHER_COMMAND
        elif ticket not in kept:
            assert word == "keep"
            kept[ticket] = result
        else:
            assert word == ("OK" if kept[ticket] == result else USED)


def test_tickets_are_long_differ_and_fit_the_protocol() -> None:
    """Nobody can guess one."""
    tickets = {new_ticket() for _ in range(1000)}

    assert len(tickets) == 1000
    assert all(len(ticket) >= 32 and ticket_from_wire(ticket) == ticket for ticket in tickets)


@pytest.mark.parametrize(
    ("peer", "host", "expected"),
    [
        ("127.0.0.1", Host(1, "a", "127.0.0.1", 1, ()), True),
        ("127.0.0.1", Host(1, "a", "localhost", 1, ()), True),
        ("::ffff:127.0.0.1", Host(1, "a", "127.0.0.1", 1, ()), True),
        ("127.0.0.2", Host(1, "a", "127.0.0.1", 1, ()), False),
        ("::1", Host(1, "a", "::1", 1, ()), True),
        ("fe80::1%eth0", Host(1, "a", "fe80::1", 1, ()), True),
        ("10.1.2.3", Host(1, "a", "127.0.0.1", 1, ("10.0.0.0/8",)), True),
        ("::ffff:10.1.2.3", Host(1, "a", "127.0.0.1", 1, ("10.0.0.0/8",)), True),
        ("127.0.0.1", Host(1, "a", "127.0.0.1", 1, ("10.0.0.0/8",)), False),
        ("2001:db8::5", Host(1, "a", "127.0.0.1", 1, ("10.0.0.0/8", "2001:db8::/32")), True),
    ],
)
def test_an_address_belongs_to_a_host_by_its_networks_or_its_name(peer: str, host: Host, expected: bool) -> None:
    """Networks replace the address where they are given."""
    assert AddressBook(Names()).is_from(peer, host) is expected


class Resolver:
    """A name server that answers what it is told to, or is away."""

    def __init__(self, **known: str) -> None:
        self.known = {f"{name}.example.org": frozenset({address}) for name, address in known.items()}
        self.asked: list[str] = []
        self.away = False
        self.now = 1000.0
        self.names = Names(self._resolve, lambda: self.now)

    def _resolve(self, name: str) -> frozenset[str]:
        self.asked.append(name)
        if self.away or name not in self.known:
            raise OSError("away")
        return self.known[name]


def test_a_name_server_that_is_away_refuses_nobody() -> None:
    """What was known before holds, for as long as it takes; what was never known is asked for again, but not at once."""
    server = Resolver(web1="192.0.2.1")
    book, host = AddressBook(server.names), Host(1, "web1", "web1.example.org", 8080, ())
    server.away = True
    for _ in range(3):
        with pytest.raises(Unavailable):
            book.is_from("192.0.2.1", host)
    assert len(server.asked) == 1
    server.away, server.now = False, 1011.0
    assert book.is_from("192.0.2.1", host)
    server.away, server.now = True, 9000.0

    assert book.is_ready(host)
    assert book.is_from("192.0.2.1", host)
    assert not book.is_from("192.0.2.2", host)


def test_a_name_is_asked_for_once_at_a_time() -> None:
    """However many wait for it."""
    going = threading.Event()
    asked = []

    def resolve(name: str) -> frozenset[str]:
        asked.append(name)
        going.wait(10)
        return frozenset({"192.0.2.1"})

    names = Names(resolve)
    waiting = [names.asked("web1.example.org") for _ in range(5)]
    assert names.known("web1.example.org") is None
    going.set()

    assert {one.result(10) for one in waiting} == {frozenset({"192.0.2.1"})}
    assert asked == ["web1.example.org"]


def test_an_address_belongs_to_any_of_several_hosts() -> None:
    """Or to none of them; what one of them cannot tell does not hide what another one can."""
    hosts = [
        Host(1, "named", "web1.example.org", 8080, ()),
        Host(2, "numbered", "192.0.2.2", 8080, ()),
        Host(3, "roaming", "192.0.2.3", 8080, ("10.0.0.0/8",)),
    ]
    book = AddressBook(Resolver(web1="192.0.2.1").names)

    assert all(book.of(peer, hosts) for peer in ("192.0.2.1", "192.0.2.2", "10.1.2.3", "::ffff:192.0.2.2"))
    assert not any(book.of(peer, hosts) for peer in ("192.0.2.3", "192.0.2.9", "::1"))
    assert not book.of("192.0.2.2", [])


def test_names_are_waited_for_only_where_nothing_else_helps() -> None:
    """Anybody at all may ask: a name server that is away must not hold those up whose address is at hand."""
    hosts = [
        Host(1, "a", "a.example.org", 8080, ()),
        Host(2, "b", "192.0.2.2", 8080, ()),
        Host(3, "c", "192.0.2.2", 8081, ()),
    ]
    book = AddressBook(Resolver().names)

    assert [host.name for host in book.of("192.0.2.2", hosts)] == ["b", "c"]
    with pytest.raises(Unavailable):
        book.of("192.0.2.9", hosts)
