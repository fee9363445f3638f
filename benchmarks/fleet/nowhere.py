"""Ports behind which nobody is, for agents that are dead."""

from __future__ import annotations

import contextlib
import socket


class DeadPorts:
    """Two ports behind which nobody is: one that refuses, and one that says nothing at all."""

    def __init__(self, refused: int, void: int) -> None:
        """
        Raises:
            OSError: a port is taken.
        """
        self._sockets: list[socket.socket] = []
        try:
            self._keep(_bound(refused))
            listener = self._keep(_bound(void))
            listener.listen(0)
            self._fill(void)
        except OSError:
            self.close()
            raise

    def close(self) -> None:
        """Give the ports back."""
        for one in self._sockets:
            one.close()

    def _keep(self, one: socket.socket) -> socket.socket:
        self._sockets.append(one)
        return one

    def _fill(self, port: int) -> None:
        """Once its queue is full, the kernel drops what else comes, without a word."""
        for _ in range(4):
            one = self._keep(socket.socket())
            one.settimeout(0)
            with contextlib.suppress(BlockingIOError):
                one.connect(("127.0.0.1", port))


def _bound(port: int) -> socket.socket:
    one = socket.socket()
    one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        one.bind(("0.0.0.0", port))
    except OSError:
        one.close()
        raise
    return one
