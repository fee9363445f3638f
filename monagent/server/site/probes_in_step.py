"""Bring the rows of probes on their hosts in step with the definitions."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, bindparam, insert, select, update

from monagent.server import schema
from monagent.server.database import Database
from monagent.server.site.hosts import chunks, keep_from_others
from monagent.server.site.model import Site
from monagent.server.site.plan import PlannedProbe, Timing, planned_probes

_host, _probe = schema.host.c, schema.host_probe.c
_WHAT = ("sensor", "arguments", "warning", "critical", "runs", "margin", "nagios")
_WHEN = ("every", "cron", "timezone", "phase")
_Rows = list[dict[str, Any]]
_Place = tuple[int, str]
"""Host's id, and probe."""


@dataclass(frozen=True, slots=True)
class _Present:
    id: int
    active: bool
    what: PlannedProbe
    when: Timing


@dataclass(frozen=True, slots=True)
class _Steps:
    """What is to be written; the rows of `changed` and `again` carry the id as `of`."""

    new: _Rows = field(default_factory=list)
    changed: _Rows = field(default_factory=list)
    """Otherwise now, and run when they would have."""
    again: _Rows = field(default_factory=list)
    """Run at other times now, or once more after they were not defined for a while."""
    gone: list[int] = field(default_factory=list)

    @property
    def touched(self) -> list[int]:
        """The ids of rows that are there, in order."""
        return sorted([*(row["of"] for row in (*self.changed, *self.again)), *self.gone])


class _Due:
    """When probes are due first."""

    def __init__(self, now: float, leaving: Collection[int]) -> None:
        self._now = now
        self._leaving = leaving
        self._known: dict[Timing, float | None] = {}

    def first(self, host_id: int, when: Timing) -> float | None:
        """On a host. Looking a cron expression up takes its time, and most hosts share one."""
        if host_id in self._leaving:
            return None
        if when.every:
            return when.due(self._now)
        if when not in self._known:
            self._known[when] = when.due(self._now)
        return self._known[when]


def bring(
    database: Database,
    db: Connection,
    site: Site,
    gone_hosts: Collection[int],
    leaving_hosts: Collection[int],
    now: float,
) -> None:
    """Insert, change and retire rows. What is not defined any more keeps its history; coming back it goes on.

    Args:
        database: of the transaction.
        db: a transaction that writes.
        site: all definitions.
        gone_hosts: ids of those that are not defined any more.
        leaving_hosts: ids of those that move to another server: nothing becomes due there.
        now: seconds since the epoch.
    """
    due = _Due(now, frozenset(leaving_hosts))
    steps = _compare(_present(db), _wanted(db, site), frozenset(gone_hosts), due)
    for chunk in chunks(steps.touched):
        keep_from_others(database, db, select(_probe.id).where(_probe.id.in_(chunk)).order_by(_probe.id))
    if steps.new:
        db.execute(insert(schema.host_probe), steps.new)
    this = update(schema.host_probe).where(_probe.id == bindparam("of"))
    if steps.changed:
        db.execute(this.values(_bound(_WHAT)), steps.changed)
    if steps.again:
        db.execute(this.values(_bound((*_WHAT, *_WHEN, "due")) | {"active": True}), steps.again)
    for chunk in chunks(steps.gone):
        retired = {"active": False, "due": None}
        db.execute(update(schema.host_probe).where(_probe.id.in_(chunk)).values(retired))


def _bound(names: Iterable[str]) -> dict[str, Any]:
    return {name: bindparam(f"to_{name}") for name in names}


def _wanted(db: Connection, site: Site) -> Iterator[tuple[_Place, PlannedProbe, Timing]]:
    ids = {row.name: row.id for row in db.execute(select(_host.id, _host.name))}
    return (((ids[host], what.probe), what, when) for host, what, when in planned_probes(site))


def _present(db: Connection) -> dict[_Place, _Present]:
    statement = select(
        _probe.id, _probe.host_id, _probe.active, _probe.probe, _probe.sensor, _probe.arguments, _probe.warning, _probe.critical,
        _probe.runs, _probe.margin, _probe.nagios, _probe.every, _probe.cron, _probe.timezone, _probe.phase,
    )  # fmt: skip
    found = {}
    for id_, host_id, active, probe, sensor, arguments, *limits, every, cron, timezone, phase in db.execute(statement):
        what = PlannedProbe(probe, sensor, tuple(arguments), *limits)
        found[host_id, probe] = _Present(id_, active, what, Timing(every, cron, timezone, phase))
    return found


def _compare(
    present: dict[_Place, _Present],
    wanted: Iterable[tuple[_Place, PlannedProbe, Timing]],
    gone_hosts: Collection[int],
    due: _Due,
) -> _Steps:
    steps = _Steps()
    for place, what, when in wanted:
        old = present.pop(place, None)
        if old is None:
            steps.new.append(_new(place[0], what, when, due.first(place[0], when)))
        elif not old.active or old.when != when:
            first = due.first(place[0], when)
            steps.again.append({"of": old.id, **_what(what, "to_"), **_when(when, "to_"), "to_due": first})
        elif not _same(old.what, what):
            steps.changed.append({"of": old.id, **_what(what, "to_")})
    for (host_id, _), old in present.items():
        # Those of hosts that go are locked with the others, and deleted with their hosts.
        if old.active or host_id in gone_hosts:
            steps.gone.append(old.id)
    steps.changed.sort(key=lambda row: row["of"])
    steps.again.sort(key=lambda row: row["of"])
    steps.gone.sort()
    return steps


def _same(old: PlannedProbe, new: PlannedProbe) -> bool:
    # 1 and 1.0 are equal, and not the same argument.
    return old == new and [*map(type, old.arguments)] == [*map(type, new.arguments)]


def _new(host_id: int, what: PlannedProbe, when: Timing, due: float | None) -> dict[str, Any]:
    return {"host_id": host_id, "probe": what.probe, "active": True, "due": due, **_what(what), **_when(when)}


def _what(what: PlannedProbe, prefix: str = "") -> dict[str, Any]:
    values = what.sensor, list(what.arguments), what.warning, what.critical, what.runs, what.margin, what.nagios
    return {f"{prefix}{name}": value for name, value in zip(_WHAT, values, strict=True)}


def _when(when: Timing, prefix: str = "") -> dict[str, Any]:
    values = when.every, when.cron, when.timezone, when.phase
    return {f"{prefix}{name}": value for name, value in zip(_WHEN, values, strict=True)}
