"""Wait in the main thread until the process is told to end; the second time, end at once.

The kernel hands a signal to any thread, and Python runs its handler in the main thread only. A main thread that waits
for a lock would not notice; one that reads from the wake-up pipe does. So the main thread never does anything else.
"""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from types import FrameType

log = logging.getLogger(__name__)


class Ending:
    """Turns signals, and calls from other threads, into the end of `wait()`."""

    def __init__(self) -> None:
        self._woken, self._wake = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        os.set_blocking(self._woken, True)
        self._asked = False
        self._hung_up = False
        self._at_once: Callable[[], None] = lambda: None
        self.reason = ""

    def listen(self, at_once: Callable[[], None]) -> None:
        """Take over TERM, INT and HUP. Only the main thread may call this.

        Args:
            at_once: what is done before the process quits without draining.
        """
        self._at_once = at_once
        signal.set_wakeup_fd(self._wake, warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_signal)
        signal.signal(signal.SIGHUP, self._on_hangup)

    def ask(self, reason: str) -> None:
        """End for this reason; any thread may call it."""
        self.reason = self.reason or reason
        self._asked = True
        os.write(self._wake, b"\0")

    def wait(self, on_hangup: Callable[[], None] = lambda: None) -> None:
        """Block until the end is asked for; meanwhile call `on_hangup` after each HUP."""
        while not self._asked:
            os.read(self._woken, 512)
            if self._hung_up and not self._asked:
                self._hung_up = False
                on_hangup()

    def drain(self, stop: Callable[[], None]) -> None:
        """Run `stop` to its end, in another thread, so that a second signal is noticed meanwhile."""
        with ThreadPoolExecutor(max_workers=1, thread_name_prefix="stopping") as pool:
            stopped = pool.submit(stop)
            stopped.add_done_callback(lambda _: os.write(self._wake, b"\0"))
            while not stopped.done():
                os.read(self._woken, 512)
            stopped.result()

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        if self._asked:
            self._at_once()
            os._exit(128 + number)
        self._asked = True

    def _on_hangup(self, _number: int, _frame: FrameType | None) -> None:
        self._hung_up = True
