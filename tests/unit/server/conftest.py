"""Databases of both kinds, and a real server on a free port."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from monagent.config import server_settings
from monagent.rpc.client import Client
from monagent.server.database import Database
from monagent.server.migrate import prepare
from monagent.server.service import Server
from tests.support.postgres import new_database


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path, prepared_sqlite: Path) -> Iterator[str]:
    """Of a database with empty tables."""
    if request.param == "sqlite":
        shutil.copy(prepared_sqlite, tmp_path / "store.db")
        yield f"sqlite:///{tmp_path}/store.db"
        return
    with new_database(prepared=True) as url:
        yield url


@pytest.fixture(params=["sqlite", "postgresql"])
def empty_database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """Of a database without any tables."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/store.db"
        return
    with new_database() as url:
        yield url


@pytest.fixture(scope="session")
def prepared_sqlite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database with our tables, to be copied: that is quicker than making them."""
    path = tmp_path_factory.mktemp("template") / "monitor.db"
    database = Database(f"sqlite:///{path}")
    prepare(database)
    database.close()
    return path


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    """A database with empty tables."""
    database = Database(database_url)
    yield database
    database.close()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """A running server, on SQLite, that lets go of nothing however old it is."""
    config = tmp_path / "server.cfg"
    config.write_text("[server]\nport = 0\n[database]\nurl = sqlite:///monitor.db\n[retention]\nreadings = 36500d\n")
    server = Server(server_settings.load(config))
    server.start()
    yield server
    server.stop()


@pytest.fixture
def client(server: Server) -> Iterator[Client]:
    """A connection to it."""
    client = Client(server.url, timeout=20)
    yield client
    client.close()
