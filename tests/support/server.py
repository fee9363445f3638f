"""What tests put into a server's database, and look up there."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from sqlalchemy import insert

from monagent.config import server_settings
from monagent.errors import Fault
from monagent.rpc.client import Client
from monagent.server import schema
from monagent.server.database import Database
from monagent.server.readings import reading_of
from monagent.server.records import Host, StoredReading
from monagent.server.service import Server
from monagent.server.site import hosts, store
from monagent.server.site.model import Content, Key, Site
from monagent.server.ticket_list import TicketStory, result, story
from monagent.server.ticketing import LIFETIME_SECONDS, canonical, new_ticket
from tests.support.ports import free_port

SUBMIT = "cmd_submit_reading"


def define(database: Database, definitions: dict[Key, Content]) -> None:
    """Add definitions, or change them."""
    store.change(database, lambda site: Site({**site.definitions, **definitions}), time.time())


def known_host(
    database: Database, name: str, address: str = "127.0.0.1", port: int = 8080, sources: Sequence[str] = ()
) -> Host:
    """Define a host and give what the database makes of it."""
    content: dict[str, Any] = {"address": address, "port": port}
    define(database, {("host", name): content | ({"from": list(sources)} if sources else {})})
    with database.read() as db:
        found = hosts.host(db, name)
    assert found is not None
    return found


def issue(
    database: Database,
    host: Host,
    *tickets: str,
    method: str = SUBMIT,
    arguments: Sequence[Any] | None = None,
    **more: Any,
) -> None:
    """Tickets of these names, as if they had been sent already."""
    if arguments is None:
        arguments = ["disk", []] if method == SUBMIT else []
    with database.write() as db:
        db.execute(insert(schema.ticket), [_row(host, ticket, method, arguments) | more for ticket in tickets])


def _row(host: Host, ticket: str, method: str, arguments: Sequence[Any]) -> dict[str, Any]:
    now = time.time()
    return {
        "ticket": ticket, "host_id": host.id, "method": method, "arguments": canonical(method, arguments),
        "state": "issued", "issued": now, "expires": now + LIFETIME_SECONDS, "send_until": now,
    }  # fmt: skip


def reading(database: Database, ticket: str) -> StoredReading | None:
    """The reading that came for a ticket."""
    with database.read() as db:
        return reading_of(db, ticket)


def outcome(database: Database, ticket: str) -> dict[str, Any] | None:
    """The outcome that came for a ticket."""
    with database.read() as db:
        return result(db, ticket)


def ticket_story(database: Database, ticket: str) -> TicketStory:
    """What became of a ticket."""
    with database.read() as db:
        found = story(db, ticket)
    assert found is not None
    return found


def wait_until(condition: Callable[[], object], what: str, seconds: float = 20.0) -> None:
    """Wait until something is so."""
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, f"{what}: not within {seconds} s"
        time.sleep(0.02)


def send_checks(database: Database, host: Host, checks: Sequence[tuple[str, list[Any]]]) -> list[str | Fault]:
    """Send checks (sensor, arguments) at once, in one multicall, past the server's own dispatcher.

    Returns:
        For each its ticket, or the fault that the agent answered.

    Raises:
        Unavailable: the agent did not answer.
    """
    tickets = [new_ticket() for _ in checks]
    rows = [
        _row(host, ticket, SUBMIT, [sensor, arguments])
        for ticket, (sensor, arguments) in zip(tickets, checks, strict=True)
    ]
    with database.write() as db:
        db.execute(insert(schema.ticket), rows)
    client = Client(host.agent_url, timeout=10)
    try:
        calls = [(SUBMIT, [ticket, *check]) for ticket, check in zip(tickets, checks, strict=True)]
        answers = client.multicall(calls)
    finally:
        client.close()
    return [answer if isinstance(answer, Fault) else ticket for ticket, answer in zip(tickets, answers, strict=True)]


def server_in(directory: Path, extra: str = "", database_url: str = "sqlite:///monitor.db") -> Server:
    """The reference server on a free port, not started; its database lies in that directory unless another is named."""
    config = directory / "server.cfg"
    url = database_url.replace("%", "%%")
    config.write_text(f"[server]\nport = {free_port()}\n[database]\nurl = {url}\n{extra}", "utf-8")
    return Server(server_settings.load(config))
