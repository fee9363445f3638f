"""Do the accepted commands: a bounded queue and its workers. One ticket runs once."""

from __future__ import annotations

import logging
import secrets
import threading
import time
from collections.abc import Callable
from queue import SimpleQueue

from monagent.agent.commands.kind import BACKUP, LONG, MAIL
from monagent.agent.turns import NOTHING, Claim, Turns
from monagent.models import Job, Outcome

log = logging.getLogger(__name__)

QUEUE_LIMIT = 10_000
"""Commands that may wait at once; as many again would be refused as busy."""

Perform = Callable[[Job], Outcome | None]
"""Does a job; None when its outcome comes later, by another way."""
Finish = Callable[[Job, Outcome, float], None]
Failed = Callable[[Job, str], Outcome]
"""Makes the outcome of a job that ended in a bug, from a sentence that names the incident."""


class Lane:
    """A queue with its workers. `perform` does a job, `finish` takes its outcome and when it was done."""

    def __init__(
        self, name: str, workers: int, perform: Perform, failed: Failed, finish: Finish, turns: Turns | None = None
    ) -> None:
        self._name = name
        self._workers = workers
        self._perform = perform
        self._failed = failed
        self._finish = finish
        self._turns = turns
        self._queue: SimpleQueue[Job | None] = SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._stopping = False
        self.abandoned = False
        self.running = 0
        self._running_lock = threading.Lock()

    def start(self) -> None:
        """Start the workers."""
        for number in range(self._workers):
            thread = threading.Thread(target=self._work, name=f"{self._name}-{number}", daemon=True)
            self._threads.append(thread)
            thread.start()

    def put(self, job: Job) -> None:
        """Queue a job, or keep it until it is its turn; returns at once."""
        if self._turns is None or self._turns.begin(job):
            self._queue.put(job)

    @property
    def waiting(self) -> int:
        """Jobs that no worker has taken yet, or that wait for their turn."""
        return self._queue.qsize() + (self._turns.waiting if self._turns else 0)

    @property
    def is_complete(self) -> bool:
        """Whether all workers are there that should be."""
        return self._stopping or all(thread.is_alive() for thread in self._threads)

    def close(self) -> None:
        """Take no further job."""
        self._stopping = True
        for _ in self._threads:
            self._queue.put(None)

    def join(self, deadline: float) -> bool:
        """After `close()`, wait for the running jobs until `deadline` (monotonic seconds).

        Returns:
            Whether all ended in time. What did not, or was never taken, is still in the journal.
        """
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        self.abandoned = any(thread.is_alive() for thread in self._threads)
        return not self.abandoned

    def _work(self) -> None:
        while (job := self._queue.get()) is not None:
            following: Job | None = job
            while following is not None and not self._stopping:
                self._do(following)
                following = self._after(following)

    def _after(self, done: Job) -> Job | None:
        """The job that this worker does next without a look at the queue."""
        began = self._turns.end(done) if self._turns else []
        for job in began[1:]:
            self._queue.put(job)
        return began[0] if began else None

    def _do(self, job: Job) -> None:
        with self._running_lock:
            self.running += 1
        try:
            outcome = self._perform(job)
        except Exception as error:  # noqa: BLE001 - the top of a worker: a bug in one command must not cost the others
            outcome = self._failed(job, _incident(job, error))
        finally:
            with self._running_lock:
                self.running -= 1
        # Work that was cut off has no result: it is done again after the next start.
        if outcome is not None and not self.abandoned:
            self._keep(job, outcome)

    def _keep(self, job: Job, outcome: Outcome) -> None:
        try:
            self._finish(job, outcome, time.time())
        except Exception as error:  # noqa: BLE001 - an outcome that cannot be kept is a bug of its command, too
            self._finish(job, self._failed(job, _incident(job, error)), time.time())


class Executor:
    """The lanes of one agent: long work and backups in lanes of their own, so that they never delay a check."""

    def __init__(
        self,
        workers: int,
        perform: Perform,
        failed: Failed,
        finish: Finish,
        lane_of: Callable[[str], str],
        claim_of: Callable[[Job], Claim] = lambda _job: NOTHING,
    ) -> None:
        self._lane_of = lane_of
        turns = Turns(workers, claim_of)
        self._short = Lane("worker", turns.most, perform, failed, finish, turns)
        self._others = {
            LONG: Lane("long-worker", 2, perform, failed, finish),
            BACKUP: Lane("backup-worker", 2, perform, failed, finish),
            MAIL: Lane("mail-worker", 1, perform, failed, finish),
        }
        self._lanes = (self._short, *self._others.values())

    def start(self) -> None:
        """Start all workers."""
        for lane in self._lanes:
            lane.start()

    def put(self, job: Job) -> None:
        """Queue an accepted job in its lane."""
        self._others.get(self._lane_of(job.command.method), self._short).put(job)

    @property
    def room(self) -> int:
        """How many more commands may be accepted now."""
        return QUEUE_LIMIT - self.waiting

    @property
    def waiting(self) -> int:
        """Jobs that no worker has taken yet."""
        return sum(lane.waiting for lane in self._lanes)

    @property
    def running(self) -> int:
        """Jobs being done now."""
        return sum(lane.running for lane in self._lanes)

    @property
    def checking(self) -> bool:
        """Whether short work is under way, so that more results will come within milliseconds."""
        return self._short.running > 0

    def ailing(self, _seconds: float) -> str:
        """What is wrong with the workers. How long one may be busy is bounded by what it does."""
        return "" if all(lane.is_complete for lane in self._lanes) else "a worker is gone"

    def abandon(self) -> None:
        """Let nothing that ends from now on count as done: it is about to be killed."""
        for lane in self._lanes:
            lane.abandoned = True

    def stop(self, grace: float) -> bool:
        """Drain: running jobs get `grace` seconds to end; True when all did."""
        deadline = time.monotonic() + grace
        for lane in self._lanes:
            lane.close()
        ended = [lane.join(deadline) for lane in self._lanes]
        return all(ended)


def _incident(job: Job, error: Exception) -> str:
    incident = secrets.token_hex(4)
    log.error("incident %s ticket=%s method=%s", incident, job.command.ticket, job.command.method, exc_info=error)
    return f"internal error, incident {incident}; the agent's log tells more"
