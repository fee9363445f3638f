"""Say whether every part of the server is at work, and whether results are taken: from what the parts know, without waiting."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Collection
from dataclasses import dataclass

from monagent.server.dispatcher import Dispatcher
from monagent.server.web.calls import Calls

THREADS = ("intake", "dispatcher", "courier", "carrier-mail", "carrier-webhook", "carrier-apprise", "jobs", "jobs")
"""Of a server, by name."""
BEAT_SECONDS = 30.0
"""Longer than the pauses while the database is away, with the time to connect."""


@dataclass(frozen=True, slots=True)
class Problem:
    """Something is wrong with a part. `words` may be told to anybody, `detail` may name places and users."""

    part: str
    words: str
    detail: str = ""

    def told(self, *, fully: bool) -> str:
        """One line."""
        detail = " ".join(self.detail.split())
        return f"{self.part}: {self.words}{f' ({detail})' if fully and detail else ''}"


class Health:
    """Any thread may ask."""

    def __init__(
        self,
        dispatcher: Dispatcher,
        calls: Calls,
        threads: Collection[str] = THREADS,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """
        Args:
            dispatcher: knows how the database is.
            calls: knows whether results could be kept.
            threads: that must be there.
            monotonic: seconds.
        """
        self._dispatcher = dispatcher
        self._calls = calls
        self._threads = tuple(threads)
        self._monotonic = monotonic

    def problems(self) -> list[Problem]:
        """What is wrong; empty when every part is at work."""
        if not self._dispatcher.beat:
            return [_STARTING]
        missing = Counter(self._threads) - Counter(thread.name for thread in threading.enumerate())
        found = [Problem(name, "its thread has ended; restart the server") for name in missing]
        silent = self._monotonic() - self._dispatcher.beat
        if silent > BEAT_SECONDS:
            found.append(Problem("dispatcher", f"has got no answer from the database for {silent:.0f} s"))
        return found + self._database()

    def unready(self) -> list[Problem]:
        """Why results are not taken now; empty when they are."""
        return self._database() if self._dispatcher.beat else [_STARTING]

    def _database(self) -> list[Problem]:
        away = self._dispatcher.away
        found = [] if away is None else [Problem("database", "cannot be used now", str(away))]
        if reason := self._calls.hitch():
            found.append(Problem("intake", "results cannot be kept now; the agents keep them", reason))
        return found


_STARTING = Problem("database", "it is waited for since the start, or its tables are being made ready")
