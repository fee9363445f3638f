"""What the server's database says of a stretch of time."""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, create_engine, func, select

from benchmarks.fleet import wire
from benchmarks.fleet.tally import Spread, spread
from monagent.server import schema

SETTLE_SECONDS = 10.0
"""From when a probe was due until its result must be there, for one that is on time."""


@dataclass(frozen=True)
class Account:
    """Of the probes that were due, and of the results that came.

    Attributes:
        kept: readings that were stored in this time.
        lateness: from when a probe was due to when its command left, of hosts that are well.
        missing: their commands without a reading.
        wrong: readings that are not what the agent's sensor printed, or that are there twice.
    """

    kept: int
    lateness: Spread | None
    missing: int
    wrong: int


@contextmanager
def _opened(url: str) -> Iterator[Connection]:
    engine = create_engine(url)
    try:
        with engine.connect() as db:
            yield db
    finally:
        engine.dispose()


def account(url: str, begin: float, end: float, well: frozenset[str]) -> Account:
    """Take stock.

    Args:
        url: of the database.
        begin: seconds since the epoch, as the end.
        end: some seconds ago, so that what was due before it is there.
        well: names of the hosts whose lateness counts.
    """
    ticket, reading, host = schema.ticket.c, schema.reading.c, schema.host.c
    with _opened(url) as db:
        within = (reading.received >= begin, reading.received < end)
        kept = db.execute(select(func.count()).select_from(schema.reading).where(*within)).scalar_one()
        statement = (
            select(ticket.ticket, ticket.due, ticket.sent, host.name, reading.data)
            .join_from(schema.ticket, schema.host, ticket.host_id == host.id)
            .outerjoin(schema.reading, reading.ticket_id == ticket.id)
            .where(ticket.due >= begin, ticket.due < end)
        )
        rows = [row for row in db.execute(statement) if row.name in well]
    return Account(
        kept,
        spread(array("d", (row.sent - row.due for row in rows if row.sent is not None))),
        sum(row.data is None for row in rows),
        sum(map(_is_wrong, rows)) + len(rows) - len({row.ticket for row in rows}),
    )


def _is_wrong(row: Any) -> bool:
    return row.data is not None and row.data != wire.number_for(b"<string>%b</string>" % row.ticket.encode()).decode()
