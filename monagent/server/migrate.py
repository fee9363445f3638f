"""Bring the tables up to date, by alembic. Any number of processes may do so at once: one does, the others wait."""

from __future__ import annotations

import logging
import time
from pathlib import Path

from sqlalchemy import Connection, inspect, text
from sqlalchemy.exc import DBAPIError

from monagent.errors import StoreAway, StoreError
from monagent.server import partitions
from monagent.server.database import Database

VERSION = "0002"
"""Of the newest file in `migrations/versions/`."""


def prepare(database: Database) -> None:
    """Make the tables, or change them to what this version needs.

    Raises:
        StoreAway: the database cannot be used now, and may be back.
        StoreError: it cannot be used at all, or a newer version of monagent has changed it.
    """
    try:
        _prepare(database)
    except StoreAway as error:
        if database.is_postgresql:
            raise
        # No server that could come back: its place, or its rights, are wrong.
        raise StoreError(str(error)) from error
    except DBAPIError as error:
        raise StoreError(f"the database {database.shown} cannot be used: {error.orig}") from error


def _prepare(database: Database) -> None:
    with database.read() as db:
        if _version(db) == VERSION:
            return
    with database.write() as db:
        if database.is_postgresql:
            db.execute(text("select pg_advisory_xact_lock(7236871001)"))
        version = _version(db)
        if version is not None and version > VERSION:
            raise StoreError(f"the database {database.shown} was changed by a newer version of monserver; use that one")
        if version != VERSION:
            _upgrade(db, version)
    if database.is_postgresql:
        partitions.keep_ready(database, time.time())
    else:
        database.keep_readers_going()


def _version(db: Connection) -> str | None:
    if not inspect(db).has_table("alembic_version"):
        return None
    return str(db.execute(text("select version_num from alembic_version")).scalar())


def _upgrade(db: Connection, version: str | None) -> None:
    logging.getLogger("alembic").setLevel(logging.WARNING)
    from alembic import command  # noqa: PLC0415 - slow to import, and hardly ever needed
    from alembic.config import Config  # noqa: PLC0415

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.attributes["connection"] = db
    if version is None and inspect(db).has_table("host"):
        if not inspect(db).has_table("outcome"):
            raise StoreError(
                "the database belongs to another program; `monserver import` takes over that of the tutorial's"
            )
        command.stamp(config, "0001")  # made before there were migrations
    command.upgrade(config, "head")
