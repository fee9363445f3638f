"""Let a few readers in at once: the threads are there for the agents first."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from monagent.errors import Unavailable

WAIT_SECONDS = 2.0


class Crowded(Unavailable):
    """Too many are being answered already."""


class Turns:
    """Any thread may use it."""

    def __init__(self, at_once: int, waiting: int, seconds: float = WAIT_SECONDS) -> None:
        """
        Args:
            at_once: who have a turn.
            waiting: who may wait for one.
            seconds: for which they wait.
        """
        self._turn = threading.BoundedSemaphore(at_once)
        self._room = threading.BoundedSemaphore(at_once + waiting)
        self._seconds = seconds

    @contextmanager
    def one(self) -> Iterator[None]:
        """Have a turn, after a short wait if need be.

        Raises:
            Crowded: there is none to be had.
        """
        if not self._room.acquire(blocking=False):
            raise Crowded("too many are reading already; try again later")
        try:
            if not self._turn.acquire(timeout=self._seconds):
                raise Crowded("those who are reading take too long; try again later")
            try:
                yield
            finally:
                self._turn.release()
        finally:
            self._room.release()
