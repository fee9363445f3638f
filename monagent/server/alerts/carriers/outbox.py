"""Send the notifications that wait: each channel by a thread of its own, so that one that hangs keeps up no other."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from monagent.server.alerts.carriers.lane import Channel, Lane
from monagent.server.alerts.carriers.shelf import Shelf
from monagent.server.database import Database

__all__ = ["Carrier", "Channel"]


class Carrier:
    """The lanes of one process. Any thread may use it."""

    def __init__(
        self, database: Database, channels: Mapping[str, Channel], clock: Callable[[], float] = time.time
    ) -> None:
        """
        Args:
            database: where the notifications are.
            channels: by name, as the rows say it.
            clock: seconds since the epoch.
        """
        self._shelf = Shelf(database)
        self._lanes = [
            Lane(database, name, channel, channels.keys() - {name}, clock) for name, channel in channels.items()
        ]

    def start(self) -> None:
        """Start sending."""
        for lane in self._lanes:
            lane.start()

    def stop(self, deadline: float) -> None:
        """Stop after what is under way, or at `deadline` (monotonic seconds); what is left waits in the database."""
        for lane in self._lanes:
            lane.stop()
        for lane in self._lanes:
            lane.join(deadline)

    def wake(self) -> None:
        """There is something new to send."""
        for lane in self._lanes:
            lane.wake()

    @property
    def trouble(self) -> str:
        """What keeps everything from being sent; empty when nothing does."""
        return next((lane.trouble for lane in self._lanes if lane.trouble), "")

    def ailing(self) -> str:
        """What is wrong with the threads."""
        gone = [lane.name for lane in self._lanes if not lane.is_alive]
        return f"the thread that sends notifications by {', '.join(gone)} is gone" if gone else ""

    def status(self) -> dict[str, Any]:
        """How many wait, since when the oldest does, how many were given up, and what keeps all of them.

        Raises:
            StoreAway: the database is away.
        """
        return {**self._shelf.status(), "trouble": self.trouble}
