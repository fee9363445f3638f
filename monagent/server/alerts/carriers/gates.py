"""Which targets are left alone for a while, because nobody was there. Rules alone; in memory, for one process.

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


@dataclass(frozen=True, slots=True)
class _Shut:
    until: float
    failures: int


class Gates:
    """Used by one thread. A channel whose way out is one for all of its targets has one gate."""

    def __init__(self, shared: frozenset[str], pause: Callable[[int], float] = parcels.pause) -> None:
        """
        Args:
            shared: channels with one gate.
            pause: seconds after so many failures in a row.
        """
        self._shared = shared
        self._pause = pause
        self._gates: dict[tuple[str, str], _Shut] = {}

    def shut(self, channel: str, target: str, now: float) -> None:
        """Nobody was there."""
        key = self._key(channel, target)
        known = self._gates.pop(key, None)
        failures = known.failures + 1 if known else 1
        if len(self._gates) >= LIMIT:
            self._gates.pop(next(iter(self._gates)))
        self._gates[key] = _Shut(now + min(self._pause(failures), LONGEST_SECONDS), failures)

    def open(self, channel: str, target: str) -> bool:
        """Somebody was; whether nobody had been before."""
        return self._gates.pop(self._key(channel, target), None) is not None

    def channels(self, now: float) -> list[str]:
        """Channels that are shut as a whole."""
        return [channel for (channel, target), gate in self._gates.items() if not target and gate.until > now]

    def targets(self, now: float) -> list[str]:
        """Targets that are shut."""
        return [target for (_, target), gate in self._gates.items() if target and gate.until > now]

    def _key(self, channel: str, target: str) -> tuple[str, str]:
        return channel, "" if channel in self._shared else target
