"""What people ask of the outbox: what is in it, to try something again, to put a test into it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from sqlalchemy import Connection, insert, select, update

from monagent.errors import BadArguments
from monagent.server.alerts import rules
from monagent.server.alerts.carriers.events import check_of
from monagent.server.alerts.carriers.parcels import FAILED, SENT, WAITING
from monagent.server.alerts.carriers.words import words
from monagent.server.database import Database
from monagent.server.schema import notification as table

STATES = (WAITING, FAILED, SENT)


@dataclass(frozen=True, slots=True)
class Entry:
    """One notification as it is listed; times are seconds since the epoch."""

    id: int
    rule: str
    channel: str
    target: str
    what: str
    host: str
    check: str
    state: str
    created: float
    next_try: float | None
    attempts: int
    sent: float | None
    trouble: str | None


def entries(db: Connection, states: Sequence[str], limit: int) -> list[Entry]:
    """The newest notifications in these states, the newest first."""
    rows = db.execute(select(table).where(table.c.state.in_(states)).order_by(table.c.id.desc()).limit(limit))
    return [
        Entry(
            row.id, row.rule, row.channel, shown_target(row.channel, row.target), row.what,
            str(row.content.get("host") or ""), check_of(row.content), row.state, row.created, row.next_try, row.attempts,
            row.sent, row.trouble,
        )
        for row in rows
    ]  # fmt: skip


def shown_target(channel: str, target: str) -> str:
    """A target without what may be secret in it: the path of a webhook often is its password."""
    if channel != "webhook":
        return target
    try:
        parts = urlsplit(target)
        return f"{parts.scheme}://{parts.hostname or '?'}{f':{parts.port}' if parts.port else ''}/…"
    except ValueError:
        return "?"


def retry(database: Database, number: int, now: float) -> int:
    """Try a failed notification again at once, with those that it was tried with; or a waiting one without its pause.

    Returns:
        How many that are.

    Raises:
        BadArguments: there is none of that number, or it was sent.
    """
    with database.write() as db:
        row = db.execute(database.locking(select(table).where(table.c.id == number))).first()
        if row is None:
            raise BadArguments(f"there is no notification {number}; monserver notification list names those that wait")
        if row.state == SENT:
            raise BadArguments(f"notification {number} was sent already")
        with_it = table.c.batch == row.batch if row.batch else table.c.id == number
        if row.state == WAITING:
            # Tried before, and without a trouble: whoever is at it just now has it for the rest of its lease.
            idle = row.trouble is not None or row.attempts == 0
            values: dict[str, Any] = {"next_try": now} if idle else {}
        else:
            values = {"state": WAITING, "next_try": now, "attempts": 0, "progress": None}
        ids = db.scalars(
            database.locking(select(table.c.id).where(with_it, table.c.state == row.state).order_by(table.c.id))
        ).all()
        if values:
            db.execute(update(table).where(table.c.id.in_(ids)).values(values))
    return len(ids)


def test(db: Connection, rule: str, host: str, now: float) -> list[int]:
    """Put a test into the outbox for each target of an alert; their numbers.

    Args:
        db: a transaction that writes.
        rule: name of the alert's definition.
        host: the name of this one.
        now: seconds since the epoch.

    Raises:
        BadArguments: there is no such alert, or it tells nobody.
    """
    found = next((one for one in rules.load(db) if one.name == rule), None)
    if found is None:
        raise BadArguments(f"there is no alert {rule!r}; monserver alert list names them all")
    if not found.targets:
        raise BadArguments(f"the alert {rule!r} tells nobody: it has no mail, webhook or apprise_file")
    content: dict[str, Any] = {
        "host": host, "state": "ok", "since": now, "what": "test", "language": found.language,
        "message": words("zh" if found.language == "zh" else "en")["test"],
    }  # fmt: skip
    if found.secret_file:
        content["secret_file"] = found.secret_file
    rows = (
        {
            "rule": rule, "channel": target.channel, "target": target.target, "what": "test", "content": content,
            "state": WAITING, "created": now, "next_try": now, "attempts": 0,
        }
        for target in found.targets
    )  # fmt: skip
    return [db.scalars(insert(table).values(row).returning(table.c.id)).one() for row in rows]
