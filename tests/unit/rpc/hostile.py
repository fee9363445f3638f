"""A server that follows a script for each connection, byte by byte."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable

from monagent.models import Value
from monagent.rpc import marshal

PATIENCE = 8.0
"""Seconds that anything here waits at most."""

LINGER_AND_RESET = b"\1\0\0\0\0\0\0\0"


class Wire:
    """One accepted connection, as the script sees it."""

    def __init__(self, sock: socket.socket, server: HostileServer) -> None:
        self.sock = sock
        self._server = server
        self._buffer = b""

    def request(self) -> bytes:
        """Read one whole request; b"" when there is none."""
        while b"\r\n\r\n" not in self._buffer:
            data = self.sock.recv(65536)
            if not data:
                return b""
            self._buffer += data
        head, _, self._buffer = self._buffer.partition(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0])
        while len(self._buffer) < length:
            self._buffer += self.sock.recv(65536)
        request, self._buffer = head + b"\r\n\r\n" + self._buffer[:length], self._buffer[length:]
        self._server.requests.append(request)
        return request

    def send(self, data: bytes) -> None:
        """Send all of it."""
        self.sock.sendall(data)

    def drip(self, data: bytes, pause: float = 0.1) -> None:
        """Send it byte by byte for as long as somebody listens."""
        for byte in data:
            self.send(bytes([byte]))
            if self._server.stopping.wait(pause):
                return

    def pause(self, seconds: float) -> None:
        """Do nothing for a while."""
        self._server.stopping.wait(seconds)

    def flood(self, data: bytes, limit: int) -> None:
        """Send it again and again, at most `limit` bytes, and count."""
        while self._server.sent < limit and not self._server.stopping.is_set():
            self.send(data)
            self._server.sent += len(data)

    def reset(self) -> None:
        """Break the connection."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_AND_RESET)
        self.sock.close()


Script = Callable[[Wire], None]


class HostileServer:
    """Follows one script for each connection, in order; the last one for all that come after."""

    def __init__(self, *scripts: Script) -> None:
        self.requests: list[bytes] = []
        self.connections = 0
        self.sent = 0
        self.stopping = threading.Event()
        self._scripts = scripts
        self._socket = socket.create_server(("127.0.0.1", 0))
        self._wires: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    @property
    def url(self) -> str:
        """Where a client finds it."""
        return f"http://127.0.0.1:{self._socket.getsockname()[1]}/xmlrpc/"

    def stop(self) -> None:
        """End everything."""
        self.stopping.set()
        for sock in (self._socket, *self._wires):
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(PATIENCE)
            assert not thread.is_alive()
        for sock in (self._socket, *self._wires):
            sock.close()

    def _accept(self) -> None:
        while not self.stopping.is_set():
            try:
                sock, _ = self._socket.accept()
            except OSError:
                return
            sock.settimeout(PATIENCE)
            self._wires.append(sock)
            script = self._scripts[min(self.connections, len(self._scripts) - 1)]
            self.connections += 1
            thread = threading.Thread(target=self._follow, args=(script, sock))
            self._threads.append(thread)
            thread.start()

    def _follow(self, script: Script, sock: socket.socket) -> None:
        with contextlib.suppress(OSError):
            script(Wire(sock, self))
        with contextlib.suppress(OSError):
            sock.shutdown(socket.SHUT_RDWR)
        sock.close()


def answer(body: bytes, *lines: str, status: str = "200 OK", version: str = "1.1") -> bytes:
    """A whole answer with its right length."""
    head = "".join(f"{line}\r\n" for line in (f"HTTP/{version} {status}", f"Content-Length: {len(body)}", *lines, ""))
    return head.encode() + body


def good(value: Value = "OK") -> bytes:
    """A whole good answer."""
    return answer(marshal.response(value))


def saying(*answers: bytes) -> Script:
    """A script: one answer for each request, then the end."""

    def run(wire: Wire) -> None:
        for one in answers:
            if not wire.request():
                return
            wire.send(one)

    return run


def always(one: bytes) -> Script:
    """A script: the same answer for every request."""

    def run(wire: Wire) -> None:
        while wire.request():
            wire.send(one)

    return run


def elapsed(since: float) -> float:
    """Seconds since then."""
    return time.monotonic() - since
