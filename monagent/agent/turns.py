"""Whose turn it is: no two runs of one check at once, and no sensor that takes all the workers."""

from __future__ import annotations

import heapq
import threading
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field

from monagent.models import Job


@dataclass(frozen=True, slots=True)
class Claim:
    """What a job wants for itself: a sensor's name, and with `check` the one run of that sensor with those arguments.

    `check` is empty where such runs may overlap.
    """

    sensor: str
    check: str


NOTHING = Claim("", "")
"""The claim of a job that is no check."""


@dataclass(slots=True)
class _Line:
    """The jobs that wait for one sensor, by their check, and which checks could begin, oldest first."""

    kept: dict[str, deque[tuple[int, Job, Claim]]] = field(default_factory=dict)
    ready: list[tuple[int, str]] = field(default_factory=list)


class Turns:
    """Lets jobs begin, or keeps them until it is their turn, oldest first. Any thread may call it.

    At most `workers` jobs are done at once. What one sensor has of them beyond its share of three quarters is only lent:
    when others need it, they get as many workers more. (A single worker is not lent.)
    """

    def __init__(self, workers: int, claim_of: Callable[[Job], Claim]) -> None:
        """
        Args:
            workers: how many jobs are done at once.
            claim_of: what a job wants.
        """
        self._workers = workers
        self._share = max(1, workers * 3 // 4)
        self.most = 2 * workers - self._share
        """How many jobs there may be under way, with those in place of what is lent."""
        self._claim_of = claim_of
        self._lock = threading.Lock()
        self._claims: dict[int, Claim] = {}  # by job; what a claim is may change with the settings, but not under way
        self._running: Counter[str] = Counter()
        self._lent = 0
        self._checks: set[Claim] = set()
        self._lines: dict[str, _Line] = {}
        self._number = 0
        self.waiting = 0

    def begin(self, job: Job) -> bool:
        """Whether the job may begin now. If not it is kept, and `end()` of another one gives it back."""
        claim = self._claim_of(job)
        with self._lock:
            if claim not in self._checks and self._has_room(claim.sensor):
                self._take(job, claim)
                return True
            self._keep(job, claim)
            return False

    def end(self, job: Job) -> list[Job]:
        """The job is done; those that may begin now, mostly one or none. They have begun when this returns."""
        with self._lock:
            claim = self._claims.pop(job.id)
            self._running[claim.sensor] -= 1
            self._lent -= self._running[claim.sensor] >= self._share
            if not self._running[claim.sensor]:
                del self._running[claim.sensor]
            if claim.check:
                self._checks.discard(claim)
                self._ready(claim)
            # The one that takes its place may have it only lent, which gives another one a place as well.
            return list(iter(self._next, None)) if self._lines else []

    def _has_room(self, sensor: str) -> bool:
        under_way = len(self._claims)
        if under_way < self._workers:
            return True
        modest = self._running[sensor] < self._share
        return modest and under_way - self._lent < self._workers and under_way < self.most

    def _take(self, job: Job, claim: Claim) -> None:
        self._claims[job.id] = claim
        self._lent += self._running[claim.sensor] >= self._share
        self._running[claim.sensor] += 1
        if claim.check:
            self._checks.add(claim)

    def _keep(self, job: Job, claim: Claim) -> None:
        self._number += 1
        self.waiting += 1
        line = self._lines.setdefault(claim.sensor, _Line())
        kept = line.kept.setdefault(claim.check, deque())
        kept.append((self._number, job, claim))
        if len(kept) == 1 and claim not in self._checks:
            heapq.heappush(line.ready, (self._number, claim.check))

    def _ready(self, claim: Claim) -> None:
        """That check could run again."""
        line = self._lines.get(claim.sensor)
        if line and claim.check in line.kept:
            heapq.heappush(line.ready, (line.kept[claim.check][0][0], claim.check))

    def _next(self) -> Job | None:
        lines = [(line.ready[0], sensor) for sensor, line in self._lines.items() if line.ready]
        able = [(first, sensor) for first, sensor in lines if self._has_room(sensor)]
        if not able:
            return None
        (_, check), sensor = min(able)
        line = self._lines[sensor]
        heapq.heappop(line.ready)
        kept = line.kept[check]
        _, job, claim = kept.popleft()
        self.waiting -= 1
        self._take(job, claim)
        if not kept:
            del line.kept[check]
            if not line.kept:
                del self._lines[sensor]
        elif not check:
            heapq.heappush(line.ready, (kept[0][0], check))
        return job
