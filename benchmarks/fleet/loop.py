"""One thread that waits for sockets and for time, with as little work in between as Python allows."""

from __future__ import annotations

import heapq
import select
import time
from collections.abc import Callable
from itertools import count

READ, WRITE = select.EPOLLIN, select.EPOLLOUT

_LONGEST_WAIT = 0.5
_AT_ONCE = 512


class Loop:
    """Calls back whoever watches a socket, or wanted to be called at a time. For one thread alone."""

    def __init__(self) -> None:
        self._poller = select.epoll()
        self._watchers: dict[int, Callable[[], None]] = {}
        self._timers: list[tuple[float, int, Callable[[], None]]] = []
        self._order = count()
        self._ending = False

    def watch(self, descriptor: int, events: int, ready: Callable[[], None]) -> None:
        """Call `ready` whenever one of these events, an error or an end can be had from a descriptor."""
        self._watchers[descriptor] = ready
        self._poller.register(descriptor, events)

    def change(self, descriptor: int, events: int) -> None:
        """Watch for other events."""
        self._poller.modify(descriptor, events)

    def forget(self, descriptor: int) -> None:
        """Watch no more; to be called before the descriptor is closed."""
        if self._watchers.pop(descriptor, None) is not None:
            self._poller.unregister(descriptor)

    def later(self, seconds: float, action: Callable[[], None]) -> None:
        """Call something once, so many seconds from now."""
        heapq.heappush(self._timers, (time.monotonic() + seconds, next(self._order), action))

    def end(self) -> None:
        """Return from `run()` soon."""
        self._ending = True

    def run(self, seconds: float | None = None) -> None:
        """Go round until `end()` is called, or for so many seconds."""
        until = None if seconds is None else time.monotonic() + seconds
        while not self._ending and (until is None or time.monotonic() < until):
            for descriptor, _ in self._poller.poll(self._wait(), _AT_ONCE):
                ready = self._watchers.get(descriptor)
                if ready is not None:  # else an earlier one of this round has forgotten it
                    ready()
            self._call_due()

    def close(self) -> None:
        """Give the poller back."""
        self._poller.close()

    def _wait(self) -> float:
        if not self._timers:
            return _LONGEST_WAIT
        return min(max(self._timers[0][0] - time.monotonic(), 0.0), _LONGEST_WAIT)

    def _call_due(self) -> None:
        now = time.monotonic()
        while self._timers and self._timers[0][0] <= now:
            heapq.heappop(self._timers)[2]()
