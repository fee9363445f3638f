"""Bring the rows of hosts in step with their definitions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import ColumnElement, Connection, bindparam, delete, insert, select, update

from monagent.server import schema
from monagent.server.database import Database
from monagent.server.site.hosts import chunks, keep_from_others
from monagent.server.site.model import Site
from monagent.server.site.plan import PlannedHost, planned_hosts

_host, _probe, _ticket = schema.host.c, schema.host_probe.c, schema.ticket.c


@dataclass(frozen=True, slots=True)
class Known:
    """How the rows differ from what is planned.

    Attributes:
        new: that have no row yet.
        changed: by id, in its order; True where its agent is now reached in another way.
        gone: ids of those that are not defined any more, in order.
    """

    new: Sequence[PlannedHost]
    changed: Sequence[tuple[int, PlannedHost, bool]]
    gone: Sequence[int]


def compare(db: Connection, site: Site) -> Known:
    """Look at what is there."""
    rows = db.execute(
        select(_host.id, _host.name, _host.address, _host.port, _host.sources, _host.groups, _host.url, _host.tls)
    )
    present = {
        row.name: (row.id, PlannedHost(row.name, row.address, row.port, tuple(row.sources), tuple(row.groups), row.url, row.tls))
        for row in rows
    }  # fmt: skip
    wanted = {one.name: one for one in planned_hosts(site)}
    both = [(*present[name], one) for name, one in wanted.items() if name in present]
    changed = [(id_, new, _way(old) != _way(new)) for id_, old, new in both if old != new]
    return Known(
        [one for name, one in wanted.items() if name not in present],
        sorted(changed, key=lambda one: one[0]),
        sorted(id_ for name, (id_, _) in present.items() if name not in wanted),
    )


def _way(one: PlannedHost) -> PlannedHost:
    """All that says how its agent is reached."""
    return replace(one, sources=(), groups=(), url=None)


def add(db: Connection, new: Sequence[PlannedHost]) -> None:
    """Insert rows; their agents are tried at once."""
    if new:
        db.execute(insert(schema.host), [{**_values(one), "failures": 0, "retry_at": 0.0} for one in new])


def update_changed(database: Database, db: Connection, changed: Sequence[tuple[int, PlannedHost, bool]]) -> None:
    """Write what is otherwise now. Where its agent is reached in another way, it is tried at once."""
    for chunk in chunks([id_ for id_, _, _ in changed]):
        keep_from_others(database, db, select(_host.id).where(_host.id.in_(chunk)).order_by(_host.id))
    afresh = {"failures": 0, "retry_at": 0.0, "trouble": None}
    for anew in (False, True):
        rows = [{"of": id_, **_values(one, "to_")} for id_, one, way in changed if way == anew]
        if rows:
            columns: dict[str, Any] = {name: bindparam(f"to_{name}") for name in _COLUMNS}
            statement = (
                update(schema.host).where(_host.id == bindparam("of")).values(columns | (afresh if anew else {}))
            )
            db.execute(statement, rows)


_COLUMNS = ("name", "address", "port", "sources", "groups", "url", "tls")


def _values(one: PlannedHost, prefix: str = "") -> dict[str, Any]:
    values = one.name, one.address, one.port, list(one.sources), list(one.groups), one.url, one.tls
    return {f"{prefix}{name}": value for name, value in zip(_COLUMNS, values, strict=True)}


def forget_results(database: Database, db: Connection, gone: Sequence[int]) -> None:
    """Delete the tickets of hosts with their readings, outcomes and sums: no foreign keys see to these."""
    for chunk in chunks(gone):
        theirs = _ticket.host_id.in_(chunk)
        keep_from_others(database, db, select(_ticket.id).where(theirs).order_by(_ticket.id))
        probes = select(_probe.id).where(_probe.host_id.in_(chunk))
        tickets = select(_ticket.id).where(theirs)
        conditions: list[tuple[Any, ColumnElement[bool]]] = [
            (schema.reading, schema.reading.c.host_probe_id.in_(probes)),
            (schema.reading, schema.reading.c.ticket_id.in_(tickets)),
            (schema.rollup_5m, schema.rollup_5m.c.host_probe_id.in_(probes)),
            (schema.rollup_1h, schema.rollup_1h.c.host_probe_id.in_(probes)),
            (schema.outcome, schema.outcome.c.host_id.in_(chunk)),
            (schema.ticket, theirs),
        ]
        for table, condition in conditions:
            db.execute(delete(table).where(condition))


def remove(db: Connection, gone: Sequence[int]) -> None:
    """Delete hosts with all that refers to them."""
    for chunk in chunks(gone):
        db.execute(delete(schema.host).where(_host.id.in_(chunk)))
