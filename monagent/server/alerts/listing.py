"""Incidents as people look at them: with the names of what they are about, and their stories."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, Select, select

from monagent.server.alerts.carriers.requests import shown_target
from monagent.server.schema import host, host_probe, incident_event, notification
from monagent.server.schema import incident as table

LIMIT = 1_000

_COLUMNS = (
    table.c.id, host.c.name.label("host"), host_probe.c.probe, table.c.state, table.c.worst, table.c.message,
    table.c.value, table.c.opened, table.c.closed, table.c.flapping, table.c.told, table.c.withheld,
    table.c.acknowledged, table.c.acknowledged_by, table.c.note,
)  # fmt: skip


def listed(db: Connection, *, closed: bool = False, of: str | None = None, limit: int = LIMIT) -> list[dict[str, Any]]:
    """Incidents, the newest first.

    Args:
        db: a transaction.
        closed: those that are over, too.
        of: of this host alone.
        limit: how many at most.
    """
    statement = _select().order_by(table.c.opened.desc(), table.c.id.desc()).limit(limit)
    if not closed:
        statement = statement.where(table.c.closed.is_(None))
    if of is not None:
        statement = statement.where(host.c.name == of)
    return [dict(row) for row in db.execute(statement).mappings()]


def shown(db: Connection, number: int) -> dict[str, Any] | None:
    """One of them, with its `events` and the `notifications` that it made; None: there is none of that number."""
    row = db.execute(_select().where(table.c.id == number)).mappings().one_or_none()
    if row is None:
        return None
    e, n = incident_event.c, notification.c
    events = select(e.at, e.what, e.state, e.text).where(e.incident_id == number).order_by(e.id)
    told = select(n.id, n.created, n.what, n.rule, n.channel, n.target, n.state, n.sent, n.next_try, n.trouble)
    told = told.where(n.incident_id == number).order_by(n.id)
    return {
        **row,
        "events": [dict(one) for one in db.execute(events).mappings()],
        "notifications": [
            {**one, "target": shown_target(one["channel"], one["target"])} for one in db.execute(told).mappings()
        ],
    }


def _select() -> Select[Any]:
    return (
        select(*_COLUMNS)
        .join_from(table, host, table.c.host_id == host.c.id)
        .outerjoin(host_probe, table.c.host_probe_id == host_probe.c.id)
    )
