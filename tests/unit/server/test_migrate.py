"""From the first tables to those of today."""

from __future__ import annotations

import sqlite3
import threading
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import MetaData, insert, inspect, text

from monagent.errors import StoreError
from monagent.server import migrate, schema
from monagent.server.database import Database
from monagent.server.migrate import prepare
from monagent.server.site import store
from tests.support.server import outcome, reading, ticket_story

WHEN = datetime(2026, 1, 2, 3, 4, 5, 250_000, tzinfo=UTC)
FIRST: dict[str, list[dict[str, Any]]] = {
    "host": [
        {"id": 3, "name": "web1", "address": "192.0.2.1", "port": 8080, "sources": []},
        {"id": 7, "name": "web2", "address": "web2.example.org", "port": 9090, "sources": ["10.0.0.0/8"]},
    ],
    "ticket": [
        {"id": 1, "ticket": "a", "host_id": 3, "method": "cmd_submit_reading", "arguments": ["disk", ["/"]], "state": "done",
         "issued": WHEN, "acknowledged": WHEN, "done": WHEN, "fingerprint": b"x"},
        {"id": 2, "ticket": "b", "host_id": 7, "method": "cmd_status", "arguments": [], "state": "done", "issued": WHEN,
         "done": WHEN, "fingerprint": b"y"},
        {"id": 3, "ticket": "c", "host_id": 7, "method": "cmd_status", "arguments": [], "state": "refused", "issued": WHEN,
         "refusal": "fault -32602: no"},
    ],
    "reading": [
        {"id": 1, "ticket_id": 1, "host_id": 3, "sensor": "disk", "arguments": ["/"], "ret_code": 0, "data": "81.5",
         "error": "", "stderr": "", "duration": 0.25, "finished": WHEN},
    ],
    "outcome": [{"id": 1, "ticket_id": 2, "content": {"status": "ok", "message": "fine"}, "finished": WHEN}],
}  # fmt: skip


def first(database: Database, *, stamped: bool) -> None:
    """A database as the first version made it, with something in it."""
    with database.write() as db:
        config = Config()
        config.set_main_option("script_location", str(migrate.Path(migrate.__file__).parent / "migrations"))
        config.attributes["connection"] = db
        command.upgrade(config, "0001")
        tables = MetaData()
        tables.reflect(db)
        for name, rows in FIRST.items():
            for row in rows:
                db.execute(insert(tables.tables[name]), [row])
        if not stamped:
            db.execute(text("drop table alembic_version"))


@pytest.mark.parametrize("stamped", [True, False], ids=["stamped", "from before there were migrations"])
def test_what_was_there_is_taken_along(empty_database_url: str, *, stamped: bool) -> None:
    """Hosts, tickets, readings and outcomes; a repeat of what was handed in is still known."""
    database = Database(empty_database_url)
    first(database, stamped=stamped)
    prepare(database)
    prepare(database)

    with database.read() as db:
        site = store.load(db)
        assert not [name for name in inspect(db).get_table_names() if name.startswith("old_")]
    assert dict(site.of_kind("host")) == {
        "web1": {"address": "192.0.2.1"},
        "web2": {"address": "web2.example.org", "port": 9090, "from": ["10.0.0.0/8"]},
    }
    found = reading(database, "a")
    assert found is not None
    assert (found.host, found.sensor, found.data, found.finished) == ("web1", "disk", "81.5", WHEN.timestamp())
    assert outcome(database, "b") == {"status": "ok", "message": "fine"}
    assert [ticket_story(database, name).state for name in "abc"] == ["done", "done", "refused"]
    assert ticket_story(database, "c").reason == "fault -32602: no"
    # The definitions are what the tables say: writing them again changes nothing.
    assert not store.change(database, lambda site: site, WHEN.timestamp())
    database.close()


def test_the_migrations_make_the_tables_of_today(database: Database) -> None:
    """Nothing is forgotten in either place."""
    with database.read() as db:
        found = compare_metadata(MigrationContext.configure(db), schema.metadata)

    partitions = "reading_"
    assert [one for one in found if partitions not in str(one)] == []


def test_the_newest_migration_is_the_version(database: Database) -> None:
    """Otherwise it would never be run."""
    scripts = ScriptDirectory(str(migrate.Path(migrate.__file__).parent / "migrations"))

    assert scripts.get_current_head() == migrate.VERSION


def test_a_newer_database_is_left_alone(database: Database) -> None:
    """With a word about it."""
    with database.write() as db:
        db.execute(text("update alembic_version set version_num = '9999'"))

    with pytest.raises(StoreError, match="newer version"):
        prepare(database)


def test_processes_that_start_together_make_the_tables_once(empty_database_url: str) -> None:
    """The others wait."""
    databases = [Database(empty_database_url) for _ in range(4)]
    errors: list[BaseException] = []

    def work(database: Database) -> None:
        try:
            prepare(database)
        except BaseException as error:
            errors.append(error)
            raise

    threads = [threading.Thread(target=work, args=(database,)) for database in databases]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    for database in databases:
        database.close()

    assert errors == []


def test_another_programs_database_is_left_as_it_is(tmp_path: Path) -> None:
    """Byte for byte, with a word about what would do."""
    path = tmp_path / "monitor.db"
    with closing(sqlite3.connect(path)) as db:
        db.execute("create table host(id integer primary key, name text, address text, port text)")
        db.commit()
    before = path.read_bytes()
    database = Database(f"sqlite:///{path}")

    with pytest.raises(StoreError, match="monserver import"):
        prepare(database)
    database.close()
    assert path.read_bytes() == before
