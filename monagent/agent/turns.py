"""Whose turn it is: no two runs of one check at once, and no sensor that takes all the workers."""

from __future__ import annotations

import threading
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass

from monagent.models import Job


@dataclass(frozen=True, slots=True)
class Claim:
    """What a job wants for itself: a sensor's name, and with `check` the one run of that sensor with those arguments.

    `check` is empty where such runs may overlap.
    """

    sensor: str
    check: str


class Turns:
    """Lets jobs begin, or keeps them until it is their turn. Any thread may call it."""

    def __init__(self, cap: int, claim_of: Callable[[Job], Claim | None]) -> None:
        """
        Args:
            cap: how many runs of one sensor there may be at once.
            claim_of: what a job wants; None for jobs that are in nobody's way.
        """
        self._cap = cap
        self._claim_of = claim_of
        self._lock = threading.Lock()
        self._claims: dict[int, Claim] = {}  # by job; what a claim is may change with the settings, but not under way
        self._running: Counter[str] = Counter()
        self._checks: set[str] = set()
        self._kept: dict[str, deque[tuple[Job, Claim]]] = {}
        self.waiting = 0

    def begin(self, job: Job) -> bool:
        """Whether the job may begin now. If not it is kept, and `end()` of another one gives it back."""
        claim = self._claim_of(job)
        if claim is None:
            return True
        with self._lock:
            if self._is_free(claim):
                self._take(job, claim)
                return True
            self._kept.setdefault(claim.sensor, deque()).append((job, claim))
            self.waiting += 1
            return False

    def end(self, job: Job) -> Job | None:
        """The job is done; the one that may begin in its place, if any. It has begun when this returns."""
        with self._lock:
            claim = self._claims.pop(job.id, None)
            if claim is None:
                return None
            self._running[claim.sensor] -= 1
            if not self._running[claim.sensor]:
                del self._running[claim.sensor]
            self._checks.discard(claim.check)
            return self._next(claim.sensor)

    def _next(self, sensor: str) -> Job | None:
        kept = self._kept.get(sensor)
        for index, (job, claim) in enumerate(kept or ()):
            if self._is_free(claim):
                assert kept is not None
                del kept[index]
                if not kept:
                    del self._kept[sensor]
                self.waiting -= 1
                self._take(job, claim)
                return job
        return None

    def _is_free(self, claim: Claim) -> bool:
        return self._running[claim.sensor] < self._cap and not (claim.check and claim.check in self._checks)

    def _take(self, job: Job, claim: Claim) -> None:
        self._claims[job.id] = claim
        self._running[claim.sensor] += 1
        if claim.check:
            self._checks.add(claim.check)
