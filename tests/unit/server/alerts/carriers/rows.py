"""Rows for the outbox, as the rules of alerts put them there."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from sqlalchemy import insert, select

from monagent.server.database import Database
from monagent.server.schema import host, host_probe, incident, notification, reading

SECRET = "a secret of the two of us"


def put(database: Database, **members: Any) -> int:
    """One notification; what is left out is a problem of web1 that is told now by mail."""
    now = time.time()
    row = {
        "incident_id": None, "rule": "ops", "channel": "mail", "target": "ops@example.org", "what": "problem",
        "state": "waiting", "created": now, "next_try": now, "attempts": 0,
    } | members  # fmt: skip
    row["content"] = content() | row.get("content", {})
    with database.write() as db:
        return db.scalars(insert(notification).values(row).returning(notification.c.id)).one()


def content(**members: Any) -> dict[str, Any]:
    """What a problem tells."""
    return {
        "host": "web1", "groups": ["web"], "probe": "root disk", "sensor": "disk", "arguments": ["percent", "/"],
        "state": "critical", "value": 2.8, "warning": "20:", "critical": "10:", "since": 1795350600.0,
        "message": "1.1 GiB of 40 GiB are left", "incident": "web1/root disk/1795350600", "what": "problem",
        "language": "en",
    } | members  # fmt: skip


def secret_file(directory: Path) -> str:
    """A file that only we can read."""
    path = directory / "secret"
    path.write_text(SECRET)
    path.chmod(0o600)
    return str(path)


def notifications(database: Database) -> list[Any]:
    """All rows, by id."""
    with database.read() as db:
        return list(db.execute(select(notification).order_by(notification.c.id)))


def states(database: Database) -> list[str]:
    """Of all rows."""
    return [row.state for row in notifications(database)]


def add_host(database: Database, name: str = "web1", groups: tuple[str, ...] = ()) -> int:
    """A host."""
    with database.write() as db:
        values = {
            "name": name, "address": "192.0.2.1", "port": 8080, "sources": [], "groups": list(groups), "tls": False,
            "failures": 0, "retry_at": 0.0,
        }  # fmt: skip
        return db.scalars(insert(host).values(values).returning(host.c.id)).one()


def add_probe(database: Database, host_id: int, probe: str = "root disk", **members: Any) -> int:
    """A probe of a host."""
    with database.write() as db:
        values = {
            "host_id": host_id, "probe": probe, "active": True, "sensor": "disk", "arguments": [], "runs": 1, "margin": 0.0,
            "nagios": False, "every": 300.0, "phase": 0.0,
        } | members  # fmt: skip
        return db.scalars(insert(host_probe).values(values).returning(host_probe.c.id)).one()


def add_incident(database: Database, host_id: int, probe_id: int | None = None, **members: Any) -> int:
    """An incident that is open since a minute."""
    with database.write() as db:
        values = {
            "host_id": host_id, "host_probe_id": probe_id, "state": "critical", "worst": "critical", "message": "it is bad",
            "opened": time.time() - 60, "flapping": False,
        } | members  # fmt: skip
        return db.scalars(insert(incident).values(values).returning(incident.c.id)).one()


def add_readings(database: Database, host_id: int, probe_id: int, values: dict[float, float | None]) -> None:
    """Readings by the time at which they were finished."""
    rows = [
        {
            "ticket_id": probe_id * 1_000_000 + number, "finished": finished, "host_id": host_id, "host_probe_id": probe_id,
            "received": finished, "ret_code": 0, "data": str(value), "value": value,
        }
        for number, (finished, value) in enumerate(values.items())
    ]  # fmt: skip
    with database.write() as db:
        db.execute(insert(reading), rows)
