"""The job that closes what is not watched any more: incidents of probes that were removed. Nobody is told."""

from __future__ import annotations

from typing import Any

from sqlalchemy import null, or_, select, update

from monagent.server.alerts.ledger import Ledger
from monagent.server.database import Database
from monagent.server.schema import host_probe
from monagent.server.schema import incident as table

EVERY_SECONDS = 15.0
TOGETHER, ROUNDS = 100, 1_000
"""Probes in one transaction; transactions in one run."""


class Removing:
    """Any number of processes may run it."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def run(self, now: float) -> None:
        """Look once. `now`: seconds since the epoch."""
        for _ in range(ROUNDS):
            with self._database.read() as db:
                ids = list(db.scalars(_GONE))
            if not ids or not self._remove(ids, now):
                return

    def _remove(self, ids: list[int], now: float) -> bool:
        with self._database.write() as db:
            statement = _UNWATCHED.where(_p.id.in_(ids)).order_by(_p.id)
            rows = db.execute(self._database.locking(statement, skip=True)).all()
            if not rows:
                return False
            keys = {(row.host_id, row.id): bool(row.active) for row in rows}
            # If it comes back, nothing is remembered that nobody knows of.
            forgotten = update(host_probe).where(_p.id.in_([row.id for row in rows]))
            db.execute(forgotten.values(watch=null(), stale=None))
            ledger = Ledger(db, now, keys)
            for key, active in keys.items():
                ledger.remove(key, "it does not run by a schedule any more" if active else "the probe was removed")
            ledger.finish()
        return True


_p = host_probe.c
_is_open = table.c.closed.is_(None)
_is_unwatched = or_(~_p.active, _p.stale.is_not(None) & _p.every.is_(None) & _p.cron.is_(None))
_UNWATCHED: Any = select(_p.id, _p.host_id, _p.active).where(_is_unwatched)
_GONE: Any = (
    select(_p.id)
    .join_from(host_probe, table, (table.c.host_probe_id == _p.id) & _is_open)
    .where(_is_unwatched)
    .order_by(_p.id)
    .limit(TOGETHER)
)
