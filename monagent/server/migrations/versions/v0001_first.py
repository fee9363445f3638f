"""The first tables: hosts, tickets, readings and outcomes. Databases made before there were migrations are like this."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make them."""
    op.create_table(
        "host",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("name", sa.String(255), nullable=False, unique=True),
        sa.Column("address", sa.String(255), nullable=False),
        sa.Column("port", sa.Integer, nullable=False),
        sa.Column("sources", sa.JSON, nullable=False),
    )
    op.create_table(
        "ticket",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("ticket", sa.String(128), nullable=False, unique=True),
        sa.Column("host_id", sa.Integer, sa.ForeignKey("host.id", ondelete="CASCADE"), nullable=False, index=True),
        sa.Column("method", sa.String(64), nullable=False),
        sa.Column("arguments", sa.JSON, nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("issued", sa.DateTime(timezone=True), nullable=False),
        sa.Column("acknowledged", sa.DateTime(timezone=True)),
        sa.Column("done", sa.DateTime(timezone=True)),
        sa.Column("refusal", sa.Text),
        sa.Column("fingerprint", sa.LargeBinary),
    )
    op.create_table(
        "reading",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("ticket_id", sa.Integer, sa.ForeignKey("ticket.id", ondelete="CASCADE"), nullable=False, unique=True),
        sa.Column("host_id", sa.Integer, sa.ForeignKey("host.id", ondelete="CASCADE"), nullable=False),
        sa.Column("sensor", sa.String(64), nullable=False),
        sa.Column("arguments", sa.JSON, nullable=False),
        sa.Column("ret_code", sa.Integer, nullable=False),
        sa.Column("data", sa.Text, nullable=False),
        sa.Column("error", sa.String(32)),
        sa.Column("stderr", sa.Text),
        sa.Column("duration", sa.Float),
        sa.Column("finished", sa.DateTime(timezone=True), nullable=False),
        sa.Index("reading_latest", "host_id", "sensor", "finished"),
    )
    op.create_table(
        "outcome",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("ticket_id", sa.Integer, sa.ForeignKey("ticket.id", ondelete="CASCADE"), nullable=False, unique=True),
        sa.Column("content", sa.JSON, nullable=False),
        sa.Column("finished", sa.DateTime(timezone=True), nullable=False),
    )
