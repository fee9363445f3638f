"""An HTTP client that does exactly what it is told, over a raw socket."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Self

PATIENCE = 8.0
"""Seconds that anything here waits at most."""


@dataclass(frozen=True)
class Reply:
    """One answer; header names are lower-case."""

    status: int
    headers: dict[str, str]
    body: bytes


class Talk:
    """One connection."""

    def __init__(self, address: tuple[str, int], source: str = "") -> None:
        self.sock = socket.create_connection(address, PATIENCE, (source, 0) if source else None)
        self._buffer = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.sock.close()

    def send(self, data: bytes) -> None:
        """Send all of it."""
        self.sock.sendall(data)

    def send_what_is_taken(self, data: bytes) -> None:
        """Send until the other side gives up."""
        with contextlib.suppress(OSError):
            self.sock.sendall(data)

    def reply(self, *, bodiless: bool = False) -> Reply:
        """The next answer; `bodiless` for an answer to HEAD, and for 1xx."""
        while b"\r\n\r\n" not in self._buffer:
            self._more()
        head, _, self._buffer = self._buffer.partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        length = 0 if bodiless else int(headers["content-length"])
        while len(self._buffer) < length:
            self._more()
        body, self._buffer = self._buffer[:length], self._buffer[length:]
        return Reply(int(first.split(" ")[1]), headers, body)

    def ask(self, data: bytes) -> Reply:
        """Send all of it and take the answer."""
        self.send(data)
        return self.reply()

    def rest(self) -> bytes:
        """Everything that still comes until the other side closes."""
        parts = [self._buffer, *self._parts()]
        self._buffer = b""
        return b"".join(parts)

    def _more(self) -> None:
        data = self.sock.recv(65536)
        assert data, f"closed within an answer: {self._buffer!r}"
        self._buffer += data

    def _parts(self) -> Iterator[bytes]:
        with contextlib.suppress(ConnectionResetError):
            while data := self.sock.recv(65536):
                yield data
