"""Feed changed requests to what reads them, guided by what they reach in it, until it breaks a rule or the time is over.

    python -m tests.fuzz.fuzz_request -max_total_time=20

Options are libFuzzer's. The first byte of an input tells what the rest is: the bytes of a connection, or a document.
What breaks a rule is left in the current directory as `crash-…`; give that file as an argument to see it again.
"""

from __future__ import annotations

import contextlib
from datetime import datetime
from ipaddress import ip_network
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["monagent.rpc"]):
    from monagent.errors import Fault, HttpRefusal
    from monagent.models import Head, Value
    from monagent.rpc import marshal, unmarshal
    from monagent.rpc.access import AllowList, Gate
    from monagent.rpc.inbox import Inbox

from tests.fuzz.running import run
from tests.integration.hostile_requests import HEALTHY, hostile_requests
from tests.integration.served import post

CONNECTION, DOCUMENT = range(2)
SEED_LIMIT = 8 * 1024  # bytes; small inputs go faster and find as much
BODY_LIMIT = 2000
REFUSALS = frozenset({400, 403, 404, 405, 411, 413, 415, 417, 431})
LIMITS = unmarshal.Limits(size=BODY_LIMIT, values=20, depth=4)  # within reach of small inputs, so that each is met

GATE = Gate(AllowList([ip_network("127.0.0.1/32")]), BODY_LIMIT)


def one_input(data: bytes) -> None:
    """Read it; anything but a request by the rules or a refusal is a find."""
    if data and data[0] % 2 == CONNECTION:
        with contextlib.suppress(HttpRefusal):
            read_connection(data[1:])
    else:
        read_document(data[1:])


def read_connection(data: bytes) -> None:
    """However it is cut, the same requests come of it, and each could only be read in one way."""
    whole, refused = _requests(data, len(data) or 1)
    for size in (1, 7):
        assert _requests(data, size) == (whole, refused), size
    for head, body in whole:
        assert len(body) <= BODY_LIMIT
        assert head.length == len(body)
        assert "transfer-encoding" not in head.headers


def _requests(data: bytes, size: int) -> tuple[list[tuple[Head, bytes]], int]:
    inbox = Inbox(lambda head: GATE.check(head, "127.0.0.1"))
    found: list[tuple[Head, bytes]] = []
    try:
        for start in range(0, len(data), size):
            inbox.feed(data[start : start + size])
            while inbox.is_whole():
                try:
                    inbox.take()
                finally:
                    found.append(inbox.last)
    except HttpRefusal as refusal:
        assert refusal.status.value in REFUSALS, refusal
        return found, refusal.status.value
    return found, 0


def read_document(data: bytes) -> None:
    """A call, or a fault with one of the protocol's codes; and what is read can be written."""
    try:
        name, params = unmarshal.call(data, LIMITS)
    except Fault as fault:
        assert fault.code in (-32700, -32600), fault
        assert fault.message.isprintable()
        return
    assert len(data) <= LIMITS.size
    assert isinstance(name, str)
    assert _count(params) <= LIMITS.values
    if not _holds_what_changes(params):
        assert unmarshal.response(marshal.response(params)) == params


def _count(value: Value) -> int:
    if isinstance(value, list):
        return sum(1 + _count(item) for item in value)
    if isinstance(value, dict):
        return sum(1 + _count(item) for item in value.values())
    return 0


def _holds_what_changes(value: Value) -> bool:
    """Control characters and dates are written in another form."""
    if isinstance(value, list):
        return any(_holds_what_changes(item) for item in value)
    if isinstance(value, dict):
        return any(_holds_what_changes(key) or _holds_what_changes(item) for key, item in value.items())
    return isinstance(value, datetime | float) or (isinstance(value, str) and not value.isprintable())


def write_seeds(folder: Path) -> None:
    """Good and hostile requests to begin with."""
    good = [post(HEALTHY), post(HEALTHY) * 3, post(HEALTHY, path="/RPC2")]
    good += [post(marshal.call("m", ("t", "s", [1, 1.5, True, None, "é", b"x", {"a": datetime(2026, 11, 22)}])))]  # noqa: DTZ001
    hostile = [request.data for request in hostile_requests() if len(request.data) <= SEED_LIMIT]
    for number, raw in enumerate([*good, *hostile]):
        (folder / f"connection-{number}").write_bytes(bytes([CONNECTION]) + raw)
        (folder / f"document-{number}").write_bytes(bytes([DOCUMENT]) + raw.partition(b"\r\n\r\n")[2])


if __name__ == "__main__":
    run(write_seeds, one_input)
