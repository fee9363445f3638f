"""A real server on a free port, with its database in a file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from monagent.config import server_settings
from monagent.rpc.client import Client
from monagent.server.records import Host
from monagent.server.service import Server
from monagent.server.store import Store, open_engine


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """An empty database."""
    store = Store(open_engine(f"sqlite:///{tmp_path}/store.db"))
    yield store
    store.close()


@pytest.fixture
def host(store: Store) -> Host:
    """A host on this machine in that database."""
    return known_host(store, "web1")


def known_host(store: Store, name: str, address: str = "127.0.0.1", port: int = 8080) -> Host:
    """Add a host and give what the store makes of it."""
    store.add_host(name, address, port)
    found = store.host(name)
    assert found is not None
    return found


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """A running server."""
    config = tmp_path / "server.cfg"
    config.write_text("[server]\nport = 0\n[database]\nurl = sqlite:///monitor.db\n")
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
