"""Set, list and end silences: times in which people are told nothing of some hosts or probes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, exists, insert, select, update

from monagent.errors import Refused
from monagent.server.alerts.releasing import Releasing
from monagent.server.database import Database
from monagent.server.schema import host, host_probe
from monagent.server.schema import silence as table

NOTE_LIMIT = 2_000
LONGEST_SECONDS = 366 * 86_400.0


def silence(database: Database, whom: Mapping[str, str | None], ends: float, by: str, note: str, now: float) -> int:
    """Begin a silence now. What waits to be told, and was not tried yet, is held back at once.

    Args:
        database: where it is kept.
        whom: any of `host`, `group` and `probe`: all that it names must fit; without any it silences everything.
        ends: when it is over, seconds since the epoch.
        by: who set it.
        note: why.
        now: seconds since the epoch.

    Returns:
        Its number.

    Raises:
        Refused: it would end before it begins, or after more than a year, or names what is not there.
        StoreAway: the database cannot be used now.
    """
    if ends <= now:
        raise Refused("a silence must end in the future")
    if ends > now + LONGEST_SECONDS:
        raise Refused(
            "a silence lasts a year at most; take out of the alert's definition what nobody wants to be told of"
        )
    named = {key: whom.get(key) for key in ("host", "group", "probe")}
    with database.write() as db:
        _check(db, named)
        values = {**named, "begins": now, "ends": ends, "by": by[:255], "note": note[:NOTE_LIMIT]}
        number = int(db.execute(insert(table).values(values).returning(table.c.id)).scalar_one())
    Releasing(database).run(now)
    return number


def _check(db: Connection, named: Mapping[str, str | None]) -> None:
    if named["host"] and not db.scalar(select(exists().where(host.c.name == named["host"]))):
        raise Refused(f"there is no host {named['host']!r}; monserver host list names them all")
    if named["probe"]:
        known = exists().where(host_probe.c.probe == named["probe"], host_probe.c.active)
        if not db.scalar(select(known)):
            raise Refused(f"no host has a probe {named['probe']!r}; monserver probe list names them all")
    if named["group"]:
        groups = {group for row in db.execute(select(host.c.groups)) for group in row.groups}
        if named["group"] not in groups:
            raise Refused(f"no host is in a group {named['group']!r}; there are: {', '.join(sorted(groups)) or 'none'}")


def silences(db: Connection, now: float, *, over: bool = False) -> list[dict[str, Any]]:
    """Those that are not over yet, or all of them; the newest last."""
    statement = select(table).order_by(table.c.id)
    rows = db.execute(statement if over else statement.where(table.c.ends > now))
    return [dict(row) for row in rows.mappings()]


def end(database: Database, number: int, now: float) -> None:
    """End a silence now.

    Raises:
        Refused: there is none of that number, or it is over.
        StoreAway: the database cannot be used now.
    """
    ending = update(table).where(table.c.id == number, table.c.ends > now).values(ends=now)
    with database.write() as db:
        if db.execute(ending).rowcount == 0:
            raise Refused(f"there is no silence {number} that is not over; monserver silence list shows them")
