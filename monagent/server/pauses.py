"""Check nothing on hosts that are on their way to another server, and check again on those that are here.

What is paused is not due at any time. Its rows are locked before they are changed, in the order in which all do so.
"""

from __future__ import annotations

import random
from collections.abc import Iterable

from sqlalchemy import Connection, bindparam, select, update

from monagent.server import schema
from monagent.server.database import Database
from monagent.server.site.hosts import chunks, keep_from_others

SPREAD_SECONDS = 30.0
"""Hosts that are here again are not all checked at once."""

_probe = schema.host_probe.c
_PAUSED = (_probe.active, _probe.every.is_not(None) | _probe.cron.is_not(None), _probe.due.is_(None))
_AGAIN = update(schema.host_probe).where(_probe.id == bindparam("of"), *_PAUSED).values(due=bindparam("at"))


def pause(db: Connection, database: Database, host_id: int) -> None:
    """Who is on his way to another server hands in there, where our tickets are worth nothing."""
    keep_from_others(database, db, select(_probe.id).where(_probe.host_id == host_id).order_by(_probe.id))
    db.execute(update(schema.host_probe).where(_probe.host_id == host_id, _probe.due.is_not(None)).values(due=None))


def resume(db: Connection, database: Database, host_ids: Iterable[int], now: float) -> None:
    """They are here: what has a schedule is due soon, all of one host at the same time."""
    dues = {host_id: now + random.uniform(0.0, SPREAD_SECONDS) for host_id in host_ids}
    rows = []
    for chunk in chunks(dues):
        paused = select(_probe.id, _probe.host_id).where(_probe.host_id.in_(chunk), *_PAUSED)
        rows += [{"of": row.id, "at": dues[row.host_id]} for row in db.execute(paused)]
    rows.sort(key=lambda row: row["of"])
    for chunk in chunks(row["of"] for row in rows):
        keep_from_others(database, db, select(_probe.id).where(_probe.id.in_(chunk)).order_by(_probe.id))
    if rows:
        db.execute(_AGAIN, rows)
