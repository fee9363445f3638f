"""Run what has to be done now and then, in a thread of its own."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, select, update
from sqlalchemy.dialects import postgresql, sqlite

from monagent.errors import StoreAway
from monagent.server import schema
from monagent.server.database import Database

log = logging.getLogger(__name__)

POLL_SECONDS = 0.25
AWAY_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Job:
    """Work that is done every so many seconds.

    Attributes:
        name: of the work.
        every: seconds.
        run: is given the time, in seconds since the epoch.
        alone: one process does it for all; otherwise each does what it finds, and they do not mind each other.
    """

    name: str
    every: float
    run: Callable[[float], object]
    alone: bool = False


class Jobs:
    """The jobs of one process. Of a job that is done alone, whoever moves its time ahead in the database does it."""

    def __init__(self, database: Database, jobs: Sequence[Job], clock: Callable[[], float] = time.time) -> None:
        self._database = database
        self._jobs = jobs
        self._clock = clock
        self._failing: set[str] = set()
        self._next = dict.fromkeys((job.name for job in jobs), 0.0)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="jobs")

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """Finish the job under way, then end."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join()

    def run_due(self) -> None:
        """Run what is due and what no other process has taken."""
        for job in self._jobs:
            if self._stopping.is_set():
                return
            if self._next[job.name] <= time.monotonic():
                self._next[job.name] = time.monotonic() + job.every
                self._run_one(job)

    def _run(self) -> None:
        pause = 0.0
        while not self._stopping.wait(pause):
            pause = POLL_SECONDS
            try:
                self.run_due()
            except StoreAway as error:
                # The dispatcher tells of it; here it is only waited for.
                log.debug("jobs wait: %s", error)
                pause = AWAY_SECONDS
            except Exception:
                log.exception("a round of jobs failed")
                pause = AWAY_SECONDS

    def _run_one(self, job: Job) -> None:
        if job.alone and not self._take(job):
            return
        trouble = None
        try:
            job.run(self._clock())
        except StoreAway:
            raise
        except Exception as error:
            # One job's bug must not keep the others from running.
            log.exception("job failed name=%s", job.name)
            trouble = f"{type(error).__name__}; the log tells more"
        if job.alone or trouble or job.name in self._failing:
            self._note(job, trouble)

    def _note(self, job: Job, trouble: str | None) -> None:
        """Write down how it went, for people to see."""
        self._failing.add(job.name) if trouble else self._failing.discard(job.name)
        now, table = self._clock(), schema.job
        with self._database.write() as db:
            db.execute(_new(db, job.name, now))
            db.execute(update(table).where(table.c.name == job.name).values(ran=now, trouble=trouble))

    def _take(self, job: Job) -> bool:
        """Whether it is ours this time."""
        now, table = self._clock(), schema.job
        with self._database.read() as db:
            due = db.execute(select(table.c.due).where(table.c.name == job.name)).scalar()
        # A clock that was ahead must not stop a job for as long.
        if due is not None and now < due <= now + 2 * job.every:
            return False
        table = schema.job
        with self._database.write() as db:
            if due is None:
                return bool(db.execute(_new(db, job.name, now + 0.9 * job.every)).rowcount)
            mine = update(table).where(table.c.name == job.name, table.c.due == due).values(due=now + 0.9 * job.every)
            return db.execute(mine).rowcount == 1


def _new(db: Connection, name: str, due: float) -> Any:
    """A job's row, unless another process has made it meanwhile."""
    insert = postgresql.insert if db.dialect.name == "postgresql" else sqlite.insert
    return insert(schema.job).values(name=name, due=due).on_conflict_do_nothing()
