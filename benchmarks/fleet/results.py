"""What a fake agent has to hand in."""

from __future__ import annotations

from dataclasses import dataclass

from benchmarks.fleet import wire
from benchmarks.fleet.wire import Command


@dataclass(slots=True)
class Result:
    """Something to hand in.

    Attributes:
        content: the outcome; None: it is a reading.
        since: when it was there (monotonic).
        refusals: how often the server has answered it with a fault.
    """

    command: Command
    finished: float
    duration: float
    content: dict[str, object] | None
    since: float
    refusals: int = 0

    def call(self, *, extended: bool) -> tuple[bytes, list[bytes]]:
        """As it goes over the wire."""
        if self.content is None:
            return wire.reading(self.command.ticket, self.finished, self.duration, extended=extended)
        return wire.outcome(self.command.ticket, self.command.method, self.content, self.finished)
