"""Which targets of a channel are left alone for a while, because nobody was there. Rules alone; in memory, for one process.

Without it every new notification would wait for the time-out of a target that is known to be away.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from monagent.server.alerts.carriers import parcels

LIMIT = 500
"""Gates that are remembered."""
LONGEST_SECONDS = 120.0
"""Soon enough after somebody is back."""
_ALL = ""


@dataclass(frozen=True, slots=True)
class _Shut:
    until: float
    failures: int


class Gates:
    """Used by one thread. A channel whose way out is one for all of its targets has one gate."""

    def __init__(self, *, shared: bool, pause: Callable[[int], float] = parcels.pause) -> None:
        """
        Args:
            shared: there is one gate.
            pause: seconds after so many failures in a row.
        """
        self._shared = shared
        self._pause = pause
        self._gates: dict[str, _Shut] = {}

    def shut(self, target: str, now: float) -> None:
        """Nobody was there."""
        key = _ALL if self._shared else target
        known = self._gates.pop(key, None)
        failures = known.failures + 1 if known else 1
        if len(self._gates) >= LIMIT:
            self._gates.pop(next(iter(self._gates)))
        self._gates[key] = _Shut(now + min(self._pause(failures), LONGEST_SECONDS), failures)

    def open(self, target: str) -> bool:
        """Somebody was; whether nobody had been before."""
        return self._gates.pop(_ALL if self._shared else target, None) is not None

    def is_shut(self, now: float) -> bool:
        """Whether the channel is left alone as a whole."""
        return self._shared and any(gate.until > now for gate in self._gates.values())

    def targets(self, now: float) -> list[str]:
        """Targets that are."""
        return [] if self._shared else [target for target, gate in self._gates.items() if gate.until > now]
