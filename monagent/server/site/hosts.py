"""Look up hosts by their name or group."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import islice
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, Text, cast, func, or_, select

from monagent.server.database import Database
from monagent.server.records import Host
from monagent.server.schema import host as table

CHUNK = 500
"""Names in one statement: databases limit them."""

_COLUMNS = (
    table.c.id, table.c.name, table.c.address, table.c.port, table.c.sources, table.c.groups, table.c.url, table.c.tls,
)  # fmt: skip


def hosts(db: Connection) -> list[Host]:
    """All of them, by name."""
    return [_host(row) for row in db.execute(select(*_COLUMNS).order_by(table.c.name))]


def host(db: Connection, name: str) -> Host | None:
    """The host of that name."""
    row = db.execute(select(*_COLUMNS).where(table.c.name == name)).one_or_none()
    return row and _host(row)


def hosts_in(db: Connection, names: Sequence[str], groups: Sequence[str]) -> list[Host]:
    """Those of these names, and those in any of these groups; each once, by name. Unknown names find nothing."""
    found: dict[int, Host] = {}
    for chunk in chunks(names):
        found |= _found(db, table.c.name.in_(chunk))
    for chunk in chunks(groups):
        # Names of groups hold nothing that JSON would write in another way.
        text = cast(table.c.groups, Text)
        among = _found(db, or_(*[text.contains(f'"{group}"', autoescape=True) for group in chunk]))
        found |= {id_: one for id_, one in among.items() if not set(chunk).isdisjoint(one.groups)}
    return sorted(found.values(), key=lambda one: one.name)


def chunks(items: Iterable[Any]) -> Iterable[list[Any]]:
    """The items in lists that fit into one statement."""
    iterator = iter(items)
    while chunk := list(islice(iterator, CHUNK)):
        yield chunk


def keep_from_others(database: Database, db: Connection, ids: Select[Any]) -> None:
    """Lock the rows that a statement finds, in its order, without fetching them."""
    if database.is_postgresql:
        db.execute(select(func.count()).select_from(database.locking(ids).subquery()))


def _found(db: Connection, condition: ColumnElement[bool]) -> dict[int, Host]:
    return {row.id: _host(row) for row in db.execute(select(*_COLUMNS).where(condition))}


def _host(row: Any) -> Host:
    return Host(row.id, row.name, row.address, row.port, tuple(row.sources), tuple(row.groups), row.url, row.tls)
