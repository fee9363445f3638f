"""How far a run has come."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Progress:
    """At one moment.

    Attributes:
        round: of looking at everything, from 1.
        entries: that this round has seen; total: that there are, as far as is known, or 0.
        bytes: read and written so far.
        seconds: since the run began.
    """

    round: int
    entries: int
    total: int
    bytes: int
    seconds: float

    @property
    def seconds_left(self) -> float | None:
        """At this pace."""
        if not self.entries or self.total < self.entries:
            return None
        return self.seconds * (self.total - self.entries) / self.entries


Look = Callable[[], Progress]
Show = Callable[[Look], None]
"""Is given, when a run begins, what tells how far it is at any moment."""


def unwatched(_look: Look) -> None:
    """Nobody looks."""


@contextlib.contextmanager
def every(seconds: float, do: Callable[[], None]) -> Iterator[None]:
    """Call something now and then, from the main thread, whatever that is doing meanwhile; workers are not disturbed."""
    former = signal.signal(signal.SIGALRM, lambda _number, _frame: do())
    signal.setitimer(signal.ITIMER_REAL, seconds, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, former)
