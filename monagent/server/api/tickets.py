"""Tell of tickets, and of what came back for them."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, select

from monagent.server import schema
from monagent.server import tickets as words
from monagent.server.api.paging import behind, cursor, page
from monagent.server.api.question import LIMIT, NotThere, named, timed, worded
from monagent.server.ticket_list import result
from monagent.server.times import iso

_known, _host = schema.ticket.c, schema.host.c
STATES = (*words.OPEN, words.DONE, words.FAILED, words.EXPIRED, words.REFUSED, words.CANCELLED)
_TIMES = ("due", "issued", "expires", "sent", "acknowledged", "ended", "finished")
_TICKETS: Any = select(
    _known.id, _known.ticket, _host.name.label("host"), _known.method, _known.arguments, _known.state, _known.due,
    _known.issued, _known.expires, _known.sent, _known.acknowledged, _known.ended, _known.finished, _known.reason,
).join_from(schema.ticket, schema.host, _known.host_id == _host.id)  # fmt: skip

TICKETS = (
    named("host", "of this host"),
    worded("state", "in this state", *STATES),
    timed("since", "issued then or later"),
    LIMIT,
    cursor(float, int),
)


def tickets(db: Connection, asked: dict[str, Any], _now: float) -> Any:
    """Tickets, the newest first."""
    statement = _TICKETS.order_by(_known.issued.desc(), _known.id.desc()).limit(asked["limit"] + 1)
    if asked["host"]:
        # By the number, so that the index of a host's tickets is of use.
        number = db.execute(select(_host.id).where(_host.name == asked["host"])).scalar()
        if number is None:
            raise NotThere(f"there is no host {asked['host']!r}; /api/v1/hosts names them all")
        statement = statement.where(_known.host_id == number)
    if asked["state"]:
        statement = statement.where(_known.state == asked["state"])
        if asked["state"] in words.OPEN:
            statement = statement.where(_known.ended.is_(None))
    if asked["since"] is not None:
        statement = statement.where(_known.issued >= asked["since"])
    if asked["cursor"]:
        statement = statement.where(behind([_known.issued, _known.id], asked["cursor"], falling=True))
    rows = db.execute(statement).all()
    return page(rows, asked["limit"], lambda row: [float(row.issued), row.id], _shown)


def ticket(db: Connection, asked: dict[str, Any], _now: float) -> Any:
    """One ticket, with what came back for it."""
    row = db.execute(_TICKETS.where(_known.ticket == asked["ticket"])).first()
    if row is None:
        raise NotThere(f"there is no ticket {asked['ticket']!r}; those of long ago are forgotten")
    found = result(db, row.ticket)
    if found is not None and isinstance(found.get("finished"), float):
        found = {**found, "finished": iso(found["finished"])}
    return {**_shown(row), "result": found}


def _shown(row: Any) -> dict[str, Any]:
    members = {name: iso(value) if name in _TIMES else value for name, value in row._mapping.items()}  # noqa: SLF001 - SQLAlchemy's public name
    del members["id"]
    return members
