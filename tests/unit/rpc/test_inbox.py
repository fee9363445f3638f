"""Bytes of a connection, cut into requests however they arrive."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monagent.errors import HttpRefusal
from monagent.models import Head
from monagent.rpc.head import HEAD_LIMIT
from monagent.rpc.inbox import EMPTY_LINES_LIMIT, Inbox

from .heads import head, post


def taken(inbox: Inbox) -> list[tuple[str, bytes]]:
    """The paths and bodies of all requests that are whole."""
    found = []
    while inbox.is_whole():
        request, body = inbox.take()
        found.append((request.path, body))
    return found


def open_inbox() -> Inbox:
    """One that lets everything in."""
    return Inbox(lambda _head: None)


@given(st.lists(st.binary(max_size=50), max_size=5), st.lists(st.integers(1, 60), min_size=1))
def test_requests_are_the_same_however_they_are_cut(bodies: list[bytes], sizes: list[int]) -> None:
    """Anywhere: in a head, in its end, in a body, between two of them."""
    data = b"".join(post(body, path=f"/{number}") for number, body in enumerate(bodies))
    inbox, found, number = open_inbox(), [], 0
    while data:
        size = sizes[number % len(sizes)]
        inbox.feed(data[:size])
        data, number = data[size:], number + 1
        found += taken(inbox)

    assert found == [(f"/{number}", body) for number, body in enumerate(bodies)]
    assert not inbox.begun


def test_empty_lines_before_a_head_are_skipped() -> None:
    """Some clients end a body with a line end too many; nothing has begun with them."""
    inbox = open_inbox()
    inbox.feed(b"\r\n\r\n\n")
    assert not inbox.begun
    inbox.feed(post(b"a"))

    assert taken(inbox) == [("/xmlrpc/", b"a")]


def test_nothing_but_empty_lines_is_no_request() -> None:
    """However they come; after a request there may be some again."""
    inbox = open_inbox()
    for _ in range(EMPTY_LINES_LIMIT // 2):
        inbox.feed(b"\r\n")
    with pytest.raises(HttpRefusal, match="400"):
        inbox.feed(b"\r\n")

    inbox = open_inbox()
    for _ in range(10):
        inbox.feed(b"\r\n" * 20 + post(b""))
        inbox.take()


def test_a_request_has_begun_with_its_first_byte() -> None:
    """And is over when it was taken."""
    inbox = open_inbox()
    inbox.feed(b"P")
    assert inbox.begun
    assert not inbox.is_whole()
    inbox.feed(post(b"")[1:])
    inbox.take()

    assert not inbox.begun


def test_a_head_is_judged_before_its_body_is_there() -> None:
    """And only once."""
    seen: list[Head] = []
    inbox = Inbox(seen.append)
    inbox.feed(head("Content-Length: 100", "Content-Type: text/xml"))
    inbox.feed(b"x" * 50)

    assert [one.length for one in seen] == [100]
    assert not inbox.is_whole()


def test_a_head_of_exactly_the_limit_is_read() -> None:
    """Without the line end and the empty line that end it."""
    empty = len(head("X: ")) - 4
    inbox = open_inbox()
    inbox.feed(head("X: " + "y" * (HEAD_LIMIT - empty)))

    assert inbox.is_whole()


@pytest.mark.parametrize("end", [b"", b"\r\n\r\n"])
@pytest.mark.parametrize("size", [1, 100, 100_000])
def test_a_head_over_the_limit_is_refused(size: int, end: bytes) -> None:
    """Whether its end came or never will."""
    inbox = open_inbox()
    with pytest.raises(HttpRefusal, match="431"):
        inbox.feed(b"x" * (HEAD_LIMIT + size) + end)


def test_what_comes_behind_a_request_is_judged_when_that_is_taken() -> None:
    """The request itself counts nevertheless, and the refusal comes behind its answer."""
    inbox = open_inbox()
    inbox.feed(post(b"first") + b"nonsense\r\n\r\n")
    with pytest.raises(HttpRefusal, match="400"):
        inbox.take()

    assert inbox.last[1] == b"first"


def test_an_answer_to_head_has_no_body_even_when_it_is_a_refusal() -> None:
    """It is known as soon as the head is."""
    inbox = open_inbox()
    inbox.feed(head(first="HEAD / HTTP/1.1"))

    assert inbox.bodiless
