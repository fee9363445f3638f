"""Have hosts and probes to oneself, so that nobody else changes their incidents meanwhile."""

from __future__ import annotations

from collections.abc import Collection

from sqlalchemy import Connection, select

from monagent.server.alerts.subjects import Key, chunks
from monagent.server.database import Database
from monagent.server.schema import host, host_probe


def claim(db: Connection, database: Database, keys: Collection[Key]) -> set[Key]:
    """Lock their rows until the transaction ends; those that others have are left to the next run.

    Args:
        db: a transaction that writes.
        database: where that is.
        keys: of the subjects.

    Returns:
        The keys of those that were had.
    """
    claimed: set[Key] = set()
    probe, of_host = host_probe.c, host.c
    for chunk in chunks(sorted(number for _, number in keys if number is not None)):
        statement = select(probe.host_id, probe.id).where(probe.id.in_(chunk)).order_by(probe.id)
        claimed |= {(row[0], row[1]) for row in db.execute(database.locking(statement, skip=True))}
    for chunk in chunks(sorted(number for number, probe in keys if probe is None)):
        statement = select(of_host.id).where(of_host.id.in_(chunk)).order_by(of_host.id)
        claimed |= {(number, None) for number in db.scalars(database.locking(statement, skip=True))}
    return claimed
