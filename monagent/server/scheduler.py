"""Find what is to be sent now: probes that are due become tickets, commands that somebody issued are picked up.

Any number of processes may do so at once: each row is claimed by one of them, in the transaction that writes its ticket.
What a process claimed and did not send, because it died, is found by another one after `LEASE_SECONDS`.
"""

from __future__ import annotations

import logging
from typing import Any

from sqlalchemy import Connection, bindparam, insert, select, update

from monagent.protocol import SUBMIT_READING
from monagent.server import schema
from monagent.server.database import Database
from monagent.server.records import Command, Host
from monagent.server.ticketing import LIFETIME_SECONDS, new_ticket
from monagent.server.tickets import FAILED, ISSUED
from monagent.server.timetable import Timetable

log = logging.getLogger(__name__)

BATCH = 1_000
LEASE_SECONDS = 30.0
"""After that it is claimed again. The process that has it still knows that it has (`Courier.send`)."""
PAUSE_SECONDS = 400.0
"""Longer than any pause for a host that cannot be reached."""
WORTH_SECONDS = (10.0, 60.0)
"""A scheduled check is sent within its interval, but at least and at most so late."""

Batches = dict[Host, list[Command]]


class Scheduler:
    """Claims what is due. For use by one thread."""

    def __init__(self, database: Database, lifetime: float = LIFETIME_SECONDS) -> None:
        self._database = database
        self._lifetime = lifetime
        self.put_off = 0
        """Runs that an outage had made late, and that were put off to be spread."""
        self.left_out = 0
        """Runs that were left out because the host could not be reached lately."""

    def anything(self, now: float) -> bool:
        """Whether there is anything to claim."""
        probe, ticket = schema.host_probe.c, schema.ticket.c
        with self._database.read() as db:
            due = db.execute(select(probe.id).where(probe.due <= now).limit(1)).first()
            return (
                due is not None
                or db.execute(select(ticket.id).where(ticket.send_at <= now).limit(1)).first() is not None
            )

    def claim(self, db: Connection, now: float) -> tuple[Batches, bool]:
        """Claim what is to be sent, and write it down; nothing may leave before the transaction is committed.

        Returns:
            The commands by host; whether there may be more.
        """
        batches: Batches = {}
        found = self._claim_due(db, now, batches)
        found += self._claim_issued(db, now, batches)
        return batches, found >= BATCH

    def _claim_due(self, db: Connection, now: float, batches: Batches) -> int:
        rows = db.execute(self._database.locking(_DUE, skip=True, of=schema.host_probe), {"now": now}).all()
        if not rows:
            return 0
        tickets = []
        moves = []
        for row in rows:
            due = self._next(row, now)
            if due is not None:
                moves.append({"of": row.id, "to": due})
                continue
            following = _following(row, now)
            if row.retry_at > now:
                self.left_out += 1
                # What comes once a day is not left out for a pause of a minute.
                following = following and min(following, row.retry_at)
            else:
                ticket = self._ticket(row, now)
                tickets.append(ticket)
                _add(batches, row, Command(ticket["ticket"], SUBMIT_READING, ticket["arguments"]))
            moves.append({"of": row.id, "to": following})
        if tickets:
            db.execute(insert(schema.ticket), tickets)
        db.execute(_MOVE, moves)
        return len(rows)

    def _next(self, row: Any, now: float) -> float | None:
        """When to run instead of now; None: now."""
        due = _timetable(row).caught_up(row.due, now)
        self.put_off += due is not None
        return due

    def _ticket(self, row: Any, now: float) -> dict[str, Any]:
        least, most = WORTH_SECONDS
        return {
            "ticket": new_ticket(),
            "host_id": row.host_id,
            "host_probe_id": row.id,
            "method": SUBMIT_READING,
            "arguments": [row.sensor, row.arguments],
            "state": ISSUED,
            "due": row.due,
            "issued": now,
            "expires": now + self._lifetime,
            "send_at": now + LEASE_SECONDS,
            "send_until": now + min(max(row.every or most, least), most),
        }

    def _claim_issued(self, db: Connection, now: float, batches: Batches) -> int:
        rows = db.execute(self._database.locking(_ISSUED, skip=True, of=schema.ticket), {"now": now}).all()
        gone = [row.ticket_id for row in rows if row.name is None]
        late = [row.ticket_id for row in rows if row.name is not None and row.send_until < now]
        sending = [row for row in rows if row.name is not None and row.send_until >= now]
        ticket = schema.ticket.c
        for ids, reason in ((gone, "its host is gone"), (late, "it could not be sent in time")):
            if ids:
                values = {"state": FAILED, "ended": now, "send_at": None, "reason": reason}
                db.execute(update(schema.ticket).where(ticket.id.in_(ids)).values(values))
        if sending:
            ids = [row.ticket_id for row in sending]
            db.execute(update(schema.ticket).where(ticket.id.in_(ids)).values(send_at=now + LEASE_SECONDS))
        for row in sending:
            _add(batches, row, Command(row.ticket, row.method, row.arguments))
        return len(rows)

    def realign(self, db: Connection, now: float) -> int:
        """Bring back what would happen far too late, because the clock was ahead when it was planned.

        Returns:
            How many probes there were.
        """
        rows = db.execute(self._database.locking(_AHEAD, skip=True), {"now": now}).all()
        moves = [{"of": row.id, "to": due} for row in rows if (due := _realigned(row, now)) is not None]
        if moves:
            db.execute(_MOVE, moves)
        db.execute(_PAUSED_TOO_LONG, {"now": now})
        db.execute(_LEASED_TOO_LONG, {"now": now})
        return len(moves)


_probe, _host, _ticket = schema.host_probe.c, schema.host.c, schema.ticket.c
_HOST = (_host.name, _host.address, _host.port, _host.sources, _host.tls, _host.retry_at)
_DUE: Any = (
    select(
        _probe.id, _probe.host_id, _probe.sensor, _probe.arguments, _probe.every, _probe.cron, _probe.timezone,
        _probe.phase, _probe.due, *_HOST,
    )
    .join_from(schema.host_probe, schema.host)
    .where(_probe.due <= bindparam("now"))
    .order_by(_probe.due)
    .limit(BATCH)
)  # fmt: skip
_ISSUED: Any = (
    select(
        _ticket.id.label("ticket_id"),
        _ticket.ticket,
        _ticket.host_id,
        _ticket.method,
        _ticket.arguments,
        _ticket.send_until,
        *_HOST,
    )
    .join_from(schema.ticket, schema.host, _ticket.host_id == _host.id, isouter=True)
    .where(_ticket.send_at <= bindparam("now"))
    .order_by(_ticket.send_at)
    .limit(BATCH)
)
_AHEAD: Any = (
    select(_probe.id, _probe.every, _probe.cron, _probe.timezone, _probe.phase, _probe.due)
    .where((_probe.due > bindparam("now") + 2 * _probe.every) | (_probe.cron.is_not(None) & _probe.due.is_not(None)))
    .order_by(_probe.id)
)
_PAUSED_TOO_LONG = (
    update(schema.host).where(_host.retry_at > bindparam("now") + PAUSE_SECONDS).values(retry_at=bindparam("now"))
)
_LEASED_TOO_LONG = (
    update(schema.ticket)
    .where(_ticket.send_at > bindparam("now") + 2 * LEASE_SECONDS)
    .values(send_at=bindparam("now") + LEASE_SECONDS)
)
_MOVE = update(schema.host_probe).where(_probe.id == bindparam("of")).values(due=bindparam("to"))


def _add(batches: Batches, row: Any, command: Command) -> None:
    host = Host(row.host_id, row.name, row.address, row.port, tuple(row.sources), tls=row.tls)
    batches.setdefault(host, []).append(command)


def _following(row: Any, now: float) -> float | None:
    try:
        return _timetable(row).following(row.due, now)
    except ValueError as error:
        # A date that never comes again must not stop everybody else.
        log.warning("probe %d on %s is not due any more: %s", row.id, row.name, error)
        return None


def _realigned(row: Any, now: float) -> float | None:
    """When it is due in truth; None: as it stands."""
    try:
        due = _timetable(row).after(now)
    except ValueError:
        return None
    return due if due < row.due - 1.0 else None


def _timetable(row: Any) -> Timetable:
    return Timetable(row.every, row.cron, row.timezone or "UTC", row.phase)
