"""Look at tickets, and call them off."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, select, update

from monagent.server import schema
from monagent.server.database import Database
from monagent.server.tickets import CANCELLED, OPEN

_known = schema.ticket.c


@dataclass(frozen=True, slots=True)
class TicketStory:
    """A ticket with all that happened to it; times are seconds since the epoch, None: it did not.

    Attributes:
        due: when its schedule wanted it; None: somebody asked for it.
        ended: when it came to its end here.
        finished: when the work was done, by the agent's clock.
        reason: why it failed, or was refused.
    """

    ticket: str
    host: str
    method: str
    arguments: list[Any]
    state: str
    due: float | None
    issued: float
    expires: float
    sent: float | None
    acknowledged: float | None
    ended: float | None
    finished: float | None
    reason: str | None


def stories(
    db: Connection, *, host: str | None = None, states: tuple[str, ...] = (), ticket: str | None = None, limit: int = 50
) -> list[TicketStory]:
    """Tickets, the newest first."""
    statement: Any = (
        select(
            _known.ticket, schema.host.c.name, _known.method, _known.arguments, _known.state, _known.due, _known.issued,
            _known.expires, _known.sent, _known.acknowledged, _known.ended, _known.finished, _known.reason,
        )
        .join_from(schema.ticket, schema.host, _known.host_id == schema.host.c.id)
        .order_by(_known.issued.desc(), _known.id.desc())
        .limit(limit)
    )  # fmt: skip
    if host is not None:
        statement = statement.where(schema.host.c.name == host)
    if states:
        statement = statement.where(_known.state.in_(states))
    if ticket is not None:
        statement = statement.where(_known.ticket == ticket)
    return [TicketStory(*row) for row in db.execute(statement)]


def story(db: Connection, ticket: str) -> TicketStory | None:
    """One ticket."""
    return next(iter(stories(db, ticket=ticket)), None)


def result(db: Connection, ticket: str) -> dict[str, Any] | None:
    """What came back for a ticket: the members of a reading, or an outcome."""
    row = db.execute(
        select(_known.id, _known.finished).where(_known.ticket == ticket, _known.finished.is_not(None))
    ).first()
    if row is None:
        return None
    content: dict[str, Any] | None = db.execute(
        select(schema.outcome.c.content).where(schema.outcome.c.ticket_id == row.id)
    ).scalar()
    return content if content is not None else _reading(db, row)


def _reading(db: Connection, ticket: Any) -> dict[str, Any] | None:
    reading = schema.reading.c
    statement = select(
        reading.ret_code,
        reading.data,
        reading.error,
        reading.stderr,
        reading.duration,
        reading.metrics,
        reading.finished,
    ).where(reading.ticket_id == ticket.id, reading.finished == ticket.finished)
    row = db.execute(statement).first()
    return None if row is None else dict(row._mapping)  # noqa: SLF001 - SQLAlchemy's public name


def cancel(db: Connection, database: Database, ticket: str, now: float) -> str | None:
    """Call a ticket off: it is not sent any more, and no result is taken for it.

    Returns:
        The state it was in before; None: there is no such ticket. One that has ended stays what it is.
    """
    state = db.execute(database.locking(select(_known.state).where(_known.ticket == ticket))).scalar()
    if state in OPEN:
        values = {"state": CANCELLED, "ended": now, "send_at": None, "reason": "somebody called it off"}
        db.execute(update(schema.ticket).where(_known.ticket == ticket).values(values))
    return state
