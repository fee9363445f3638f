"""Work that one process does for all."""

from __future__ import annotations

from collections import Counter
from typing import Any

from sqlalchemy import select, update

from monagent.server import schema
from monagent.server.database import Database
from monagent.server.jobs import Job, Jobs
from tests.support.server import wait_until

NOW = 1_790_000_000.0


def test_of_several_processes_one_does_a_job(database: Database) -> None:
    """Each time it is due."""
    done: Counter[str] = Counter()
    now = [NOW]

    def jobs(name: str) -> Jobs:
        return Jobs(database, [Job("sweep", 0.0, lambda _now: done.update([name]), alone=True)], lambda: now[0])

    # Due at once, always: each of them has its turn.
    first = jobs("a")
    first.run_due()
    first.run_due()
    assert done == {"a": 2}

    slow = [
        Jobs(database, [Job("rare", 600.0, lambda _now: done.update(["rare"]), alone=True)], lambda: now[0])
        for _ in range(4)
    ]
    for one in slow:
        one.run_due()
    assert done["rare"] == 1
    now[0] += 600
    for one in slow:
        one._next["rare"] = 0.0
        one.run_due()

    assert done["rare"] == 2


def test_a_job_with_a_bug_keeps_no_other_from_running(database: Database) -> None:
    """It is told where its operator looks."""
    done: list[str] = []

    def broken(_now: float) -> None:
        raise RuntimeError("a bug")

    jobs = Jobs(database, [Job("broken", 0.0, broken), Job("good", 60.0, lambda _now: done.append("good"), alone=True)])
    jobs.run_due()

    assert done == ["good"]
    with database.read() as db:
        rows: Any = db.execute(select(schema.job.c.name, schema.job.c.trouble)).all()
        trouble = dict(rows)
    assert trouble == {"broken": "RuntimeError; the log tells more", "good": None}


def test_what_every_process_does_is_not_written_down_unless_it_fails(database: Database) -> None:
    """An idle server leaves the disk alone."""
    Jobs(database, [Job("look", 0.0, lambda _now: None)]).run_due()

    with database.read() as db:
        assert db.execute(select(schema.job)).first() is None


def test_a_clock_that_was_ahead_stops_no_job(database: Database) -> None:
    """What is due too far ahead is due now."""
    done: list[float] = []
    job = Job("sweep", 60.0, done.append, alone=True)
    Jobs(database, [job], lambda: NOW).run_due()
    with database.write() as db:
        db.execute(update(schema.job).values(due=NOW + 86_400))
    Jobs(database, [job], lambda: NOW + 1).run_due()

    assert done == [NOW, NOW + 1]


def test_they_run_in_a_thread_of_their_own_until_they_are_stopped(database: Database) -> None:
    """And start at once."""
    done: list[float] = []
    jobs = Jobs(database, [Job("sweep", 0.0, done.append)])
    jobs.start()
    wait_until(lambda: done, "the first run")
    jobs.stop()
    count = len(done)

    assert not jobs._thread.is_alive()
    assert len(done) == count
