"""What alembic runs: the migrations, in the transaction that it is given (`migrate.prepare`)."""

from __future__ import annotations

from alembic import context

context.configure(connection=context.config.attributes["connection"], target_metadata=None)
context.run_migrations()
