"""The job that tells of what was held back by a silence or a maintenance, once that is over and it is still bad."""

from __future__ import annotations

from sqlalchemy import select

from monagent.server.alerts.claiming import claim
from monagent.server.alerts.ledger import Ledger
from monagent.server.alerts.subjects import Key
from monagent.server.database import Database
from monagent.server.schema import incident as table

EVERY_SECONDS = 15.0
TOGETHER, ROUNDS = 100, 1_000
"""Incidents in one transaction; transactions in one run."""


class Releasing:
    """Any number of processes may run it."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def run(self, now: float) -> None:
        """Look once. `now`: seconds since the epoch."""
        after = 0
        for _ in range(ROUNDS):
            withheld = self._withheld(after)
            if not withheld:
                return
            after = max(withheld)
            with self._database.write() as db:
                keys = claim(db, self._database, set(withheld.values()))
                ledger = Ledger(db, now, keys)
                for key in keys:
                    ledger.release(key)
                ledger.finish()

    def _withheld(self, after: int) -> dict[int, Key]:
        c = table.c
        statement = (
            select(c.id, c.host_id, c.host_probe_id)
            .where(c.closed.is_(None), c.withheld.is_not(None), c.id > after)
            .order_by(c.id)
            .limit(TOGETHER)
        )
        with self._database.read() as db:
            return {row.id: (row.host_id, row.host_probe_id) for row in db.execute(statement)}
