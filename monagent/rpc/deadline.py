"""Reading sockets under one deadline for a whole exchange, however slowly the other side drips."""

from __future__ import annotations

import errno
import io
import socket
import sys
import time
from http import HTTPStatus
from typing import Any

from monagent.errors import HttpRefusal

_CHUNK = 64 * 1024


class Deadline:
    """When an exchange must be over."""

    def __init__(self, seconds: float = float("inf")) -> None:
        self.arm(seconds)

    def arm(self, seconds: float) -> None:
        """Start the clock of an exchange."""
        self._at = time.monotonic() + seconds

    def timeout(self) -> float | None:
        """What is left, as sockets want to be told."""
        left = self.left()
        return None if left == float("inf") else left

    def left(self) -> float:
        """Seconds left, more than none.

        Raises:
            TimeoutError: none are.
        """
        left = self._at - time.monotonic()
        if left <= 0:
            raise TimeoutError("timed out")
        return left


class DeadlineFile(io.RawIOBase):
    """A file over a socket; every read may only use what is left of the time, all together only `limit` bytes.

    It keeps the socket open until it is closed itself.
    """

    def __init__(self, sock: socket.socket, deadline: Deadline, limit: int = sys.maxsize) -> None:
        self._sock = sock
        self._file: Any = sock.makefile("rb", buffering=0)
        self._deadline = deadline
        self._room = limit

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        self._sock.settimeout(self._deadline.timeout())
        count: int = self._file.readinto(buffer)
        self._room -= count
        if self._room < 0:
            raise OSError(errno.EMSGSIZE, "more than was allowed")
        return count

    def close(self) -> None:
        self._file.close()
        super().close()


class RequestReader:
    """What cheroot reads a connection through: heads first, then bodies, each under the connection's deadline."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._buffer = b""
        self.deadline = Deadline()
        self.closed = False

    def has_data(self) -> bool:
        """Whether bytes of a next request were read already."""
        return bool(self._buffer)

    def read_head(self, limit: int) -> bytes:
        """Read up to and including the empty line; b"" when the other side closed before it began.

        Raises:
            HttpRefusal: the head is larger than `limit`, or was cut off.
            TimeoutError: the deadline passed.
        """
        data = self._buffer.lstrip(b"\r\n")
        while (end := data.find(b"\r\n\r\n")) < 0:
            if len(data) > limit:
                raise HttpRefusal(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)
            more = self._receive()
            if not more:
                if data:
                    raise HttpRefusal(HTTPStatus.BAD_REQUEST)
                return b""
            data = data + more if data else more.lstrip(b"\r\n")
        if end > limit:
            raise HttpRefusal(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)
        self._buffer = data[end + 4 :]
        return data[: end + 4]

    def read(self, size: int) -> bytes:
        """Read `size` bytes of a body, fewer only when the other side closes."""
        parts, missing = [self._buffer[:size]], size - len(self._buffer)
        self._buffer = self._buffer[size:]
        while missing > 0:
            more = self._receive()
            if not more:
                break
            parts.append(more[:missing])
            self._buffer = more[missing:]
            missing -= len(more)
        return b"".join(parts)

    def close(self) -> None:
        self.closed = True

    def _receive(self) -> bytes:
        self._sock.settimeout(self.deadline.timeout())
        return self._sock.recv(_CHUNK)
