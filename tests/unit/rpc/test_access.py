"""Who may come in, and what a request must look like."""

from __future__ import annotations

from http import HTTPStatus
from ipaddress import ip_network

import pytest

from monagent.errors import HttpRefusal
from monagent.models import Head
from monagent.rpc.access import AllowList, Gate
from monagent.rpc.head import parse_head

from .heads import head

LIMIT = 1000
PEER = "10.1.2.3"


def allowing(*networks: str) -> AllowList:
    """An allow-list of these networks."""
    return AllowList([ip_network(network) for network in networks])


@pytest.fixture
def gate() -> Gate:
    """A gate for one network, with one page."""
    return Gate(allowing("10.0.0.0/8"), LIMIT, pages=["/", "/status"])


def request(*lines: str, verb: str = "POST", path: str = "/xmlrpc/") -> Head:
    """A request of that verb; a good call where `lines` are those of one."""
    return parse_head(head(*lines, first=f"{verb} {path} HTTP/1.1"))


GOOD = ("Content-Type: text/xml", "Content-Length: 5")


def refusal(gate: Gate, one: Head, peer: str = PEER) -> HttpRefusal:
    """How the request is refused."""
    with pytest.raises(HttpRefusal) as caught:
        gate.check(one, peer)
    return caught.value


@pytest.mark.parametrize(
    ("network", "peer", "admitted"),
    [
        ("10.0.0.0/8", "10.255.255.255", True),
        ("10.0.0.0/8", "11.0.0.0", False),
        ("10.0.0.0/8", "::ffff:10.1.2.3", True),
        ("10.0.0.0/8", "::ffff:11.0.0.0", False),
        ("10.0.0.0/8", "::10.1.2.3", False),
        ("192.0.2.7/32", "192.0.2.7", True),
        ("192.0.2.7/32", "192.0.2.8", False),
        ("0.0.0.0/0", "203.0.113.9", True),
        ("0.0.0.0/0", "::1", False),
        ("::1/128", "::1", True),
        ("::1/128", "127.0.0.1", False),
        ("fe80::/10", "fe80::1%eth0", True),
        ("fe80::/10", "fe80::1%2", True),
        ("2001:db8::/32", "2001:db8:ffff::1", True),
        ("2001:db8::/32", "2001:db9::1", False),
        ("::/0", "10.0.0.1", False),
        ("0.0.0.0/0", "", False),
        ("0.0.0.0/0", "localhost", False),
        ("0.0.0.0/0", "010.0.0.1", False),
        ("0.0.0.0/0", "10.0.0.1\n", False),
    ],
)
def test_an_address_is_admitted_by_its_network(network: str, peer: str, admitted: bool) -> None:
    """IPv4 within IPv6 counts as IPv4, a zone means nothing, and what is no address gets nowhere."""
    assert allowing(network).admits(peer) is admitted


def test_one_of_several_networks_is_enough() -> None:
    """The networks are alternatives."""
    allow = allowing("127.0.0.0/8", "::1/128")

    assert [allow.admits(peer) for peer in ("127.0.0.9", "::1", "10.0.0.1")] == [True, True, False]


def test_an_empty_list_admits_nobody() -> None:
    """Nothing allowed is not everything allowed."""
    assert not AllowList([]).admits("127.0.0.1")


def test_no_list_admits_everybody() -> None:
    """The callback port has no list."""
    assert AllowList(None).admits("203.0.113.9")


@pytest.mark.parametrize("path", ["/xmlrpc/", "/xmlrpc", "/RPC2", "/xmlrpc/?a=b", "/%78mlrpc/"])
def test_a_good_call_passes_at_every_path(gate: Gate, path: str) -> None:
    """The path, its two aliases, with or without a query."""
    gate.check(request(*GOOD, path=path), PEER)


@pytest.mark.parametrize(
    "content_type",
    [
        "text/xml",
        "TEXT/XML",
        "application/xml",
        "text/xml; charset=utf-8",
        "text/xml;charset=iso-8859-1",
        " text/xml ;x",
    ],
)
def test_both_xml_types_pass(gate: Gate, content_type: str) -> None:
    """In any case, with parameters."""
    gate.check(request(f"Content-Type: {content_type}", "Content-Length: 0"), PEER)


def test_a_body_of_exactly_the_limit_passes(gate: Gate) -> None:
    """The limit itself is allowed."""
    gate.check(request("Content-Type: text/xml", f"Content-Length: {LIMIT}"), PEER)


@pytest.mark.parametrize(
    "one",
    [
        request(*GOOD),
        request(path="/nowhere"),
        request(verb="BREW"),
        request("Origin: http://x"),
        request("Content-Length: 999999999"),
        request(verb="GET", path="/"),
    ],
)
def test_a_stranger_gets_403_before_anything_else(gate: Gate, one: Head) -> None:
    """Who may not talk to us learns nothing about what is here."""
    assert refusal(gate, one, peer="192.0.2.1").status == HTTPStatus.FORBIDDEN


def test_a_stranger_is_known_before_there_is_a_head(gate: Gate) -> None:
    """The address alone decides, so that nothing need be read."""
    gate.check_peer(PEER)
    with pytest.raises(HttpRefusal, match="403"):
        gate.check_peer("192.0.2.1")


@pytest.mark.parametrize("path", ["/nowhere", "/xmlrpc/x", "/RPC2/", "/rpc2", "//xmlrpc/", "/xmlrpc/..", "/status/"])
@pytest.mark.parametrize("verb", ["POST", "GET", "PUT"])
def test_an_unknown_path_gets_404(gate: Gate, path: str, verb: str) -> None:
    """Whatever the verb."""
    assert refusal(gate, request(*GOOD, verb=verb, path=path)).status == HTTPStatus.NOT_FOUND


@pytest.mark.parametrize("verb", ["GET", "HEAD", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "BREW"])
def test_calls_are_posted(gate: Gate, verb: str) -> None:
    """Other verbs get 405, with the one that is allowed."""
    refused = refusal(gate, request(*GOOD, verb=verb))

    assert (refused.status, dict(refused.headers)) == (HTTPStatus.METHOD_NOT_ALLOWED, {"Allow": "POST"})


@pytest.mark.parametrize("verb", ["POST", "PUT", "DELETE", "OPTIONS"])
def test_pages_are_read(gate: Gate, verb: str) -> None:
    """Other verbs than GET and HEAD get 405, with those two."""
    refused = refusal(gate, request(*GOOD, verb=verb, path="/status"))

    assert (refused.status, dict(refused.headers)) == (HTTPStatus.METHOD_NOT_ALLOWED, {"Allow": "GET, HEAD"})


@pytest.mark.parametrize("verb", ["GET", "HEAD"])
def test_a_page_may_be_read(gate: Gate, verb: str) -> None:
    """With an Origin too: reading a page commands nothing."""
    gate.check(request("Origin: http://x", "Content-Length: 0", verb=verb, path="/?q"), PEER)


def test_reading_a_page_takes_no_body(gate: Gate) -> None:
    """A GET that brings a body gets 413."""
    one = request("Content-Length: 1", verb="GET", path="/")

    assert refusal(gate, one).status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE


@pytest.mark.parametrize(
    "line", ["Origin: http://x", "Origin: null", "Origin:", "Sec-Fetch-Site: none", "sec-fetch-site: cross-site"]
)
def test_a_browser_gets_403(gate: Gate, line: str) -> None:
    """What only browsers send marks a page that tries to command an agent."""
    assert refusal(gate, request(*GOOD, line)).status == HTTPStatus.FORBIDDEN


def test_a_call_without_a_length_gets_411(gate: Gate) -> None:
    """The length comes first."""
    assert refusal(gate, request("Content-Type: text/xml")).status == HTTPStatus.LENGTH_REQUIRED


def test_one_byte_over_the_limit_gets_413(gate: Gate) -> None:
    """Before the body is read."""
    one = request("Content-Type: text/xml", f"Content-Length: {LIMIT + 1}")

    assert refusal(gate, one).status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE


@pytest.mark.parametrize(
    "content_type",
    ["", "text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "text/xmlx", "text/html; text/xml", "xml",
     "application/json", "text /xml", "text/xml, text/plain"],
)  # fmt: skip
def test_another_content_type_gets_415(gate: Gate, content_type: str) -> None:
    """The types that a web form can send are among them."""
    one = request(f"Content-Type: {content_type}", "Content-Length: 5")

    assert refusal(gate, one).status == HTTPStatus.UNSUPPORTED_MEDIA_TYPE


def test_no_content_type_gets_415(gate: Gate) -> None:
    """Nothing is guessed."""
    assert refusal(gate, request("Content-Length: 5")).status == HTTPStatus.UNSUPPORTED_MEDIA_TYPE


@pytest.mark.parametrize("coding", ["gzip", "identity", ""])
def test_an_encoded_body_gets_415(gate: Gate, coding: str) -> None:
    """No compression, so no bombs."""
    one = request(*GOOD, f"Content-Encoding: {coding}")

    assert refusal(gate, one).status == HTTPStatus.UNSUPPORTED_MEDIA_TYPE
