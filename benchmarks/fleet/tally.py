"""What a fleet has seen since it was last asked: counts, and how long things took."""

from __future__ import annotations

from array import array
from collections import Counter
from dataclasses import asdict, dataclass
from typing import Any

_KEPT = 2_000_000
"""Latencies; a run that lasts for days must not fill the memory."""


@dataclass(frozen=True, slots=True)
class Spread:
    """Seconds: how long half, 95 and 99 of a hundred took at most, and the longest one."""

    p50: float
    p95: float
    p99: float
    most: float

    def __str__(self) -> str:
        return (
            f"p50 {self.p50 * 1e3:.1f} p95 {self.p95 * 1e3:.1f} p99 {self.p99 * 1e3:.1f} max {self.most * 1e3:.1f} ms"
        )


def spread(seconds: array[float]) -> Spread | None:
    """Of some durations; None when there are none."""
    if not seconds:
        return None
    ordered = sorted(seconds)
    last = len(ordered) - 1
    p50, p95, p99 = (ordered[min(int(len(ordered) * share), last)] for share in (0.5, 0.95, 0.99))
    return Spread(p50, p95, p99, ordered[last])


class Tally:
    """The figures of one stretch of time.

    Attributes:
        commands: tickets that were new, by method.
        repeated: tickets that came again; acknowledged, and not run again.
        taken: results that the server has answered OK.
        refused: faults that the server answered to a result, by their text.
        rejected: results given up after several of them.
        troubles: exchanges with the server that came to nothing, by reason.
        closed: outcomes that a server of the original dialect has no method for.
        nonsense: requests from the server that make no sense.
        connected: connections opened to the server.
        callbacks: seconds from beginning to hand in (connecting included) to the server's answer, for each result.
        delivered: seconds from a result being there to the answer that it was taken.
    """

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        """Begin a new stretch of time."""
        self.commands: Counter[str] = Counter()
        self.refused: Counter[str] = Counter()
        self.troubles: Counter[str] = Counter()
        self.repeated = self.taken = self.rejected = self.closed = self.nonsense = self.connected = 0
        self.callbacks: array[float] = array("d")
        self.delivered: array[float] = array("d")

    def handed_in(self, callback: float, delivered: float) -> None:
        """A result was taken."""
        self.taken += 1
        if len(self.callbacks) < _KEPT:
            self.callbacks.append(callback)
            self.delivered.append(delivered)

    def as_json(self) -> dict[str, Any]:
        """For programs."""
        callbacks, delivered = spread(self.callbacks), spread(self.delivered)
        return {
            "commands": dict(self.commands),
            "repeated": self.repeated,
            "taken": self.taken,
            "refused": dict(self.refused),
            "rejected": self.rejected,
            "troubles": dict(self.troubles),
            "closed": self.closed,
            "nonsense": self.nonsense,
            "connected": self.connected,
            "callback": asdict(callbacks) if callbacks else None,
            "delivered": asdict(delivered) if delivered else None,
        }

    def line(self, seconds: float) -> str:
        """For people: what there was in so many seconds."""
        total = sum(self.commands.values())
        words = [f"{total / seconds:.1f} commands/s", f"{self.taken / seconds:.1f} taken/s"]
        callbacks = spread(self.callbacks)
        if callbacks:
            words.append(f"callback {callbacks}")
        rare = {"repeated": self.repeated, "rejected": self.rejected, "nonsense": self.nonsense}
        words += [f"{name} {number}" for name, number in rare.items() if number]
        for counter in (self.refused, self.troubles):
            words += [f"{text}: {number}" for text, number in counter.most_common(3)]
        return ", ".join(words)
