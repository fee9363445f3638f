"""Write down what became of commands that were sent, and which hosts are not to be tried for a while."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, bindparam, case, func, select, update

from monagent.server import schema
from monagent.server.courier import Sent
from monagent.server.database import Database
from monagent.server.tickets import ACKNOWLEDGED, FAILED, OPEN, REFUSED, SENT

PAUSES = (5.0, 10.0, 20.0, 40.0, 80.0, 160.0, 300.0)
"""Seconds until a host that could not be reached is tried again: after the first failure, the second, …"""

_known, _probe, _host = schema.ticket.c, schema.host_probe.c, schema.host.c


def mark(db: Connection, database: Database, sent: Sequence[Sent], now: float) -> None:
    """Write it down. A result may have been quicker; its ticket stays what it is then."""
    by_ticket = {one.command.ticket: one for one in sent}
    if not by_ticket:
        return
    statement = (
        select(_known.id, _known.ticket, _known.state, _known.host_probe_id)
        .where(_known.ticket.in_(by_ticket))
        .order_by(_known.id)
    )
    rows = db.execute(database.locking(statement)).all()
    changes = [_change(row, by_ticket[row.ticket], now) for row in rows]
    if changes:
        db.execute(_MARK, changes)
    refused = sorted({row.host_probe_id for row in rows if row.host_probe_id and by_ticket[row.ticket].refusal})
    if refused:
        # There will be no reading to tell of it.
        these = select(_probe.id).where(_probe.id.in_(refused)).order_by(_probe.id)
        db.execute(database.locking(these)).all()
        db.execute(update(schema.host_probe).where(_probe.id.in_(refused)).values(error=REFUSED))
    _mark_hosts(db, database, sent, now)


_MARK = (
    update(schema.ticket)
    .where(_known.id == bindparam("of"))
    .values(
        state=bindparam("to"), send_at=None,
        sent=func.coalesce(_known.sent, bindparam("left")),
        acknowledged=func.coalesce(_known.acknowledged, bindparam("answered")),
        # A result that was quicker has set them.
        ended=case((_known.ended.is_(None), bindparam("at")), else_=_known.ended),
        reason=case((_known.ended.is_(None), bindparam("why")), else_=_known.reason),
    )
)  # fmt: skip


def _change(row: Any, one: Sent, now: float) -> dict[str, Any]:
    open_ = row.state in OPEN
    # What the agent has acknowledged once, it has, whatever became of asking again.
    state = _state(one) if open_ and (row.state != ACKNOWLEDGED or one.trouble is None) else row.state
    ended = now if open_ and state in (FAILED, REFUSED) else None
    answered = one.answered if one.refusal is None else None
    return {
        "of": row.id, "to": state, "left": one.sent, "answered": answered, "at": ended, "why": one.refusal or one.trouble,
    }  # fmt: skip


def _state(one: Sent) -> str:
    if one.trouble is not None:
        # What may have arrived may still be answered.
        return FAILED if one.sent is None else SENT
    return ACKNOWLEDGED if one.refusal is None else REFUSED


def _mark_hosts(db: Connection, database: Database, sent: Sequence[Sent], now: float) -> None:
    troubles = {one.host_id: one.trouble for one in sent if one.trouble is not None}
    # All of them, in one order: another process may have others of them, well or in trouble.
    ids = sorted({one.host_id for one in sent})
    db.execute(database.locking(select(_host.id).where(_host.id.in_(ids)).order_by(_host.id))).all()
    well = sorted({one.host_id for one in sent} - troubles.keys())
    if well:
        db.execute(
            update(schema.host)
            .where(_host.id.in_(well), _host.failures > 0)
            .values(failures=0, retry_at=0.0, trouble=None)
        )
    if troubles:
        db.execute(_TROUBLE, [_trouble(host_id, trouble, now) for host_id, trouble in sorted(troubles.items())])


_TROUBLE = (
    update(schema.host)
    .where(_host.id == bindparam("of"))
    .values(
        failures=_host.failures + 1,
        trouble=bindparam("why"),
        retry_at=bindparam("at")
        + bindparam("share")
        * case(*((_host.failures == number, pause) for number, pause in enumerate(PAUSES[:-1])), else_=PAUSES[-1]),
    )
)


def _trouble(host_id: int, trouble: str, now: float) -> dict[str, Any]:
    return {"of": host_id, "why": trouble, "at": now, "share": random.uniform(0.8, 1.2)}
