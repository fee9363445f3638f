"""The tables of a server for a fleet: definitions, schedules, sums, alerts, packages, roll-outs. What was there is taken along."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

OLD = ("host", "ticket", "reading", "outcome")
ROWS = 1_000
WEEK = 7 * 86_400.0


def upgrade() -> None:
    """Make the new tables, copy, drop the old ones."""
    for name in OLD:
        op.rename_table(name, f"old_{name}")
    _create()
    if op.get_bind().dialect.name == "postgresql":
        op.execute("create table reading_other partition of reading default")
        for table in ("host", "ticket"):  # the copies keep their numbers
            op.execute(
                f"select setval(pg_get_serial_sequence('{table}', 'id'), (select coalesce(max(id), 0) + 1 from old_{table}), false)"
            )
    _copy()
    for name in reversed(OLD):
        op.drop_table(f"old_{name}")


def _copy() -> None:
    db = op.get_bind()
    tables = sa.MetaData()
    tables.reflect(db, only=["definition", *OLD, *(f"old_{name}" for name in OLD)])
    for name, rows in (
        ("definition", _definitions),
        ("host", _hosts),
        ("ticket", _tickets),
        ("reading", _readings),
        ("outcome", _outcomes),
    ):
        batch: list[dict[str, Any]] = []
        for row in rows(db, tables):
            batch.append(row)
            if len(batch) == ROWS:
                db.execute(sa.insert(tables.tables[name]), batch)
                batch = []
        if batch:
            db.execute(sa.insert(tables.tables[name]), batch)


def _rows(db: sa.Connection, table: sa.Table) -> Iterator[Any]:
    last = 0
    while found := db.execute(sa.select(table).where(table.c.id > last).order_by(table.c.id).limit(ROWS)).all():
        yield from found
        last = found[-1].id


def _definitions(db: sa.Connection, tables: sa.MetaData) -> Iterator[dict[str, Any]]:
    for row in _rows(db, tables.tables["old_host"]):
        content = {"address": row.address}
        content |= {"port": row.port} if row.port != 8080 else {}
        content |= {"from": row.sources} if row.sources else {}
        yield {"kind": "host", "name": row.name, "content": content}


def _hosts(db: sa.Connection, tables: sa.MetaData) -> Iterator[dict[str, Any]]:
    for row in _rows(db, tables.tables["old_host"]):
        yield {
            "id": row.id,
            "name": row.name,
            "address": row.address,
            "port": row.port,
            "sources": row.sources,
            "groups": [],
            "tls": False,
            "failures": 0,
            "retry_at": 0.0,
        }


def _tickets(db: sa.Connection, tables: sa.MetaData) -> Iterator[dict[str, Any]]:
    readings, outcomes = tables.tables["old_reading"], tables.tables["old_outcome"]
    for row in _rows(db, tables.tables["old_ticket"]):
        issued = _seconds(row.issued) or 0.0
        finished = None
        if row.state == "done":
            for table in (readings, outcomes):
                when = db.execute(sa.select(table.c.finished).where(table.c.ticket_id == row.id)).scalar()
                finished = finished if when is None else _seconds(when)
        yield {
            "id": row.id,
            "ticket": row.ticket,
            "host_id": row.host_id,
            "method": row.method,
            "arguments": row.arguments,
            "state": row.state,
            "issued": issued,
            "expires": issued + WEEK,
            "send_until": issued,
            "sent": _seconds(row.acknowledged),
            "acknowledged": _seconds(row.acknowledged),
            "ended": _seconds(row.done) or (issued if row.state == "refused" else None),
            "finished": finished,
            "reason": row.refusal,
            "fingerprint": row.fingerprint,
        }


def _readings(db: sa.Connection, tables: sa.MetaData) -> Iterator[dict[str, Any]]:
    for row in _rows(db, tables.tables["old_reading"]):
        finished = _seconds(row.finished)
        yield {
            "ticket_id": row.ticket_id,
            "finished": finished,
            "host_id": row.host_id,
            "received": finished,
            "ret_code": row.ret_code,
            "data": row.data,
            "value": None if row.data == "nan" else float(row.data),
            "error": row.error or None,
            "stderr": row.stderr or None,
            "duration": row.duration,
        }


def _outcomes(db: sa.Connection, tables: sa.MetaData) -> Iterator[dict[str, Any]]:
    owner = tables.tables["old_ticket"]
    for row in _rows(db, tables.tables["old_outcome"]):
        host_id = db.execute(sa.select(owner.c.host_id).where(owner.c.id == row.ticket_id)).scalar()
        yield {
            "ticket_id": row.ticket_id,
            "host_id": host_id,
            "content": row.content,
            "finished": _seconds(row.finished),
        }


def _seconds(when: datetime | None) -> float | None:
    return None if when is None else when.replace(tzinfo=when.tzinfo or UTC).timestamp()


def _create() -> None:
    from monagent.server import schema

    schema.metadata.create_all(op.get_bind())
