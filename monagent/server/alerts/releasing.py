"""The job that holds back what waits to be told when a silence or a maintenance begins, and tells of it once that is over."""

from __future__ import annotations

from typing import Any

from sqlalchemy import exists, or_, select

from monagent.server.alerts import withholding
from monagent.server.alerts.carriers.parcels import WAITING
from monagent.server.alerts.ledger import Ledger
from monagent.server.alerts.subjects import CHUNK, Key, chunks, claim, subjects
from monagent.server.database import Database
from monagent.server.schema import incident as table
from monagent.server.schema import notification

EVERY_SECONDS = 15.0
TOGETHER = 100
"""Incidents in one transaction."""
PAGES = 1_000
"""Of incidents, in one run."""


class Releasing:
    """Any number of processes may run it."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def run(self, now: float) -> None:
        """Look once. `now`: seconds since the epoch."""
        for together in chunks(sorted(self._changed(now), key=lambda key: (key[0], key[1] or 0)), TOGETHER):
            with self._database.write() as db:
                keys = claim(db, self._database, together)
                ledger = Ledger(db, now, keys)
                for key in keys:
                    ledger.reconsider(key)
                ledger.finish()

    def _changed(self, now: float) -> list[Key]:
        """Incidents whose hold has begun, ended or changed; nothing is locked to find them."""
        found: list[Key] = []
        after = 0
        with self._database.read() as db:
            holds = withholding.load(db, now)
            for _ in range(PAGES):
                rows = db.execute(_TO_LOOK_AT.where(table.c.id > after).order_by(table.c.id).limit(CHUNK)).all()
                known = {(row.host_id, row.host_probe_id): row.withheld for row in rows}
                about = subjects(db, known)
                found += [key for key, subject in about.items() if withholding.holding(holds, subject) != known[key]]
                if len(rows) < CHUNK:
                    break
                after = rows[-1].id
        return found


_waits = exists().where(
    notification.c.incident_id == table.c.id, notification.c.state == WAITING, notification.c.attempts == 0
)
_TO_LOOK_AT: Any = select(table.c.id, table.c.host_id, table.c.host_probe_id, table.c.withheld).where(
    table.c.closed.is_(None), or_(table.c.withheld.is_not(None), _waits)
)
