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
    op.create_table(
        "definition",
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("name", sa.String(length=330), nullable=False),
        sa.Column("content", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("kind", "name"),
    )
    op.create_table(
        "host",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(length=255), nullable=False),
        sa.Column("address", sa.String(length=255), nullable=False),
        sa.Column("port", sa.Integer(), nullable=False),
        sa.Column("sources", sa.JSON(), nullable=False),
        sa.Column("groups", sa.JSON(), nullable=False),
        sa.Column("url", sa.Text(), nullable=True),
        sa.Column("tls", sa.Boolean(), nullable=False),
        sa.Column("seen", sa.Double(), nullable=True),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("retry_at", sa.Double(), nullable=False),
        sa.Column("trouble", sa.Text(), nullable=True),
        sa.Column("silent", sa.Double(), nullable=True),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("name"),
    )
    op.create_table(
        "job",
        sa.Column("name", sa.String(length=255), nullable=False),
        sa.Column("due", sa.Double(), nullable=False),
        sa.Column("ran", sa.Double(), nullable=True),
        sa.Column("trouble", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("name"),
    )
    op.create_table(
        "outcome",
        sa.Column(
            "ticket_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=False, nullable=False
        ),
        sa.Column("host_id", sa.Integer(), nullable=False),
        sa.Column("content", sa.JSON(), nullable=False),
        sa.Column("finished", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("ticket_id"),
    )
    op.create_index("ix_outcome_host_id", "outcome", ["host_id"], unique=False)
    op.create_table(
        "package",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("sensor", sa.String(length=64), nullable=False),
        sa.Column("version", sa.String(length=64), nullable=False),
        sa.Column("content", sa.LargeBinary(), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("digest", sa.String(length=80), nullable=False),
        sa.Column("signed_by", sa.String(length=64), nullable=True),
        sa.Column("uploaded", sa.Double(), nullable=False),
        sa.Column("note", sa.Text(), nullable=False),
        sa.Column("current", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("sensor", "version"),
    )
    op.create_table(
        "reading",
        sa.Column(
            "ticket_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=False, nullable=False
        ),
        sa.Column("finished", sa.Double(), nullable=False),
        sa.Column("host_id", sa.Integer(), nullable=False),
        sa.Column("host_probe_id", sa.Integer(), nullable=True),
        sa.Column("received", sa.Double(), nullable=False),
        sa.Column("ret_code", sa.Integer(), nullable=False),
        sa.Column("data", sa.Text(), nullable=False),
        sa.Column("value", sa.Double(), nullable=True),
        sa.Column("error", sa.String(length=32), nullable=True),
        sa.Column("stderr", sa.Text(), nullable=True),
        sa.Column("duration", sa.Double(), nullable=True),
        sa.Column("metrics", sa.JSON(none_as_null=True), nullable=True),
        sa.PrimaryKeyConstraint("ticket_id", "finished"),
        postgresql_partition_by="RANGE (finished)",
    )
    if op.get_bind().dialect.name == "sqlite":
        op.create_index("reading_finished", "reading", ["finished"], unique=False)
    op.create_index("reading_series", "reading", ["host_probe_id", "finished"], unique=False)
    op.create_table(
        "rollup_1h",
        sa.Column("host_probe_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("start", sa.Double(), nullable=False),
        sa.Column("n", sa.Integer(), nullable=False),
        sa.Column("sum", sa.Double(), nullable=False),
        sa.Column("min", sa.Double(), nullable=True),
        sa.Column("max", sa.Double(), nullable=True),
        sa.Column("missing", sa.Integer(), nullable=False),
        sa.Column("warnings", sa.Integer(), nullable=False),
        sa.Column("criticals", sa.Integer(), nullable=False),
        sa.Column("worst", sa.SmallInteger(), nullable=False),
        sa.PrimaryKeyConstraint("host_probe_id", "start"),
    )
    op.create_index("rollup_1h_start", "rollup_1h", ["start"], unique=False)
    op.create_table(
        "rollup_5m",
        sa.Column("host_probe_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("start", sa.Double(), nullable=False),
        sa.Column("n", sa.Integer(), nullable=False),
        sa.Column("sum", sa.Double(), nullable=False),
        sa.Column("min", sa.Double(), nullable=True),
        sa.Column("max", sa.Double(), nullable=True),
        sa.Column("missing", sa.Integer(), nullable=False),
        sa.Column("warnings", sa.Integer(), nullable=False),
        sa.Column("criticals", sa.Integer(), nullable=False),
        sa.Column("worst", sa.SmallInteger(), nullable=False),
        sa.PrimaryKeyConstraint("host_probe_id", "start"),
    )
    op.create_index("rollup_5m_start", "rollup_5m", ["start"], unique=False)
    op.create_table(
        "silence",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("host", sa.String(length=255), nullable=True),
        sa.Column("group", sa.String(length=255), nullable=True),
        sa.Column("probe", sa.String(length=255), nullable=True),
        sa.Column("begins", sa.Double(), nullable=False),
        sa.Column("ends", sa.Double(), nullable=False),
        sa.Column("by", sa.String(length=255), nullable=False),
        sa.Column("note", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_table(
        "ticket",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("ticket", sa.String(length=128), nullable=False),
        sa.Column("host_id", sa.Integer(), nullable=False),
        sa.Column("host_probe_id", sa.Integer(), nullable=True),
        sa.Column("method", sa.String(length=64), nullable=False),
        sa.Column("arguments", sa.JSON(), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("due", sa.Double(), nullable=True),
        sa.Column("issued", sa.Double(), nullable=False),
        sa.Column("expires", sa.Double(), nullable=False),
        sa.Column("send_at", sa.Double(), nullable=True),
        sa.Column("send_until", sa.Double(), nullable=False),
        sa.Column("sent", sa.Double(), nullable=True),
        sa.Column("acknowledged", sa.Double(), nullable=True),
        sa.Column("ended", sa.Double(), nullable=True),
        sa.Column("finished", sa.Double(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("fingerprint", sa.LargeBinary(), nullable=True),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("ticket"),
    )
    op.create_index("ticket_host", "ticket", ["host_id", "issued"], unique=False)
    op.create_index("ticket_issued", "ticket", ["issued"], unique=False)
    op.create_index(
        "ticket_open",
        "ticket",
        ["expires"],
        unique=False,
        postgresql_where=sa.text("ended IS NULL"),
        sqlite_where=sa.text("ended IS NULL"),
    )
    op.create_index(
        "ticket_send",
        "ticket",
        ["send_at"],
        unique=False,
        postgresql_where=sa.text("send_at IS NOT NULL"),
        sqlite_where=sa.text("send_at IS NOT NULL"),
    )
    op.create_table(
        "token",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(length=255), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("created", sa.Double(), nullable=False),
        sa.Column("used", sa.Double(), nullable=True),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("digest"),
        sa.UniqueConstraint("name"),
    )
    op.create_table(
        "vigil",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("began", sa.Double(), nullable=False),
        sa.Column("looked", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_table(
        "host_probe",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("host_id", sa.Integer(), nullable=False),
        sa.Column("probe", sa.String(length=255), nullable=False),
        sa.Column("active", sa.Boolean(), nullable=False),
        sa.Column("sensor", sa.String(length=64), nullable=False),
        sa.Column("arguments", sa.JSON(), nullable=False),
        sa.Column("warning", sa.String(length=255), nullable=True),
        sa.Column("critical", sa.String(length=255), nullable=True),
        sa.Column("runs", sa.Integer(), nullable=False),
        sa.Column("margin", sa.Double(), nullable=False),
        sa.Column("nagios", sa.Boolean(), nullable=False),
        sa.Column("every", sa.Double(), nullable=True),
        sa.Column("cron", sa.String(length=255), nullable=True),
        sa.Column("timezone", sa.String(length=64), nullable=True),
        sa.Column("phase", sa.Double(), nullable=False),
        sa.Column("due", sa.Double(), nullable=True),
        sa.Column("finished", sa.Double(), nullable=True),
        sa.Column("received", sa.Double(), nullable=True),
        sa.Column("ret_code", sa.Integer(), nullable=True),
        sa.Column("data", sa.Text(), nullable=True),
        sa.Column("value", sa.Double(), nullable=True),
        sa.Column("error", sa.String(length=32), nullable=True),
        sa.Column("state", sa.String(length=16), nullable=True),
        sa.Column("since", sa.Double(), nullable=True),
        sa.Column("stale", sa.Double(), nullable=True),
        sa.Column("watch", sa.JSON(none_as_null=True), nullable=True),
        sa.ForeignKeyConstraint(["host_id"], ["host.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("host_id", "probe"),
    )
    op.create_index("host_probe_due", "host_probe", ["due"], unique=False)
    op.create_table(
        "inventory_report",
        sa.Column("host_id", sa.Integer(), nullable=False),
        sa.Column("reported", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(["host_id"], ["host.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("host_id"),
    )
    op.create_table(
        "inventory",
        sa.Column("host_id", sa.Integer(), nullable=False),
        sa.Column("sensor", sa.String(length=64), nullable=False),
        sa.Column("package_id", sa.Integer(), nullable=True),
        sa.Column("version", sa.String(length=80), nullable=False),
        sa.Column("digest", sa.String(length=80), nullable=False),
        sa.Column("changed", sa.Boolean(), nullable=False),
        sa.Column("help", sa.Text(), nullable=True),
        sa.Column("reported", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(["host_id"], ["host.id"], ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["package_id"], ["package.id"], ondelete="SET NULL"),
        sa.PrimaryKeyConstraint("host_id", "sensor"),
    )
    op.create_table(
        "move",
        sa.Column("host_id", sa.Integer(), nullable=False),
        sa.Column("url", sa.Text(), nullable=False),
        sa.Column("ticket", sa.String(length=128), nullable=True),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("started", sa.Double(), nullable=False),
        sa.Column("asked", sa.Double(), nullable=True),
        sa.Column("ended", sa.Double(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(["host_id"], ["host.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("host_id"),
    )
    op.create_table(
        "rollout",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("package_id", sa.Integer(), nullable=False),
        sa.Column("previous_id", sa.Integer(), nullable=True),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("stage", sa.Integer(), nullable=False),
        sa.Column("stages", sa.JSON(), nullable=False),
        sa.Column("patience", sa.Double(), nullable=False),
        sa.Column("restore", sa.Boolean(), nullable=False),
        sa.Column("push", sa.Boolean(), nullable=False),
        sa.Column("started", sa.Double(), nullable=False),
        sa.Column("ended", sa.Double(), nullable=True),
        sa.Column("by", sa.String(length=255), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(["package_id"], ["package.id"], ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["previous_id"], ["package.id"], ondelete="SET NULL"),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_table(
        "incident",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("host_id", sa.Integer(), nullable=False),
        sa.Column("host_probe_id", sa.Integer(), nullable=True),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("worst", sa.String(length=16), nullable=False),
        sa.Column("message", sa.Text(), nullable=False),
        sa.Column("value", sa.Double(), nullable=True),
        sa.Column("opened", sa.Double(), nullable=False),
        sa.Column("closed", sa.Double(), nullable=True),
        sa.Column("flapping", sa.Boolean(), nullable=False),
        sa.Column("told", sa.Double(), nullable=True),
        sa.Column("withheld", sa.Text(), nullable=True),
        sa.Column("acknowledged", sa.Double(), nullable=True),
        sa.Column("acknowledged_by", sa.String(length=255), nullable=True),
        sa.Column("note", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(["host_id"], ["host.id"], ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["host_probe_id"], ["host_probe.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index(
        "incident_of_host",
        "incident",
        ["host_id"],
        unique=True,
        postgresql_where=sa.text("closed IS NULL AND host_probe_id IS NULL"),
        sqlite_where=sa.text("closed IS NULL AND host_probe_id IS NULL"),
    )
    op.create_index(
        "incident_of_probe",
        "incident",
        ["host_probe_id"],
        unique=True,
        postgresql_where=sa.text("closed IS NULL"),
        sqlite_where=sa.text("closed IS NULL"),
    )
    op.create_index(
        "incident_open",
        "incident",
        ["opened"],
        unique=False,
        postgresql_where=sa.text("closed IS NULL"),
        sqlite_where=sa.text("closed IS NULL"),
    )
    op.create_index("ix_incident_host_id", "incident", ["host_id"], unique=False)
    op.create_index("ix_incident_host_probe_id", "incident", ["host_probe_id"], unique=False)
    op.create_table(
        "rollout_host",
        sa.Column("rollout_id", sa.Integer(), nullable=False),
        sa.Column("host_id", sa.Integer(), nullable=False),
        sa.Column("stage", sa.Integer(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("ticket", sa.String(length=128), nullable=True),
        sa.Column("restore_ticket", sa.String(length=128), nullable=True),
        sa.Column("changed", sa.Double(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(["host_id"], ["host.id"], ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["rollout_id"], ["rollout.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("rollout_id", "host_id"),
    )
    op.create_table(
        "incident_event",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("incident_id", sa.Integer(), nullable=False),
        sa.Column("at", sa.Double(), nullable=False),
        sa.Column("what", sa.String(length=16), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["incident_id"], ["incident.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_incident_event_incident_id", "incident_event", ["incident_id"], unique=False)
    op.create_table(
        "notification",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("incident_id", sa.Integer(), nullable=True),
        sa.Column("rule", sa.String(length=255), nullable=False),
        sa.Column("channel", sa.String(length=16), nullable=False),
        sa.Column("target", sa.Text(), nullable=False),
        sa.Column("what", sa.String(length=16), nullable=False),
        sa.Column("content", sa.JSON(), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("created", sa.Double(), nullable=False),
        sa.Column("next_try", sa.Double(), nullable=True),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("sent", sa.Double(), nullable=True),
        sa.Column("trouble", sa.Text(), nullable=True),
        sa.Column("batch", sa.String(length=32), nullable=True),
        sa.Column("progress", sa.JSON(), nullable=True),
        sa.ForeignKeyConstraint(["incident_id"], ["incident.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_notification_batch", "notification", ["batch"], unique=False)
    op.create_index("ix_notification_incident_id", "notification", ["incident_id"], unique=False)
    op.create_index(
        "notification_waiting",
        "notification",
        ["next_try"],
        unique=False,
        postgresql_where=sa.text("state = 'waiting'"),
        sqlite_where=sa.text("state = 'waiting'"),
    )
