"""Let go of what is older than it has to be kept."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Table, and_, delete, exists, or_, select, tuple_, update

from monagent.server import partitions, schema
from monagent.server.database import Database
from monagent.server.tickets import EXPIRED, OPEN

log = logging.getLogger(__name__)

JOB = "retention"
ROWS = 5_000
"""In one transaction: nobody waits for long."""
ROUNDS = 400
DAY = 86_400.0


@dataclass(frozen=True, slots=True)
class Keeping:
    """How long things are kept, in seconds.

    Attributes:
        readings: single readings.
        fine: sums of five minutes.
        coarse: sums of an hour, and incidents that are over.
        tickets: what became of tickets, and outcomes; as long as agents may hand in again at least.
    """

    readings: float = 30 * DAY
    fine: float = 90 * DAY
    coarse: float = 1825 * DAY
    tickets: float = 14 * DAY


class Retention:
    """Deletes in small steps. `pause` is called between them, and ends the work by returning True."""

    def __init__(self, database: Database, keeping: Keeping, pause: Callable[[], bool] = lambda: False) -> None:
        self._database = database
        self._keeping = keeping
        self._pause = pause

    def run(self, now: float) -> dict[str, int]:
        """Delete what is too old; how many rows (partitions, where there are some) of each kind."""
        keeping = self._keeping
        if not self._is_plausible(now):
            log.warning(
                "nothing is deleted: the clock is ahead of what was noted last; if it still is in an hour, it is believed"
            )
            return {}
        done = {}
        if self._database.is_postgresql:
            partitions.keep_ready(self._database, now)
            done["partitions"] = partitions.drop_before(self._database, now - keeping.readings)
        ticket, incident = schema.ticket.c, schema.incident.c
        steps: list[tuple[Table, Any]] = [
            (schema.reading, schema.reading.c.finished < now - keeping.readings),
            # Of an agent whose clock was ahead.
            (
                schema.reading,
                and_(schema.reading.c.finished > now + DAY, schema.reading.c.received < now - keeping.readings),
            ),
            (schema.rollup_5m, schema.rollup_5m.c.start < now - keeping.fine),
            (schema.rollup_1h, schema.rollup_1h.c.start < now - keeping.coarse),
            (schema.outcome, self._orphaned_outcome(now)),
            (schema.ticket, and_(ticket.issued < now - keeping.tickets, ticket.expires < now)),
            (schema.incident, incident.closed < now - keeping.coarse),
            (schema.notification, self._settled_notification(now)),
            (schema.silence, schema.silence.c.ends < now - keeping.coarse),
            (schema.host_probe, self._forgotten_probe()),
        ]
        for table, condition in steps:
            done[table.name] = done.get(table.name, 0) + self._delete(table, condition)
        log.info(
            "too old and gone: %s", ", ".join(f"{name} {count}" for name, count in done.items() if count) or "nothing"
        )
        return done

    def _is_plausible(self, now: float) -> bool:
        """A clock that has jumped ahead must not cost the history: it has to be so for two runs."""
        job = schema.job.c
        with self._database.read() as db:
            ran = db.execute(select(job.ran).where(job.name == JOB)).scalar()
        return ran is None or now - ran < DAY

    def _orphaned_outcome(self, now: float) -> Any:
        outcome, ticket = schema.outcome.c, schema.ticket.c
        old = and_(ticket.id == outcome.ticket_id, ticket.issued < now - self._keeping.tickets)
        return exists(select(ticket.id).where(old))

    def _settled_notification(self, now: float) -> Any:
        """One that went its way, of an incident that is over: while it goes on, who was told of it is still needed."""
        notification, incident = schema.notification.c, schema.incident.c
        goes_on = exists(select(incident.id).where(incident.id == notification.incident_id, incident.closed.is_(None)))
        return and_(notification.state != "waiting", notification.created < now - self._keeping.tickets, ~goes_on)

    def _forgotten_probe(self) -> Any:
        """A probe that is not defined any more, once its last sum has gone."""
        probe = schema.host_probe.c
        sums = [
            exists(select(table.c.n).where(table.c.host_probe_id == probe.id))
            for table in (schema.rollup_5m, schema.rollup_1h)
        ]
        return and_(probe.active.is_(False), ~or_(*sums))

    def _delete(self, table: Table, condition: Any) -> int:
        keys = list(table.primary_key.columns)
        total = 0
        for _ in range(ROUNDS):
            with self._database.write() as db:
                these = select(*keys).where(condition).order_by(*keys).limit(ROWS)
                found = db.execute(self._database.locking(these, skip=True, of=table)).all()
                if found:
                    which = (
                        keys[0].in_([row[0] for row in found])
                        if len(keys) == 1
                        else tuple_(*keys).in_(list(map(tuple, found)))
                    )
                    total += db.execute(delete(table).where(which)).rowcount
            if len(found) < ROWS or self._pause():
                break
        return total


def expire(database: Database, now: float) -> int:
    """Close the tickets that nothing came for in time; how many."""
    ticket = schema.ticket.c
    total = 0
    for _ in range(ROUNDS):
        with database.write() as db:
            late = select(ticket.id).where(ticket.ended.is_(None), ticket.expires < now).order_by(ticket.id).limit(ROWS)
            ids = db.execute(database.locking(late, skip=True)).scalars().all()
            if ids:
                values = {"state": EXPIRED, "ended": now, "send_at": None, "reason": "no result came in time"}
                changed = update(schema.ticket).where(ticket.id.in_(ids), ticket.state.in_(OPEN)).values(values)
                total += db.execute(changed).rowcount
        if len(ids) < ROWS:
            break
    return total
