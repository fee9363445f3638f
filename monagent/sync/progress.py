"""How far a run has come."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

PAUSE_SECONDS = 0.2


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


Watch = Callable[[Progress], None]


def unwatched(_progress: Progress) -> None:
    """Nobody looks."""


class Pace:
    """Calls whoever watches, often enough and not more often."""

    def __init__(self, watch: Watch, look: Callable[[], Progress]) -> None:
        self._watch = watch
        self._look = look
        self._next = 0.0

    def tick(self) -> None:
        """Something was done."""
        now = time.monotonic()
        if now >= self._next:
            self._next = now + PAUSE_SECONDS
            self._watch(self._look())
