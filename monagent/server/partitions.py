"""On PostgreSQL, readings lie in one partition a day (UTC), so that a day that is too old goes at once.

What belongs to no day that there is a partition for, because an agent's clock is wrong or a result comes very late, lies in
`reading_other`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

from sqlalchemy import Connection, text

from monagent.server.database import Database

DAY = 86_400.0
AHEAD_DAYS = 3
"""Partitions are there before their day comes, should nobody make them for a while."""
OTHER = "reading_other"
_NAME = re.compile(r"reading_([0-9]{8})")


def day_of(when: float) -> int:
    """The day that a time belongs to, counted from the epoch."""
    return int(when // DAY)


def name_of(day: int) -> str:
    """The partition of a day."""
    return f"reading_{datetime.fromtimestamp(day * DAY, UTC):%Y%m%d}"


def days(db: Connection) -> list[int]:
    """The days that there are partitions for, in order."""
    statement = text("select inhrelid::regclass::text from pg_inherits where inhparent = 'reading'::regclass")
    names = [match[1] for name in db.execute(statement).scalars() if (match := _NAME.fullmatch(name))]
    return sorted(day_of(datetime.strptime(name, "%Y%m%d").replace(tzinfo=UTC).timestamp()) for name in names)


def make(db: Connection, day: int) -> None:
    """Make the partition of a day; what lies elsewhere and belongs there is taken along."""
    name, start, end = name_of(day), day * DAY, (day + 1) * DAY
    db.execute(text(f"create table {name} (like reading including defaults including constraints)"))
    db.execute(
        text(
            f"with moved as (delete from {OTHER} where finished >= :start and finished < :end returning *) "  # noqa: S608 - names of our own
            f"insert into {name} select * from moved"
        ),
        {"start": start, "end": end},
    )
    db.execute(text(f"alter table reading attach partition {name} for values from ({start!r}) to ({end!r})"))


def keep_ready(database: Database, now: float) -> int:
    """Make the partitions of today and the days to come; how many were missing."""
    made = 0
    for day in range(day_of(now), day_of(now) + AHEAD_DAYS + 1):
        with _alone(database) as db:
            if day not in days(db):
                make(db, day)
                made += 1
    return made


def drop_before(database: Database, when: float) -> int:
    """Drop the partitions of days that ended before a time; how many there were."""
    with database.read() as db:
        old = [day for day in days(db) if (day + 1) * DAY <= when]
    for day in old:
        with _alone(database) as db:
            db.execute(text(f"drop table if exists {name_of(day)}"))
    return len(old)


@contextmanager
def _alone(database: Database) -> Iterator[Connection]:
    """A transaction for one partition; it gives up soon where others are in the way, and is tried again in an hour."""
    with database.write() as db:
        db.execute(text("set local lock_timeout = '3s'"))
        db.execute(text("select pg_advisory_xact_lock(7236871002)"))
        yield db
