"""Sockets whose reads obey one deadline for a whole exchange, however slowly the other side drips."""

from __future__ import annotations

import io
import socket
import time
from http import HTTPStatus
from typing import Any

from monagent.errors import HttpRefusal

_CHUNK = 64 * 1024


class DeadlineSocket(io.RawIOBase):
    """The reading half of a socket; every read may only use what is left of the time set by `arm()`."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._deadline = float("inf")

    def arm(self, seconds: float) -> None:
        """Start the clock of one exchange."""
        self._deadline = time.monotonic() + seconds

    def left(self) -> float:
        """Seconds left.

        Raises:
            TimeoutError: none are.
        """
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError("timed out")
        return left

    def close(self) -> None:
        """Do nothing: the socket outlives the files that are made over it, and is closed by its owner."""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        self._sock.settimeout(self.left())
        return self._sock.recv_into(buffer)

    def receive(self) -> bytes:
        """Whatever comes next; b"" when the other side has closed."""
        self._sock.settimeout(self.left())
        return self._sock.recv(_CHUNK)


class RequestReader:
    """What cheroot reads a connection through: heads first, then bodies, each under the connection's deadline."""

    def __init__(self, sock: socket.socket) -> None:
        self._raw = DeadlineSocket(sock)
        self._buffer = b""
        self.closed = False
        self.arm = self._raw.arm
        self.left = self._raw.left

    def has_data(self) -> bool:
        """Whether bytes of a next request were read already."""
        return bool(self._buffer)

    def read_head(self, limit: int) -> bytes:
        """Read up to and including the empty line; b"" when the other side closed before it began.

        Raises:
            HttpRefusal: the head is larger than `limit`, or was cut off.
            TimeoutError: the deadline passed.
        """
        data = self._buffer.lstrip(b"\r\n") if self._buffer else b""
        while (end := data.find(b"\r\n\r\n")) < 0:
            if len(data) > limit:
                raise HttpRefusal(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)
            more = self._raw.receive()
            if not more:
                if data:
                    raise HttpRefusal(HTTPStatus.BAD_REQUEST)
                return b""
            data = (data + more).lstrip(b"\r\n") if not data else data + more
        if end > limit:
            raise HttpRefusal(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)
        self._buffer = data[end + 4 :]
        return data[: end + 4]

    def read(self, size: int) -> bytes:
        """Read `size` bytes of a body, fewer only when the other side closes."""
        parts, missing = [self._buffer[:size]], size - len(self._buffer)
        self._buffer = self._buffer[size:]
        while missing > 0:
            more = self._raw.receive()
            if not more:
                break
            parts.append(more[:missing])
            self._buffer = more[missing:]
            missing -= len(more)
        return b"".join(parts)

    def close(self) -> None:
        self.closed = True
