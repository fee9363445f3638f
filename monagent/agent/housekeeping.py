"""Keep the journal within its bounds: tickets are forgotten after a week, history gives way before new commands do."""

from __future__ import annotations

import logging
import threading
import time

from monagent.agent.journal import Journal

log = logging.getLogger(__name__)

REMEMBER_SECONDS = 7 * 86400.0
"""How long a delivered ticket stays known (docs/protocol.md, tickets)."""
ROUND_SECONDS = 60.0
STEPS = 200
"""Bounded deletions in one round."""


class Housekeeping:
    """A thread that tidies once a minute."""

    def __init__(self, journal: Journal, limit: int) -> None:
        self._journal = journal
        self._limit = limit
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="housekeeping", daemon=True)

    def start(self) -> None:
        """Start tidying."""
        self._thread.start()

    def stop(self, deadline: float) -> None:
        """Stop after the step under way, or at `deadline` (monotonic seconds)."""
        self._stopping.set()
        self._thread.join(max(0.0, deadline - time.monotonic()))

    def _run(self) -> None:
        while not self._stopping.wait(ROUND_SECONDS):
            try:
                self.tidy(time.time())
            except Exception:  # the top of the thread: a round that failed is made up for by the next
                log.exception("housekeeping failed")

    def tidy(self, now: float) -> None:
        """One round: forget old tickets, then trim history while the journal is more than half full."""
        for _ in range(STEPS):
            if self._stopping.is_set() or not self._journal.forget(now - REMEMBER_SECONDS):
                break
        for _ in range(STEPS):
            if self._stopping.is_set() or self._journal.used() <= self._limit // 2 or not self._journal.trim():
                break
