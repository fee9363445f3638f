"""Ask a server as programs do, from any address."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from monagent.config import server_settings
from monagent.server.service import Server
from tests.support.server import wait_until

FAR = "198.51.100.7"


@dataclass(frozen=True)
class Reply:
    """What came back; header names are lower-case."""

    status: int
    headers: dict[str, str]
    text: str

    @property
    def json(self) -> Any:
        """Of the body."""
        return json.loads(self.text)


@contextmanager
def serving(directory: Path, extra: str = "") -> Iterator[Server]:
    """A running server that believes us where we come from, so that we can come from anywhere."""
    config = directory / "server.cfg"
    config.write_text(f"[server]\nport = 0\nproxies = 127.0.0.1\n{extra}")
    server = Server(server_settings.load(config))
    server.start()
    try:
        wait_until(lambda: server.dispatcher.beat, "the dispatcher asks the database")
        yield server
    finally:
        server.stop()


def ask(
    server: Server, path: str, token: str = "", *, address: str = FAR, method: str = "GET", **headers: str
) -> Reply:
    """Ask for something."""
    url = urlsplit(server.url)
    connection = http.client.HTTPConnection(url.hostname or "", url.port, timeout=20)
    sent = {"X-Forwarded-For": address} | ({"Authorization": f"Bearer {token}"} if token else {})
    try:
        connection.request(
            method, path, headers=sent | {name.replace("_", "-"): text for name, text in headers.items()}
        )
        response = connection.getresponse()
        found = {name.lower(): value for name, value in response.getheaders()}
        return Reply(response.status, found, response.read().decode())
    finally:
        connection.close()
