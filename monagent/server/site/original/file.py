"""Read a monitor.db of the original system. It may hold anything, and is never written to."""

from __future__ import annotations

import dataclasses
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

from monagent.errors import Refused
from monagent.server.site.model import Unreadable
from monagent.server.site.original.records import (
    OldHost,
    OldHostParam,
    OldHostProbe,
    OldProbe,
    OldReading,
    OldSchedule,
    OldSensor,
    OldSystemParam,
    Original,
)

T = TypeVar("T")

ROWS = 200_000
"""In each table but that of the readings."""
READINGS = 50_000_000
TEXT_BYTES = 1 << 20
SECONDS = 60.0
"""For one statement that ought to take a moment; a batch of readings is such a one."""
BATCH = 1_000
_NEEDED = ("host", "sensor", "probe", "hostprobe")


class OriginalFile:
    """An open monitor.db. For use by one thread."""

    def __init__(self, db: sqlite3.Connection, path: Path) -> None:
        self._db = db
        self._path = path
        self._until = 0.0
        db.set_progress_handler(lambda: int(time.monotonic() > self._until), 100_000)
        with self._reading("sqlite_master"):
            found = db.execute("select lower(name), name from sqlite_master where type = 'table' limit 1000").fetchall()
        self._tables = {str(lower): str(name) for lower, name in found}
        missing = [name for name in _NEEDED if name not in self._tables]
        if missing:
            raise Refused(f"{path} is no monitor.db of the original system: it has no table {', '.join(missing)}")

    def everything(self) -> Original:
        """All but the readings.

        Raises:
            Refused: it cannot be read, or holds more than any such file could.
        """
        return Original(
            self._rows("host", OldHost),
            self._rows("sensor", OldSensor),
            self._rows("probe", OldProbe),
            self._rows("hostprobe", OldHostProbe),
            self._rows("probingschedule", OldSchedule),
            self._rows("hostparams", OldHostParam),
            self._rows("systemparams", OldSystemParam),
            self._count("probereading", READINGS),
            self._count("ticketqueue", READINGS),
        )

    def readings(self) -> Iterator[list[OldReading]]:
        """All readings in batches, by their number."""
        after: int | None = None
        for _ in range(READINGS // BATCH + 1):
            batch = self._select("probereading", OldReading, after, BATCH)
            if not batch:
                return
            yield batch
            after = batch[-1].id

    def _rows(self, table: str, record: type[T]) -> list[T]:
        found = self._select(table, record, None, ROWS + 1)
        if len(found) > ROWS:
            raise Refused(f"{self._path}: table {table} has more than {ROWS} rows, which no such file has")
        return found

    def _select(self, table: str, record: type[T], after: int | None, limit: int) -> list[T]:
        if table not in self._tables:
            return []
        with self._reading(table):
            there = {
                str(row[1]).lower() for row in self._db.execute(f"pragma table_info({_quoted(self._tables[table])})")
            }
            # The row's own number serves where there is no id, and is what an id is mostly stored as.
            columns = ["rowid", *(field.name for field in dataclasses.fields(record)[1:])]  # type: ignore[arg-type]
            shown = ", ".join(name if name in there or name == "rowid" else "null" for name in columns)
            if "id" in there:
                shown = shown.replace("rowid", "id", 1)
            key = shown.partition(",")[0]
            condition = f"{key} > ?" if after is not None else f"typeof({key}) = 'integer' or ? is not null"
            statement = f"select {shown} from {_quoted(self._tables[table])} where {condition} order by {key} limit ?"  # noqa: S608 - names of our own
            return [record(*row) for row in self._db.execute(statement, (after, limit)).fetchall()]

    def _count(self, table: str, highest: int) -> int:
        if table not in self._tables:
            return 0
        with self._reading(table):
            counted = f"select count(*) from (select 1 from {_quoted(self._tables[table])} limit ?)"  # noqa: S608 - as above
            found = int(self._db.execute(counted, (highest + 1,)).fetchone()[0])
        if found > highest:
            raise Refused(f"{self._path}: table {table} has more than {highest} rows, which no such file has")
        return found

    @contextmanager
    def _reading(self, table: str) -> Iterator[None]:
        self._until = time.monotonic() + SECONDS
        try:
            yield
        except sqlite3.Error as error:
            raise Refused(f"{self._path} cannot be read ({table}): {error}") from error


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


@contextmanager
def opened(path: Path) -> Iterator[OriginalFile]:
    """The file, open until the end of the block.

    Raises:
        Unreadable: there is none.
        Refused: it is no monitor.db of the original system.
    """
    if not path.is_file():
        raise Unreadable(f"there is no file {path}")
    with closing(_connect(path)) as db:
        yield OriginalFile(db, path)


def _connect(path: Path) -> sqlite3.Connection:
    uri = f"file:{quote(str(path.absolute()))}?mode=ro"
    try:
        return _tried(uri)
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode & 0xFF not in (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY):
            raise Refused(f"{path} cannot be read: {error}") from error
    except sqlite3.DatabaseError as error:
        raise Refused(f"{path} is no SQLite database: {error}") from error
    # Left in WAL mode, in a directory where we cannot write: only this way it can be read.
    try:
        return _tried(f"{uri}&immutable=1")
    except sqlite3.Error as error:
        raise Refused(f"{path} cannot be read: {error}") from error


def _tried(uri: str) -> sqlite3.Connection:
    db = sqlite3.connect(uri, uri=True, timeout=5.0)
    try:
        db.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, TEXT_BYTES)
        db.text_factory = _text
        db.execute("pragma trusted_schema = off")
        db.execute("pragma query_only = on")
        db.execute("select count(*) from sqlite_master").fetchone()
    except BaseException:
        db.close()
        raise
    return db


def _text(data: Any) -> str:
    return bytes(data).decode("utf-8", "replace")
