"""Answer whole requests, in one of cheroot's threads, without naming the software."""

from __future__ import annotations

import io
import logging
import select
import ssl
import sys
import time
from collections.abc import Callable
from email.utils import formatdate
from functools import lru_cache
from http import HTTPStatus
from typing import Any, cast

from cheroot import wsgi
from cheroot.server import HTTPRequest

from monagent.errors import HttpRefusal
from monagent.models import Head
from monagent.rpc.reception import Reception, Visitor

log = logging.getLogger(__name__)

NEXT_REQUEST_MS = 5
CALM_SECONDS = 0.05
_CHUNK = 64 * 1024


class Exchange:
    """What cheroot's threads take from their queue: a visitor whose request is whole."""

    requests_seen = 0

    def __init__(self, server: Any, visitor: Visitor, reception: Reception, begin: Callable[[], None]) -> None:
        """
        Args:
            server: cheroot's.
            visitor: whose next request is whole.
            reception: where the connection goes back to.
            begin: called when it waits for a thread no longer.
        """
        self.server = server
        self.rfile = io.BytesIO()  # cheroot looks whether it is closed when it gives up waiting for an answer
        self.visitor = visitor
        self.socket = visitor.socket
        self.remote_addr = visitor.address
        self.remote_port = 0
        self._reception = reception
        self._begin = begin
        self._given_away = False

    def communicate(self) -> bool:
        """Answer requests for as long as the next one follows at once. When others wait for a thread, one is enough.

        Returns:
            Whether the connection goes back to the reception.
        """
        self._begin()
        try:
            while self._answer_one():
                if self.visitor.outbox or self.server.requests.qsize:
                    return True
                if not self.visitor.inbox.is_whole() and not self._next_is_there():
                    return True
        except HttpRefusal as refusal:
            self._given_away = True
            self._reception.turn_away(self.visitor, refusal)
            return False
        except (OSError, ValueError) as error:
            log.debug("connection with %s lost: %s", self.remote_addr, error)
            return False
        self.visitor.farewell = True
        return bool(self.visitor.outbox)

    def close(self) -> None:
        """Close the connection, unless the reception has it again."""
        if not self._given_away:
            self.visitor.close()

    def _answer_one(self) -> bool:
        self._reception.calm.wait(CALM_SECONDS)
        refusal: HttpRefusal | None = None
        try:
            head, body = self.visitor.inbox.take()
        except HttpRefusal as error:  # what came behind the request
            refusal = error
            head, body = self.visitor.inbox.last
        self._reception.check_names(self.visitor)
        request = _Request(self.server, self, head, body)
        request.respond()
        if refusal is not None:
            raise refusal
        return not request.close_connection

    def _next_is_there(self) -> bool:
        # Handing the connection back to the reception costs more than this short wait.
        poller = select.poll()
        poller.register(self.socket, select.POLLIN)
        if not poller.poll(NEXT_REQUEST_MS):
            return False
        self.socket.settimeout(0)
        try:
            data = self.socket.recv(_CHUNK)
        except (BlockingIOError, ssl.SSLWantReadError):
            return False
        if not data:
            raise ConnectionError("closed by the other side")
        # Once: whoever sends on and on has its turn in the reception, where there is a deadline.
        self.visitor.inbox.feed(data)
        return self.visitor.inbox.is_whole()


class _Request(HTTPRequest):
    """One request that was read already, and its answer."""

    def __init__(self, server: Any, exchange: Exchange, head: Head, body: bytes) -> None:
        super().__init__(server, exchange)
        self.head = head
        self.rfile = io.BytesIO(body)
        self.response_protocol = "HTTP/1.1"
        self.close_connection = not head.keep_alive
        self._pending_head = b""

    def respond(self) -> None:
        try:
            self.server.gateway(self).respond()
            self.ensure_headers_sent()
        except OSError:
            raise
        except Exception:  # the top of a request: a bug in one answer must not cost the thread
            log.exception("a request could not be answered")
            self.simple_response("500 Internal Server Error")

    def simple_response(self, status: str, _message: str = "") -> None:
        """Cheroot's own way to say no; it may only choose the status, and only before anything was sent."""
        self.close_connection = True
        if not self.sent_headers or self._pending_head:
            self._pending_head, self.sent_headers = b"", True
            self._send(refusal_answer(HttpRefusal(HTTPStatus(int(str(status)[:3]))), self.head.method == "HEAD"))

    def send_headers(self) -> None:
        names = {name.lower() for name, _ in self.outheaders}
        if b"content-length" not in names:
            self.close_connection = True
        if self.close_connection:
            self.outheaders.append((b"Connection", b"close"))
        elif self.head.version == (1, 0):
            self.outheaders.append((b"Connection", b"keep-alive"))
        lines: list[bytes] = [b"HTTP/1.1 " + cast("bytes", self.status), b"Date: " + _date(int(time.time())).encode()]
        lines += [name + b": " + value for name, value in self.outheaders if name.lower() not in (b"server", b"date")]
        self._pending_head = b"\r\n".join(lines) + b"\r\n\r\n"

    def write(self, chunk: bytes) -> None:
        """Send head and body in one segment where there is a body."""
        head, self._pending_head = self._pending_head, b""
        self._send(head if self.head.method == "HEAD" else head + chunk)

    def ensure_headers_sent(self) -> None:
        first = not self.sent_headers
        super().ensure_headers_sent()
        if not first and self._pending_head:
            self.write(b"")

    def _send(self, data: bytes) -> None:
        self.conn.visitor.send(data)


class Gateway(wsgi.Gateway_10):
    """The WSGI environment, made of a head that is text already."""

    def get_environ(self) -> dict[str, Any]:  # type: ignore[override]
        request, head = self.req, self.req.head
        environ = {
            "REQUEST_METHOD": head.method,
            "SCRIPT_NAME": "",
            "PATH_INFO": head.path.encode("utf-8").decode("latin-1"),
            "QUERY_STRING": head.query,
            "REQUEST_URI": head.target,
            "CONTENT_LENGTH": str(head.length or 0),
            "CONTENT_TYPE": head.headers.get("content-type", ""),
            "REMOTE_ADDR": request.conn.remote_addr or "",
            "REMOTE_PORT": str(request.conn.remote_port or ""),
            "SERVER_NAME": "monagent",
            "SERVER_PORT": str(request.server.port),
            "SERVER_PROTOCOL": f"HTTP/1.{head.version[1]}",
            "ACTUAL_SERVER_PROTOCOL": "HTTP/1.1",
            "wsgi.version": (1, 0),
            "wsgi.url_scheme": request.scheme.decode(),
            "wsgi.input": request.rfile,
            "wsgi.input_terminated": False,
            "wsgi.errors": sys.stderr,
            "wsgi.multithread": True,
            "wsgi.multiprocess": False,
            "wsgi.run_once": False,
            "monagent.names": request.conn.visitor.names,
        }
        for name, value in head.headers.items():
            if name not in ("content-type", "content-length"):
                environ["HTTP_" + name.upper().replace("-", "_")] = value
        return environ


def refusal_answer(refusal: HttpRefusal, bodiless: bool) -> bytes:
    """A short fixed text, after which the connection is given up."""
    text = b"" if bodiless else f"{refusal.status.phrase}\n".encode()
    lines = [
        f"HTTP/1.1 {refusal.status.value} {refusal.status.phrase}",
        "Content-Type: text/plain; charset=utf-8",
        f"Content-Length: {len(text)}",
        "Connection: close",
        f"Date: {_date(int(time.time()))}",
        *(f"{name}: {value}" for name, value in refusal.headers),
    ]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + text


def busy_answer(fault: bytes) -> bytes:
    """An XML-RPC fault, after which the connection is given up."""
    head = (
        f"HTTP/1.1 200 OK\r\nDate: {_date(int(time.time()))}\r\nContent-Type: text/xml; charset=utf-8\r\n"
        f"Content-Length: {len(fault)}\r\nConnection: close\r\n\r\n"
    )
    return head.encode() + fault


@lru_cache(maxsize=2)
def _date(second: int) -> str:
    return formatdate(second, usegmt=True)
