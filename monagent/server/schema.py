"""The server's tables (SQLAlchemy Core; SQLite here, nothing that PostgreSQL would not take). All times are UTC."""

from __future__ import annotations

from sqlalchemy import (
    JSON,
    Column,
    DateTime,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
)

metadata = MetaData()

host = Table(
    "host",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("name", String(255), nullable=False, unique=True),
    Column("address", String(255), nullable=False),
    Column("port", Integer, nullable=False),
    # Networks that its results may come from; empty: the addresses that `address` resolves to.
    Column("sources", JSON, nullable=False),
)

ticket = Table(
    "ticket",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("ticket", String(128), nullable=False, unique=True),
    Column("host_id", ForeignKey("host.id", ondelete="CASCADE"), nullable=False, index=True),
    Column("method", String(64), nullable=False),
    Column("arguments", JSON, nullable=False),
    # issued -> acknowledged -> done, or issued -> refused
    Column("state", String(16), nullable=False),
    Column("issued", DateTime(timezone=True), nullable=False),
    Column("acknowledged", DateTime(timezone=True)),
    Column("done", DateTime(timezone=True)),
    Column("refusal", Text),
    # Of the result that was taken: a repeat of the same one is answered OK, another one is not.
    Column("fingerprint", LargeBinary),
)

reading = Table(
    "reading",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("ticket_id", ForeignKey("ticket.id", ondelete="CASCADE"), nullable=False, unique=True),
    Column("host_id", ForeignKey("host.id", ondelete="CASCADE"), nullable=False),
    Column("sensor", String(64), nullable=False),
    Column("arguments", JSON, nullable=False),
    Column("ret_code", Integer, nullable=False),
    Column("data", Text, nullable=False),
    Column("error", String(32)),
    Column("stderr", Text),
    Column("duration", Float),
    Column("finished", DateTime(timezone=True), nullable=False),
    Index("reading_latest", "host_id", "sensor", "finished"),
)

outcome = Table(
    "outcome",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("ticket_id", ForeignKey("ticket.id", ondelete="CASCADE"), nullable=False, unique=True),
    Column("content", JSON, nullable=False),
    Column("finished", DateTime(timezone=True), nullable=False),
)
