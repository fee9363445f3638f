"""Listen for HTTP: cheroot's connections and threads, our own reading of requests.

cheroot accepts, keeps connections alive and hands each readable one to a thread. What arrives there is read
here: one deadline for head and body together, a head that is plain or refused, the gate's verdict before the body.
"""

from __future__ import annotations

import contextlib
import logging
import re
import select
import socket
import sys
import threading
import time
from collections.abc import Callable
from email.utils import formatdate
from functools import lru_cache
from http import HTTPStatus
from typing import Any, cast

from cheroot import makefile, wsgi
from cheroot.server import HTTPConnection, HTTPRequest, KnownLengthRFile

from monagent.errors import AlreadyRunning, HttpRefusal
from monagent.models import Head
from monagent.rpc.access import Gate
from monagent.rpc.deadline import RequestReader
from monagent.rpc.head import HEAD_LIMIT, parse_head

log = logging.getLogger(__name__)

REQUEST_SECONDS = 10.0
IDLE_SECONDS = 75
SLOWEST_ANSWER = 128 * 1024
"""Bytes a second that a caller must take of a large answer (a sensor's package) beyond those seconds."""
KEPT_CONNECTIONS = 1000
BACKLOG = 512
NEXT_REQUEST_MS = 5
LINGER_SECONDS = 0.25
LINGER_BYTES = 1024 * 1024


class _Request(HTTPRequest):
    """One request: read strictly, answered without naming the software."""

    method = b""
    pending_head = b""

    def parse_request(self) -> None:
        reader: RequestReader = self.conn.rfile
        reader.deadline.arm(REQUEST_SECONDS)
        self.started_request = True
        try:
            # Before the head is read: whoever is outside the allow-list takes a thread for no longer than this.
            peer = self.conn.remote_addr or ""
            self.server.gate.check_peer(peer)
            raw = reader.read_head(HEAD_LIMIT)
            if not raw:
                return
            head = parse_head(raw)
            self.method = head.method.encode()
            self.server.gate.check(head, peer)
        except HttpRefusal as refusal:
            self.refuse(refusal)
            return
        self._adopt(head)
        self.ready = True

    def _adopt(self, head: Head) -> None:
        """Set what cheroot's gateway wants to find."""
        self.uri = head.target.encode("latin-1")
        self.path = head.path.encode("latin-1", "replace")
        self.qs = head.query.encode("latin-1")
        self.authority = b""
        self.request_protocol = b"HTTP/1.1" if head.version == (1, 1) else b"HTTP/1.0"
        self.response_protocol = "HTTP/1.1"
        self.head = head
        self.close_connection = not head.keep_alive
        if head.headers.get("expect") and head.length and head.version == (1, 1):
            self.conn.wfile.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def respond(self) -> None:
        self.rfile = KnownLengthRFile(self.conn.rfile, self.head.length or 0)
        self.server.gateway(self).respond()
        self.ensure_headers_sent()

    def refuse(self, refusal: HttpRefusal) -> None:
        """Answer with a short fixed text and give the connection up."""
        self.close_connection = True
        self.sent_headers = True
        text = b"" if self.method == b"HEAD" else f"{refusal.status.phrase}\n".encode()
        lines = [
            f"HTTP/1.1 {refusal.status.value} {refusal.status.phrase}",
            "Content-Type: text/plain; charset=utf-8",
            f"Content-Length: {len(text)}",
            "Connection: close",
            f"Date: {_date(int(time.time()))}",
            *(f"{name}: {value}" for name, value in refusal.headers),
        ]
        self.conn.unread = True
        with contextlib.suppress(OSError):
            self.conn.wfile.write("\r\n".join(lines).encode() + b"\r\n\r\n" + text)

    def simple_response(self, status: str, _message: str = "") -> None:
        """Cheroot's own way to say no; it may only choose the status."""
        self.refuse(HttpRefusal(HTTPStatus(int(str(status)[:3]))))

    def send_headers(self) -> None:
        names = {name.lower() for name, _ in self.outheaders}
        if b"content-length" not in names or self.rfile.remaining:
            self.close_connection = True
        if not (self.close_connection or self.server.can_add_keepalive_connection):
            self.close_connection = True
        if self.close_connection:
            self.outheaders.append((b"Connection", b"close"))
        elif self.request_protocol == b"HTTP/1.0":
            self.outheaders.append((b"Connection", b"keep-alive"))
        lines: list[bytes] = [b"HTTP/1.1 " + cast("bytes", self.status), b"Date: " + _date(int(time.time())).encode()]
        lines += [name + b": " + value for name, value in self.outheaders if name.lower() not in (b"server", b"date")]
        self.pending_head = b"\r\n".join(lines) + b"\r\n\r\n"

    def write(self, chunk: bytes) -> None:
        """Send head and body in one segment where there is a body."""
        head, self.pending_head = self.pending_head, b""
        # A time of its own: work that took long must not cost its answer.
        self.conn.socket.settimeout(REQUEST_SECONDS + len(chunk) / SLOWEST_ANSWER)
        self.conn.socket.sendall(head + chunk)

    def ensure_headers_sent(self) -> None:
        first = not self.sent_headers
        super().ensure_headers_sent()
        if not first and self.pending_head:
            self.write(b"")


class _Gateway(wsgi.Gateway_10):
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
            "SERVER_PORT": str(request.server.bind_addr[1]),
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
        }
        for name, value in head.headers.items():
            if name not in ("content-type", "content-length"):
                environ["HTTP_" + name.upper().replace("-", "_")] = value
        return environ


class _Connection(HTTPConnection):
    """A connection that is read through a deadline, and closed so that a refusal still arrives."""

    RequestHandlerClass = _Request

    def __init__(self, server: Any, sock: socket.socket, make: Callable[..., Any] = makefile.MakeFile) -> None:
        super().__init__(server, sock, make)
        self.rfile = RequestReader(sock)
        self.waited = False
        self.unread = False
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def communicate(self) -> bool:
        """Answer requests for as long as the next one follows at once and no other connection waits for a thread."""
        while super().communicate():  # type: ignore[no-untyped-call]
            if self.server.requests.qsize or not (self.rfile.has_data() or self._readable()):
                return True
        return False

    def _readable(self) -> bool:
        # Handing the connection back to the accepting thread costs more than this short wait.
        poller = select.poll()
        poller.register(self.socket, select.POLLIN)
        return bool(poller.poll(NEXT_REQUEST_MS))

    def close(self) -> None:
        if self.unread:
            self._drain()
        super().close()

    def _drain(self) -> None:
        # Closing over unread bytes sends a reset, which may overtake the answer that says why.
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_WR)
            until, left = time.monotonic() + LINGER_SECONDS, LINGER_BYTES
            while left > 0 and (seconds := until - time.monotonic()) > 0:
                self.socket.settimeout(seconds)
                data = self.socket.recv(64 * 1024)
                if not data:
                    break
                left -= len(data)


class _Server(wsgi.Server):
    """cheroot's server with our connections; a connection costs a thread only once it has sent something."""

    ConnectionClass = _Connection
    keep_alive_conn_limit = KEPT_CONNECTIONS
    gate: Gate

    def process_conn(self, conn: _Connection) -> None:
        if conn.waited:
            super().process_conn(conn)
        else:
            conn.waited = True
            self.put_conn(conn)

    def error_log(self, msg: str = "", level: int = 20, traceback: bool = False) -> None:  # noqa: FBT002 - cheroot's signature
        log.log(logging.DEBUG if level < logging.ERROR else level, "%s", msg, exc_info=traceback)


def _listening_error(error: OSError, host: str, port: int) -> OSError:
    """The error with its number, which cheroot has put into its text alone."""
    match = re.search(r"\[Errno (-?[0-9]+)\] ([^)]*)", str(error))
    number, reason = (int(match[1]), match[2]) if match else (error.errno or 0, str(error))
    return OSError(number, f"cannot listen on {host} port {port}: {reason}")


@lru_cache(maxsize=2)
def _date(second: int) -> str:
    return formatdate(second, usegmt=True)


class Endpoint:
    """One HTTP listener with its threads."""

    def __init__(self, host: str, port: int, application: Callable[..., Any], gate: Gate, threads: int = 8) -> None:
        self._server = _Server(
            (host, port),
            application,
            numthreads=threads,
            max=threads,
            request_queue_size=BACKLOG,
            timeout=IDLE_SECONDS,
            server_name="",
        )
        self._server.gate = gate
        self._server.gateway = _Gateway
        self._thread: threading.Thread | None = None

    @property
    def address(self) -> tuple[str, int]:
        """Host and port that are listened on; with port 0 in the settings, the one that was free."""
        host, port = self._server.bind_addr[:2]
        return str(host), int(port)

    def start(self) -> None:
        """Bind, listen and serve in threads of its own.

        Raises:
            AlreadyRunning: the port is taken.
            OSError: the address cannot be bound for another reason.
        """
        host, port = self.address
        try:
            self._server.prepare()
        except OSError as error:
            if "Address already in use" in str(error):
                raise AlreadyRunning(f"something else listens on {host} port {port} already") from error
            raise _listening_error(error, host, port) from error
        self._thread = threading.Thread(target=self._server.serve, name="endpoint")
        self._thread.start()

    def stop(self) -> None:
        """Close the listener and all connections; requests being answered get a few seconds."""
        self._server.stop()
        if self._thread:
            self._thread.join()
