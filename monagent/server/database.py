"""The way to the database: transactions on SQLite or PostgreSQL, and what they do not have in common."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

from sqlalchemy import Connection, Engine, Select, Table, create_engine, event
from sqlalchemy.exc import ArgumentError, DataError, DBAPIError, IntegrityError, NoSuchModuleError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from monagent.errors import ConfigError, Problem, StoreAway

_POSTGRESQL = {
    "connect_timeout": 5,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 20_000,
}
"""Seconds, and milliseconds: a network that has died is noticed, whatever it was waited for."""
_READS = "monagent_reads"


class Database:
    """Where everything is kept. Any thread may use it; nothing is connected before it is used."""

    def __init__(self, url: str) -> None:
        """
        Raises:
            ConfigError: nothing here can speak to such a database.
        """
        self.engine = _engine(url)
        self.is_postgresql = self.engine.dialect.name == "postgresql"
        self._reads = self.engine.execution_options(**{_READS: True})
        # SQLite has one writer at a time. Who waits here goes on at once; who waits inside SQLite sleeps and tries again.
        self._turn: Any = nullcontext() if self.is_postgresql else threading.Lock()

    @property
    def shown(self) -> str:
        """Its URL without the password."""
        return self.engine.url.render_as_string(hide_password=True)

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """A transaction, committed at the end.

        Raises:
            StoreAway: the database cannot be reached, or cannot write.
        """
        with self._turn, self._translated(), self.engine.begin() as db:
            yield db

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A transaction that only reads, and never waits for those that write.

        Raises:
            StoreAway: the database cannot be reached.
        """
        with self._translated(), self._reads.begin() as db:
            yield db

    def locking(self, statement: Select[Any], *, skip: bool = False, of: Table | None = None) -> Select[Any]:
        """The statement, keeping others from the rows that it finds.

        SQLite needs nothing of that: there `write()` excludes everybody else.

        Args:
            statement: what to find.
            skip: leave out the rows that others keep.
            of: of a join, the table whose rows are meant.
        """
        return statement.with_for_update(key_share=True, skip_locked=skip, of=of) if self.is_postgresql else statement

    def keep_readers_going(self) -> None:
        """On SQLite: let readers and the writer not wait for each other. The file remembers it."""
        connection = self.engine.raw_connection()
        try:
            connection.cursor().execute("pragma journal_mode = wal")
        finally:
            connection.close()

    def close(self) -> None:
        """Close all connections."""
        self.engine.dispose()

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except (DataError, IntegrityError):
            raise
        except (DBAPIError, PoolTimeout) as error:
            # Whatever it is (gone, read-only, no rights, damaged): an operator can mend it, and nothing was taken.
            reason = _first_line(getattr(error, "orig", error))
            raise StoreAway(f"the database {self.shown} cannot be used now: {reason}") from error


def _first_line(error: object) -> str:
    return (str(error).strip().splitlines() or ["?"])[0]


def _engine(url: str) -> Engine:
    try:
        arguments: dict[str, Any] = {"connect_args": _POSTGRESQL} if "postgresql" in url else {}
        engine = create_engine(url, **arguments)
    except (ArgumentError, NoSuchModuleError, ImportError) as error:
        raise ConfigError([Problem("server.cfg", None, "database", "url", f"cannot be used: {error}")]) from error
    if engine.dialect.name == "sqlite":
        event.listen(engine, "connect", _tune_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
    return engine


def _tune_sqlite(connection: Any, _record: object) -> None:
    connection.isolation_level = None  # transactions begin where SQLAlchemy says, not where pysqlite guesses
    for pragma in ("synchronous = full", "foreign_keys = on", "busy_timeout = 10000"):
        connection.execute(f"pragma {pragma}")


def _begin_sqlite(connection: Connection) -> None:
    # A transaction that reads first and writes later would fail when another one wrote in between.
    reads = connection.get_execution_options().get(_READS)
    connection.exec_driver_sql("begin deferred" if reads else "begin immediate")
