"""Read from the database within a deadline, on either engine."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Connection

from monagent.errors import StoreAway, Unavailable
from monagent.server.database import Database

SECONDS = 5.0
_STEPS = 10_000
"""Of SQLite's machine, a millisecond or so, between two looks at the clock."""


class TooMuch(Unavailable):
    """What was asked for takes too long to find."""


@contextmanager
def bounded(database: Database, seconds: float = SECONDS) -> Iterator[Connection]:
    """A transaction that reads, for so long at most.

    Raises:
        TooMuch: it was not long enough.
        StoreAway: the database cannot be reached.
    """
    until = time.monotonic() + seconds
    try:
        with database.read() as db, _timed(database, db, until, seconds):
            yield db
    except StoreAway as error:
        if time.monotonic() < until:
            raise
        raise TooMuch(f"the database did not find it within {seconds:g} s") from error


@contextmanager
def _timed(database: Database, db: Connection, until: float, seconds: float) -> Iterator[None]:
    if database.is_postgresql:
        db.exec_driver_sql(f"set local statement_timeout = {int(seconds * 1000)}")
        yield
        return
    connection: Any = db.connection.driver_connection
    connection.set_progress_handler(lambda: time.monotonic() > until, _STEPS)
    try:
        yield
    finally:
        connection.set_progress_handler(None, 0)
