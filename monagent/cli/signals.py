"""Wait in the main thread until the process is told to end; the second time, end at once."""

from __future__ import annotations

import logging
import os
import signal
import threading
from collections.abc import Callable
from types import FrameType

log = logging.getLogger(__name__)


class Ending:
    """Turns signals, and calls from other threads, into the end of `wait()`."""

    def __init__(self) -> None:
        self._asked = threading.Event()
        self._at_once: Callable[[], None] = lambda: None
        self.reason = ""

    def listen(self, at_once: Callable[[], None]) -> None:
        """Take over TERM, INT and HUP. Only the main thread may call this.

        Args:
            at_once: what is done before the process quits without draining.
        """
        self._at_once = at_once
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_signal)
        signal.signal(signal.SIGHUP, self._on_hangup)

    def ask(self, reason: str) -> None:
        """End for this reason; any thread may call it."""
        self.reason = self.reason or reason
        self._asked.set()

    def wait(self) -> None:
        """Block until the end is asked for."""
        self._asked.wait()

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        if self._asked.is_set():
            self._at_once()
            os._exit(128 + number)
        self._asked.set()

    def _on_hangup(self, _number: int, _frame: FrameType | None) -> None:
        log.warning("this version does not reload its configuration yet; restart it to apply changes")
