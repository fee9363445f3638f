"""Reading sockets under one deadline for a whole exchange, however slowly the other side drips."""

from __future__ import annotations

import errno
import io
import socket
import sys
import time
from typing import Any


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
