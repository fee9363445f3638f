"""What is let go of, and what is kept."""

from __future__ import annotations

import time
from typing import Any

import pytest
from sqlalchemy import func, insert, select, text

from monagent.server import partitions, schema
from monagent.server.database import Database
from monagent.server.jobs import Job, Jobs
from monagent.server.retention import DAY, JOB, Keeping, Retention, expire
from monagent.server.rollups import Point, add
from tests.support.server import define, issue, known_host, ticket_story

NOW = 1_790_000_000.0
KEEPING = Keeping(readings=3 * DAY, fine=7 * DAY, coarse=20 * DAY, tickets=14 * DAY)


def readings(database: Database, *times: float, probe: int | None = 1) -> None:
    """Readings of these times."""
    with database.write() as db:
        first = int(db.execute(select(func.coalesce(func.max(schema.reading.c.ticket_id), 0))).scalar_one()) + 1
        rows = [
            {
                "ticket_id": first + number, "finished": when, "host_id": 1, "host_probe_id": probe, "received": when,
                "ret_code": 0, "data": "1", "value": 1.0,
            }
            for number, when in enumerate(times)
        ]  # fmt: skip
        db.execute(insert(schema.reading), rows)


def left(database: Database, column: Any) -> list[Any]:
    """All values of a column, in order."""
    with database.read() as db:
        return list(db.execute(select(column).order_by(column)).scalars())


def test_everything_is_kept_for_its_own_time(database: Database) -> None:
    """Readings go first, sums of an hour last; a month is left as it should be."""
    days = [NOW - day * DAY for day in range(30)]
    known_host(database, "web1")
    define(database, {("sensor", "disk"): {}, ("probe", "p"): {"sensor": "disk", "hosts": ["web1"]}})
    readings(database, *days)
    with database.write() as db:
        add(db, [Point(1, when, 1.0, "ok") for when in days])
    Retention(database, KEEPING).run(NOW)

    assert min(left(database, schema.reading.c.finished)) >= NOW - 4 * DAY
    assert {*days[:3]} <= {*left(database, schema.reading.c.finished)}
    for table, length, kept in ((schema.rollup_5m, 300, KEEPING.fine), (schema.rollup_1h, 3600, KEEPING.coarse)):
        starts = [when // length * length for when in reversed(days)]
        assert left(database, table.c.start) == [start for start in starts if start >= NOW - kept]


def test_tickets_are_kept_until_nobody_can_hand_in_for_them(database: Database) -> None:
    """An outcome goes before its ticket."""
    host = known_host(database, "web1")
    for name, age, expires in (("old", 15, -1), ("open", 15, 1), ("young", 1, 6)):
        issue(database, host, name, issued=NOW - age * DAY, expires=NOW + expires * DAY)
    with database.write() as db:
        rows = db.execute(select(schema.ticket.c.id)).scalars().all()
        db.execute(
            insert(schema.outcome), [{"ticket_id": one, "host_id": 1, "content": {}, "finished": NOW} for one in rows]
        )
    Retention(database, KEEPING).run(NOW)

    assert left(database, schema.ticket.c.ticket) == ["open", "young"]
    assert len(left(database, schema.outcome.c.ticket_id)) == 1


def test_a_probe_that_is_not_defined_any_more_goes_with_its_last_sum(database: Database) -> None:
    """Until then its history can be looked at."""
    known_host(database, "web1")
    define(database, {("sensor", "disk"): {}, ("probe", "p"): {"sensor": "disk", "hosts": ["web1"]}})
    with database.write() as db:
        db.execute(schema.host_probe.update().values(active=False, due=None))
        add(db, [Point(1, NOW - DAY, 1.0, "ok")])
    retention = Retention(database, KEEPING)
    retention.run(NOW)
    assert len(left(database, schema.host_probe.c.id)) == 1
    retention.run(NOW + 30 * DAY)

    assert left(database, schema.host_probe.c.id) == []


def test_much_is_deleted_in_small_steps_and_can_be_stopped(database: Database) -> None:
    """Nobody waits for long meanwhile."""
    steps = []

    def pause() -> bool:
        steps.append(1)
        return len(steps) == 2

    with database.write() as db:
        rows = [
            {
                "host_probe_id": number, "start": NOW - 9 * DAY, "n": 1, "sum": 1.0, "missing": 0, "warnings": 0,
                "criticals": 0, "worst": 0,
            }
            for number in range(12_000)
        ]  # fmt: skip
        db.execute(insert(schema.rollup_5m), rows)

    assert Retention(database, KEEPING, pause).run(NOW)["rollup_5m"] == 10_000
    assert Retention(database, KEEPING).run(NOW)["rollup_5m"] == 2_000


def test_tickets_that_nothing_came_for_expire(database: Database) -> None:
    """Those that are over already stay what they are."""
    host = known_host(database, "web1")
    issue(database, host, "late", expires=NOW - 1)
    issue(database, host, "failed", expires=NOW - 1, state="failed", ended=NOW - 5)
    issue(database, host, "early", expires=NOW + 1)

    assert expire(database, NOW) == 1
    assert expire(database, NOW) == 0
    assert [ticket_story(database, name).state for name in ("late", "failed", "early")] == [
        "expired",
        "failed",
        "issued",
    ]


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_a_day_is_a_partition(database: Database) -> None:
    """Also for readings that had come before it was made; days that are over go at once."""
    today = partitions.day_of(time.time())
    with database.read() as db:
        assert partitions.days(db) == [today, today + 1, today + 2, today + 3]
    day = partitions.day_of(NOW)
    readings(database, NOW, NOW - 40 * DAY, NOW + 300 * DAY)
    with database.read() as db:
        assert db.execute(text("select count(*) from reading_other")).scalar() == 3
    assert partitions.keep_ready(database, NOW) == 4
    with database.read() as db:
        assert db.execute(text("select count(*) from reading_other")).scalar() == 2
        assert db.execute(text(f"select count(*) from {partitions.name_of(day)}")).scalar() == 1
    done = Retention(database, KEEPING).run(NOW + 30 * DAY)

    assert done["partitions"] == 4
    assert done["reading"] == 1
    assert left(database, schema.reading.c.finished) == [NOW + 300 * DAY]


def test_a_clock_that_jumps_ahead_does_not_cost_the_history(database: Database) -> None:
    """Only when it is so for two runs it is believed."""
    readings(database, NOW)
    year = NOW + 365 * DAY
    jobs = Jobs(database, [Job(JOB, 0.0, Retention(database, KEEPING).run, alone=True)], lambda: now[0])
    now = [NOW]
    jobs.run_due()
    now[0] = year
    jobs.run_due()
    assert left(database, schema.reading.c.finished) == [NOW]
    now[0] = year + 3600
    jobs.run_due()

    assert left(database, schema.reading.c.finished) == []


def test_readings_of_a_clock_that_was_ahead_go_by_when_they_came(database: Database) -> None:
    """Not in the year that they tell."""
    readings(database, NOW + 1000 * DAY)
    with database.write() as db:
        db.execute(schema.reading.update().values(received=NOW))
    Retention(database, KEEPING).run(NOW + DAY)
    assert len(left(database, schema.reading.c.finished)) == 1
    Retention(database, KEEPING).run(NOW + 4 * DAY)

    assert left(database, schema.reading.c.finished) == []
