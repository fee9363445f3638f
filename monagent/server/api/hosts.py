"""Tell of hosts, and of their probes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, func, select

from monagent.server import schema
from monagent.server.api.paging import behind, cursor, page
from monagent.server.api.question import LIMIT, NotThere, named, worded
from monagent.server.times import iso

_host, _probe, _ticket = schema.host.c, schema.host_probe.c, schema.ticket.c
_NONE = "none"
NEWEST_TICKETS = 1_000
"""Of a host, among which the open ones are counted."""
PROBES = 1_000

_HOSTS = select(
    _host.id, _host.name, _host.address, _host.port, _host.groups, _host.tls, _host.url, _host.seen, _host.silent,
    _host.failures, _host.retry_at, _host.trouble,
)  # fmt: skip
_PROBES = (
    select(
        _host.name.label("host"), _probe.probe, _probe.sensor, _probe.arguments, _probe.state, _probe.since,
        _probe.finished, _probe.received, _probe.ret_code, _probe.data, _probe.value, _probe.error, _probe.warning,
        _probe.critical, _probe.stale, _probe.due,
    )
    .join_from(schema.host_probe, schema.host)
    .where(_probe.active.is_(True))
    .order_by(_host.name, _probe.probe)
)  # fmt: skip
_TIMES = ("since", "finished", "received", "stale", "due")

HOSTS = (
    worded("state", "silent: hands in nothing; trouble: cannot be reached", "silent", "trouble"),
    LIMIT,
    cursor(str),
)
PROBES_OF = (
    named("host", "of this host"),
    named("probe", "of this name"),
    named("sensor", "with this sensor"),
    worded("state", "in this state; none: before the first reading", "ok", "warning", "critical", "unknown", _NONE),
    LIMIT,
    cursor(str, str),
)


def hosts(db: Connection, asked: dict[str, Any], _now: float) -> Any:
    """All hosts, by name."""
    statement = _HOSTS.order_by(_host.name).limit(asked["limit"] + 1)
    if asked["state"]:
        statement = statement.where((_host.silent if asked["state"] == "silent" else _host.trouble).is_not(None))
    if asked["cursor"]:
        statement = statement.where(behind([_host.name], asked["cursor"]))
    rows = db.execute(statement).all()
    states = _states(db, [row.id for row in rows])
    return page(rows, asked["limit"], lambda row: [row.name], lambda row: _shown(row, states.get(row.id, {})))


def host(db: Connection, asked: dict[str, Any], _now: float) -> Any:
    """One host: its probes with their newest readings, and its open tickets."""
    row = db.execute(_HOSTS.where(_host.name == asked["name"])).first()
    if row is None:
        raise NotThere(f"there is no host {asked['name']!r}; /api/v1/hosts names them all")
    probes = db.execute(_PROBES.where(_host.name == row.name).limit(PROBES)).all()
    newest = select(_ticket.state, _ticket.ended, _ticket.issued).where(_ticket.host_id == row.id)
    some = newest.order_by(_ticket.issued.desc()).limit(NEWEST_TICKETS).subquery()
    queue = select(some.c.state, func.count(), func.min(some.c.issued)).where(some.c.ended.is_(None))
    waiting = db.execute(queue.group_by(some.c.state)).all()
    return {
        **_shown(row, _states(db, [row.id]).get(row.id, {})),
        "probes": [_shown_probe(one) for one in probes],
        "tickets": {one[0]: one[1] for one in waiting},
        "oldest_ticket": iso(min((one[2] for one in waiting), default=None)),
    }


def probes(db: Connection, asked: dict[str, Any], _now: float) -> Any:
    """Probes with their newest readings, by host and name."""
    statement = _PROBES.limit(asked["limit"] + 1)
    for name, column in (("host", _host.name), ("probe", _probe.probe), ("sensor", _probe.sensor)):
        if asked[name]:
            statement = statement.where(column == asked[name])
    if asked["state"]:
        statement = statement.where(
            _probe.state.is_(None) if asked["state"] == _NONE else _probe.state == asked["state"]
        )
    if asked["cursor"]:
        statement = statement.where(behind([_host.name, _probe.probe], asked["cursor"]))
    rows = db.execute(statement).all()
    return page(rows, asked["limit"], lambda row: [row.host, row.probe], _shown_probe)


def _states(db: Connection, ids: Sequence[int]) -> dict[int, dict[str, int]]:
    """How many probes of each host are in which state."""
    state = func.coalesce(_probe.state, _NONE)
    counts = select(_probe.host_id, state, func.count()).where(_probe.host_id.in_(ids), _probe.active.is_(True))
    found: dict[int, dict[str, int]] = {}
    for host_id, word, count in db.execute(counts.group_by(_probe.host_id, state)):
        found.setdefault(host_id, {})[word] = count
    return found


def _shown(row: Any, states: dict[str, int]) -> dict[str, Any]:
    return {
        "name": row.name,
        "address": row.address,
        "port": row.port,
        "groups": row.groups,
        "tls": row.tls,
        "server": row.url,
        "seen": iso(row.seen),
        "silent": iso(row.silent),
        "failures": row.failures,
        "trouble": row.trouble,
        "retry": iso(row.retry_at or None),
        "states": states,
    }


def _shown_probe(row: Any) -> dict[str, Any]:
    return {name: iso(value) if name in _TIMES else value for name, value in row._mapping.items()}  # noqa: SLF001 - SQLAlchemy's public name
