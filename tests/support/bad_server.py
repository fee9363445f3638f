"""Answers that no honest server gives, for `Monitor.spoilt`: each takes the connection that a call has come by."""

from __future__ import annotations

import contextlib
import gzip
import socket
import struct
import threading
import time
import xmlrpc.client
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain, repeat
from typing import Any

from tests.support.ports import free_port

Spoil = Callable[[socket.socket], None]

MIB = 1024 * 1024
GIB = 1024 * MIB
SPACES = b" " * 65536
PATIENCE_SECONDS = 60.0


def raw(*pieces: bytes) -> Spoil:
    """These very bytes, and the end of the connection."""
    return lambda connection: _pour(connection, pieces)


def endless(start: bytes, piece: bytes = SPACES, total: int = GIB) -> Spoil:
    """These bytes, then others without an end (but for a GiB) for as long as they are taken."""
    return lambda connection: _pour(connection, chain([start], repeat(piece, total // len(piece))))


def http(body: bytes, *headers: str, status: str = "200 OK", length: int | None = None) -> bytes:
    """An HTTP answer; the length is right unless given, and left out when negative."""
    lines = [f"HTTP/1.1 {status}", "Content-Type: text/xml", *headers]
    size = len(body) if length is None else length
    if size >= 0:
        lines.append(f"Content-Length: {size}")
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def document(value: str) -> bytes:
    """An XML-RPC answer that carries this value."""
    return f"<?xml version='1.0'?><methodResponse><params><param>{value}</param></params></methodResponse>".encode()


def value(of: Any) -> Spoil:
    """An honest answer with this value."""
    return raw(http(xmlrpc.client.dumps((of,), methodresponse=True, allow_none=True).encode()))


def fault(code: int, text: str) -> Spoil:
    """An honest Fault."""
    return raw(http(xmlrpc.client.dumps(xmlrpc.client.Fault(code, text), methodresponse=True).encode()))


def never(connection: socket.socket) -> None:
    """No answer, until the other side gives up."""
    connection.settimeout(PATIENCE_SECONDS)
    with contextlib.suppress(OSError):
        while connection.recv(65536):
            pass


def drip(connection: socket.socket) -> None:
    """A byte a second, for as long as they are taken."""
    with contextlib.suppress(OSError):
        for byte in http(document("<value>OK</value>")):
            connection.sendall(bytes([byte]))
            time.sleep(1)


def drip_a_body(connection: socket.socket) -> None:
    """A good head at once, then a byte of the body every tenth of a second."""
    with contextlib.suppress(OSError):
        connection.sendall(http(b"", length=100_000))
        for _ in range(600):
            connection.sendall(b" ")
            time.sleep(0.1)


def reset(connection: socket.socket) -> None:
    """A reset instead of an answer."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def and_wait(start: Spoil) -> Spoil:
    """Something, and then nothing more, with the connection left open."""

    def spoil(connection: socket.socket) -> None:
        start(connection)
        never(connection)

    return spoil


def _pour(connection: socket.socket, pieces: Iterable[bytes]) -> None:
    connection.settimeout(PATIENCE_SECONDS)
    with contextlib.suppress(OSError):
        for piece in pieces:
            connection.sendall(piece)


def _headers() -> Iterator[bytes]:
    """200 MB of headers."""
    yield b"HTTP/1.1 200 OK\r\n"
    for number in range(200 * 16):
        yield b"X-%d: " % number + b"x" * 65000 + b"\r\n"


def _gigabyte_of_base64() -> Iterator[bytes]:
    start = document("<value><base64>").partition(b"</param>")[0]
    yield http(start, length=GIB)
    yield from repeat(b"A" * 65536, GIB // 65536)


def _chunk(size: int) -> bytes:
    return b"%x\r\n" % size + b"A" * size + b"\r\n"


def _laughs() -> bytes:
    entities = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' for n in range(1, 10))
    return f'<!DOCTYPE x [<!ENTITY l0 "ha">{entities}]>'.encode() + document("<value>&l9;</value>")


def _attributes(count: int) -> bytes:
    return b"<methodResponse " + b" ".join(b'a%d="x"' % number for number in range(count)) + b"/>"


OK = document("<value>OK</value>")
CHUNKED = "Transfer-Encoding: chunked"
BOMB = gzip.compress(b"<!-- " + bytes(200 * MIB))


@dataclass(frozen=True)
class Bad:
    """A way to answer.

    Attributes:
        spoil: does it.
        slow: whether only the time-out ends it.
    """

    spoil: Spoil
    slow: bool = False


BAD: dict[str, Bad] = {
    # Bodies.
    "endless body without a length": Bad(endless(http(OK[:20], length=-1))),
    "endless spaces behind a good answer": Bad(endless(http(OK, length=-1))),
    "endless chunks": Bad(endless(http(b"", CHUNKED, length=-1), _chunk(65536))),
    "endless tiny chunks": Bad(endless(http(b"", CHUNKED, length=-1), _chunk(1) * 4096, 400 * MIB)),
    "one chunk of a terabyte": Bad(endless(http(b"10000000000\r\n", CHUNKED, length=-1))),
    "an endless chunk size": Bad(endless(http(b"", CHUNKED, length=-1), b"0" * 65536)),
    "endless extensions of a chunk": Bad(endless(http(b"5;", CHUNKED, length=-1), b"x" * 65536)),
    "endless trailers": Bad(endless(http(b"0\r\n", CHUNKED, length=-1), b"X: " + b"x" * 60000 + b"\r\n")),
    "a chunk size that is none": Bad(raw(http(b"zz\r\n" + OK, CHUNKED, length=-1))),
    "a negative chunk size": Bad(raw(http(b"-5\r\n" + OK, CHUNKED, length=-1))),
    "a length of a terabyte": Bad(endless(http(OK[:20], length=2**40))),
    "a length beyond all numbers": Bad(raw(http(OK[:-20], length=10**30))),
    "a length that is too small": Bad(raw(http(OK, length=len(OK) - 20))),
    "a length that is too large, then the end": Bad(raw(http(OK[:-20], length=len(OK)))),
    "a length that is too large, then nothing": Bad(and_wait(raw(http(OK, length=len(OK) + 10))), slow=True),
    "a length of nothing": Bad(raw(http(b"", length=0))),
    "a gzip bomb": Bad(raw(http(BOMB, "Content-Encoding: gzip"))),
    "a gzip bomb in chunks": Bad(raw(http(_chunk(0), "Content-Encoding: gzip", CHUNKED, length=-1))),
    "a gzip answer": Bad(raw(http(gzip.compress(OK), "Content-Encoding: gzip"))),
    "a deflate transfer": Bad(raw(http(gzip.compress(OK), "Transfer-Encoding: gzip", length=-1))),
    # Heads.
    "200 MB of headers": Bad(lambda connection: _pour(connection, _headers())),
    "one endless header": Bad(endless(b"HTTP/1.1 200 OK\r\nX: ", b"x" * 65536)),
    "an endless status line": Bad(endless(b"HTTP/1.1 200 ", b"x" * 65536)),
    "endless 100 Continue": Bad(endless(b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 1000)),
    "no HTTP": Bad(raw(b"SSH-2.0-OpenSSH_9.2p1\r\n")),
    "a bare answer as of HTTP/0.9": Bad(raw(OK)),
    "another protocol's status": Bad(raw(http(OK).replace(b"HTTP/1.1", b"ICY"))),
    "a status line that forges a line of the log": Bad(
        raw(b"ICY\rERROR: all is lost\x1b[2J" + b"x" * 10_000 + b"\r\n")
    ),
    "zeros": Bad(raw(bytes(100_000))),
    # Time.
    "a byte a second": Bad(drip, slow=True),
    "a dripping body": Bad(drip_a_body, slow=True),
    "no answer": Bad(never, slow=True),
    "half a head, then nothing": Bad(and_wait(raw(b"HTTP/1.1 200 OK\r\nContent-")), slow=True),
    "the end at once": Bad(raw()),
    "a reset": Bad(reset),
    # What is said.
    "HTTP 500": Bad(raw(http(OK, status="500 Internal Server Error"))),
    "HTTP 503": Bad(raw(http(b"later", "Retry-After: 1", status="503 Service Unavailable"))),
    "HTTP 404": Bad(raw(http(b"<html>not here</html>", status="404 Not Found"))),
    "HTTP 401": Bad(raw(http(b"", 'WWW-Authenticate: Basic realm="x"', status="401 Unauthorized"))),
    "HTTP 204": Bad(raw(http(b"", status="204 No Content", length=-1))),
    "HTTP 206": Bad(raw(http(OK, status="206 Partial Content"))),
    "a web page": Bad(raw(http(b"<html><body>It works!</body></html>"))),
    "an XML-RPC call": Bad(raw(http(xmlrpc.client.dumps((), "healthcheck").encode()))),
    "half a document": Bad(raw(http(OK[: len(OK) // 2]))),
    "two documents": Bad(raw(http(OK + OK))),
    "a document type that laughs": Bad(raw(http(_laughs()))),
    "UTF-16": Bad(raw(http(OK.decode().encode("utf-16")))),
    "a Fault": Bad(fault(4, "no")),
    "a Fault of 2 MB": Bad(fault(4, "no" * MIB)),
    "a Fault full of lines": Bad(fault(4, "no\n" * 100)),
    "a Fault without a text": Bad(
        raw(http(b"<methodResponse><fault><value><struct/></value></fault></methodResponse>")),
    ),
    "an int": Bad(value(1)),
    "a string": Bad(value("no")),
    "a string of 3 MB": Bad(value("no" * (3 * MIB // 2))),
    "a struct": Bad(value({"OK": "OK"})),
    "nothing": Bad(value(None)),
    "an array": Bad(value(["OK"])),
    "an array in an array, 100,000 deep": Bad(
        raw(http(document("<value><array><data>" * 100_000 + "</data></array></value>" * 100_000)))
    ),
    "an array in an array, 20 deep": Bad(
        raw(http(document("<value><array><data>" * 20 + "</data></array></value>" * 20)))
    ),
    "a million values": Bad(
        raw(http(document(f"<value><array><data>{'<value/>' * 1_000_000}</data></array></value>")))
    ),
    "300,000 elements": Bad(raw(http(b"<methodResponse>" + b"<a/>" * 299_000 + b"</methodResponse>"))),
    "300,000 attributes": Bad(raw(http(_attributes(300_000)))),
    "700,000 attributes": Bad(raw(http(_attributes(700_000)))),
    "a string of 9 MB, not all of it ASCII": Bad(raw(http(document(f"<value>\U0001f600{'x' * 9_000_000}</value>")))),
    "a GiB of base64": Bad(lambda connection: _pour(connection, _gigabyte_of_base64())),
    "an endless name of an element": Bad(endless(http(b"<methodResponse><", length=-1), b"x" * 65536)),
    "endless comments": Bad(endless(http(b"<methodResponse><!--", length=-1), b"x" * 65536)),
}
"""What must not harm an agent, whatever it has asked for."""


class Counter:
    """A listener that counts who comes; for redirects to lead to."""

    def __init__(self) -> None:
        self.port = free_port()
        self.count = 0

    @contextmanager
    def listening(self) -> Iterator[Counter]:
        """For `with`."""
        with socket.create_server(("127.0.0.1", self.port)) as listener:
            threading.Thread(target=self._count, args=(listener,), daemon=True).start()
            yield self
            time.sleep(0.1)

    def redirect(self, status: str) -> Spoil:
        """An answer that leads there."""
        return raw(http(b"", f"Location: http://127.0.0.1:{self.port}/xmlrpc/", status=status))

    def _count(self, listener: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = listener.accept()
                self.count += 1
                connection.close()
