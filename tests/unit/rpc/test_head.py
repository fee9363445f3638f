"""Heads of requests: what is plain gets in, what two programs could read in two ways does not."""

from __future__ import annotations

import http.client
import io
import re
from http import HTTPStatus

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monagent.errors import HttpRefusal
from monagent.rpc.head import parse_head

from .heads import FIRST, head

QUICK = settings(max_examples=150, deadline=None, database=None)


def refusal(raw: bytes) -> HTTPStatus:
    """The status that this head is refused with."""
    with pytest.raises(HttpRefusal) as caught:
        parse_head(raw)
    return caught.value.status


def test_a_plain_head_is_read() -> None:
    """Verb, target, version, headers and length come out as they were sent."""
    parsed = parse_head(
        head("Host: a", "Content-Type: text/xml", "Content-Length: 12", first="POST /xmlrpc/?a=%20b HTTP/1.1")
    )

    assert (parsed.method, parsed.target, parsed.path, parsed.query) == (
        "POST",
        "/xmlrpc/?a=%20b",
        "/xmlrpc/",
        "a=%20b",
    )
    assert (parsed.version, parsed.length, parsed.keep_alive) == ((1, 1), 12, True)
    assert parsed.headers == {"host": "a", "content-type": "text/xml", "content-length": "12"}


def test_a_head_without_headers_is_read() -> None:
    """HTTP/1.0 clients may send a request line alone."""
    parsed = parse_head(head(first="GET / HTTP/1.0"))

    assert (parsed.method, parsed.version, parsed.headers, parsed.length) == ("GET", (1, 0), {}, None)


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("X-A: b", "b"),
        ("x-a:b", "b"),
        ("X-A: \t b \t ", "b"),
        ("X-A:", ""),
        ("X-A: a:b, c", "a:b, c"),
        ("X-A: \xe9", "\xe9"),
        ("X-A: a\tb", "a\tb"),
    ],
)
def test_values_are_stripped_and_kept(line: str, value: str) -> None:
    """White space around a value means nothing, names have no case."""
    assert parse_head(head(line)).headers == {"x-a": value}


def test_the_path_is_decoded_and_the_target_is_not() -> None:
    """A path in percent signs is the path that it stands for."""
    parsed = parse_head(head(first="GET /%78ml%2frpc/%C3%A9%3f%ff?%41 HTTP/1.1"))

    assert (parsed.path, parsed.query) == ("/xml/rpc/é?\ufffd", "%41")
    assert parsed.target == "/%78ml%2frpc/%C3%A9%3f%ff?%41"


@pytest.mark.parametrize(
    "first",
    [
        "", "POST", "POST /xmlrpc/", "GET /", "POST /xmlrpc/ HTTP/2.0", "POST /xmlrpc/ HTTP/0.9", "POST /xmlrpc/ HTTP/1.2",
        "POST /xmlrpc/ HTTP/1.10", "POST /xmlrpc/ HTTP/1", "POST /xmlrpc/ http/1.1", "POST /xmlrpc/ HTTP/1.1 ", " POST / HTTP/1.1",
        "POST  / HTTP/1.1", "POST /  HTTP/1.1", "POST\t/\tHTTP/1.1", "POST /a b HTTP/1.1", "post / HTTP/1.1", "P0ST / HTTP/1.1",
        "POST http://127.0.0.1/xmlrpc/ HTTP/1.1", "POST //evil HTTP/1.1 x", "OPTIONS * HTTP/1.1", "CONNECT a:1 HTTP/1.1",
        "POST xmlrpc/ HTTP/1.1", "POST /\x00 HTTP/1.1", "POST /\xe9 HTTP/1.1", "POST /\x7f HTTP/1.1", "POST /\nX: y HTTP/1.1",
        "POST / HTTP/1.1\n", "POST / HTTP/1.1\r", f"{'A' * 21} / HTTP/1.1", "PRI * HTTP/2.0", "\x16\x03\x01\x02\x00\x01",
    ],
)  # fmt: skip
def test_an_odd_request_line_is_refused(first: str) -> None:
    """Other versions, absolute URIs, other spaces and control characters get 400."""
    assert refusal(head("Host: a", first=first)) == HTTPStatus.BAD_REQUEST


@pytest.mark.parametrize(
    "lines",
    [
        ("Content-Length: 5", "Content-Length: 5"),
        ("Content-Length: 5", "Content-Length: 6"),
        ("Content-Length: 5", "content-length: 5"),
        ("Content-Length: 5", "CONTENT-LENGTH: 0"),
        ("Content-Length: 5, 5",),
        ("Content-Length: 5", "Transfer-Encoding: chunked"),
        ("Transfer-Encoding: chunked", "Content-Length: 5"),
        ("Content-Length: 5", "Transfer-Encoding:"),
        ("Transfer-Encoding: chunked", "Transfer-Encoding: identity"),
        ("Content-Length: 5", "Transfer-Encoding : chunked"),
        ("Transfer-Encoding : chunked",),
        ("Transfer-Encoding\t: chunked",),
        ("Transfer-Encoding\x00: chunked",),
        ("Transfer-Encoding:\x0bchunked",),
        ("Transfer-Encoding: chunked\x00",),
        ("Content-Length: 5", " Transfer-Encoding: chunked"),
        ("Content-Length: 5", "\tTransfer-Encoding: chunked"),
        ("X: y", " folded"),
        (" Content-Length: 5",),
        ("X: y\nTransfer-Encoding: chunked",),
        ("X: y\rTransfer-Encoding: chunked",),
        ("X: y\n\nGET / HTTP/1.1",),
        ("\nContent-Length: 5",),
        ("Content-Length : 5",),
        ("Content_Length : 5",),
        ("Content-Length: 5\x00",),
        ("Content-Length",),
        (": 5",),
        ("X Y: z",),
        ("X(Y): z",),
        ("X\xe9: z",),
        ("X: \x7f",),
        ("X: \x01",),
        ("Host: a", "Host: b"),
        ("Connection: close", "Connection: keep-alive"),
        ("Content-Type: text/xml", "Content-Type: text/html"),
        ("Expect: 100-continue", "Expect: 100-continue"),
        ("Origin: a", "Origin: b"),
    ],
)
def test_every_ambiguous_head_is_refused(lines: tuple[str, ...]) -> None:
    """A second request could hide behind each of these somewhere."""
    assert refusal(head(*lines)) == HTTPStatus.BAD_REQUEST


@pytest.mark.parametrize(
    "text",
    [
        "-1", "+5", "1_0", "0x5", "5.0", "", "5 5", "five", "5;", '"5"', "\xb2", "\xd9\xa5", "9" * 13, "1e3", "5\t5", "-0", "0x",
    ],
)  # fmt: skip
def test_a_length_is_plain_digits(text: str) -> None:
    """What Python's int() would take, or another program would cut short, is refused."""
    assert refusal(head(f"Content-Length: {text}")) == HTTPStatus.BAD_REQUEST


@pytest.mark.parametrize(("text", "length"), [("0", 0), ("5 ", 5), ("007", 7), ("9" * 12, 10**12 - 1)])
def test_a_plain_length_is_read(text: str, length: int) -> None:
    """Up to twelve digits, leading zeros included."""
    assert parse_head(head(f"Content-Length: {text}")).length == length


@pytest.mark.parametrize("coding", ["chunked", "Chunked", "identity", "gzip, chunked", "", "xchunked"])
def test_a_body_of_unannounced_length_is_refused(coding: str) -> None:
    """Chunked bodies, and every other coding, get 411."""
    assert refusal(head(f"Transfer-Encoding: {coding}")) == HTTPStatus.LENGTH_REQUIRED


@pytest.mark.parametrize(
    ("version", "lines", "kept"),
    [
        ("1.1", (), True),
        ("1.1", ("Connection: close",), False),
        ("1.1", ("Connection: Close",), False),
        ("1.1", ("Connection: keep-alive, close",), False),
        ("1.1", ("Connection: close , TE",), False),
        ("1.1", ("Connection: keep-alive",), True),
        ("1.1", ("Connection:",), True),
        ("1.1", ("Connection: closed",), True),
        ("1.0", (), False),
        ("1.0", ("Connection: Keep-Alive",), True),
        ("1.0", ("Connection: TE, keep-alive",), True),
        ("1.0", ("Connection: keep-alive, close",), False),
        ("1.0", ("Connection: upgrade",), False),
    ],
)
def test_connections_are_kept_by_the_rules_of_their_version(version: str, lines: tuple[str, ...], kept: bool) -> None:
    """HTTP/1.1 keeps unless told otherwise, HTTP/1.0 closes unless told otherwise, close always wins."""
    assert parse_head(head(*lines, first=f"POST / HTTP/{version}")).keep_alive is kept


@pytest.mark.parametrize("wish", ["100-continue", "100-Continue"])
def test_the_one_known_expectation_is_taken(wish: str) -> None:
    """100-continue, in any case."""
    assert parse_head(head(f"Expect: {wish}")).headers["expect"] == wish


@pytest.mark.parametrize("wish", ["", "100", "200-ok", "100-continue, x"])
def test_other_expectations_are_refused(wish: str) -> None:
    """What we cannot promise gets 417."""
    assert refusal(head(f"Expect: {wish}")) == HTTPStatus.EXPECTATION_FAILED


tokens = st.text("abcdefghijklmnopqrstuvwxyzABCXYZ0123456789-_!~", min_size=1, max_size=12)
values = st.text(
    st.characters(min_codepoint=0x20, max_codepoint=0xFF, exclude_characters="".join(map(chr, range(0x7F, 0x80))))
)
SPECIAL = ("content-length", "content-type", "transfer-encoding", "host", "expect", "connection", "origin")


@given(st.dictionaries(tokens.filter(lambda name: name.lower() not in SPECIAL), values, max_size=6))
@QUICK
def test_every_plain_header_is_read_as_it_was_sent(headers: dict[str, str]) -> None:
    """Whatever their names and values, plain headers arrive; of one name, the last."""
    parsed = parse_head(head(*(f"{name}: {value}" for name, value in headers.items())))

    assert parsed.headers == {name.lower(): value.strip(" \t") for name, value in headers.items()}


@given(st.binary(max_size=200))
@QUICK
def test_random_bytes_are_read_or_refused(data: bytes) -> None:
    """Nothing but a refusal comes out of nonsense."""
    _read_or_refuse(data + b"\r\n\r\n")


PIECES = [
    "Content-Length", "Transfer-Encoding", ": ", ":", " :", "5", "chunked", "\r\n", "\n", "\r", " ", "\t", "\0", "\x0b", ",", "X",
    "Connection", "Expect: 100-continue", "GET / HTTP/1.1", "Content-Length: 5\r\n", "Host: a\r\n", "\xa0", "\x85", "-", "+", "_",
]  # fmt: skip


@given(st.lists(st.sampled_from(PIECES), max_size=14).map("".join))
@QUICK
def test_an_accepted_head_means_the_same_to_another_parser(text: str) -> None:
    """Where a head is taken, the standard library finds the same headers and the same end in it."""
    raw = f"{FIRST}\r\n{text}\r\n\r\n".encode("latin-1")
    raw = raw[: raw.find(b"\r\n\r\n") + 4]
    if not _read_or_refuse(raw):
        return
    parsed = parse_head(raw)
    rest = io.BytesIO(raw.partition(b"\r\n")[2])
    theirs = http.client.parse_headers(rest)

    assert rest.read() == b""
    assert {name.lower(): value.rstrip(" \t") for name, value in theirs.items()} == parsed.headers
    assert len(theirs.get_all("Content-Length", [])) == int(parsed.length is not None)
    assert "Transfer-Encoding" not in theirs


def _read_or_refuse(raw: bytes) -> bool:
    refused = None
    try:
        parsed = parse_head(raw)
    except HttpRefusal as refusal_:
        refused = refusal_.status
    if refused is not None:
        assert refused in (400, 411, 417)
        return False
    assert re.fullmatch("[A-Z]+", parsed.method)
    assert parsed.path.startswith("/")
    assert "transfer-encoding" not in parsed.headers
    assert parsed.length is None or 0 <= parsed.length < 10**12
    return True
