"""Gather what a quality report tells from the database: the sums of hours, incidents, hosts."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from heapq import nlargest
from typing import Any

from sqlalchemy import Connection, Select, Table, and_, case, func, or_, select, union_all

from monagent.mail.figures import Points
from monagent.server.alerts.carriers.history import LARGEST, plottable
from monagent.server.alerts.reports.periods import Period
from monagent.server.alerts.reports.quality import (
    STATES,
    Check,
    Happened,
    Quality,
    Trouble,
    bad_readings,
    within,
    worst_first,
)
from monagent.server.database import Database
from monagent.server.schema import host, host_probe, incident, rollup_1h, rollup_5m

HOUR, FINE = 3600.0, 300.0
INCIDENTS = 200
"""That are told one by one."""
STREAM = 2_000
"""Rows in memory at once."""
DAY_SECONDS = 90_000.0
"""Up to a day of 25 hours, a plot is drawn from sums of five minutes."""


@dataclass(frozen=True, slots=True)
class Choice:
    """Hosts that a report is about, by their names or one of their groups; both empty: all."""

    hosts: frozenset[str] = frozenset()
    groups: frozenset[str] = frozenset()

    def takes(self, name: str, groups: Collection[str]) -> bool:
        """Whether a host is one of them."""
        return not (self.hosts or self.groups) or name in self.hosts or not self.groups.isdisjoint(groups)


@dataclass(slots=True)
class _Trouble:
    count: int = 0
    seconds: float = 0.0

    def add(self, seconds: float) -> None:
        self.count += 1
        self.seconds += seconds

    @property
    def frozen(self) -> Trouble:
        return Trouble(self.count, self.seconds)


class _Incidents:
    """Incidents as they are read, summed up at once: there may be many."""

    def __init__(self) -> None:
        self.by_probe: dict[int, _Trouble] = defaultdict(_Trouble)
        self.by_host: dict[int, _Trouble] = defaultdict(_Trouble)
        self.all = _Trouble()
        self.open = 0


def quality(database: Database, period: Period, choice: Choice) -> Quality:
    """All that a report of a period tells.

    Raises:
        StoreAway: the database is away.
    """
    with database.read() as db:
        rows = db.execute(select(host.c.id, host.c.name, host.c.groups))
        hosts = {row.id: row.name for row in rows if choice.takes(row.name, row.groups)}
        checks = {check.id: check for check in _checks(db, hosts)}
        told = _Incidents()
        longest = nlargest(INCIDENTS, _incidents(db, period, hosts, checks, told), key=lambda one: one.seconds)
        _add_sums(db, period, checks)
    final = [
        replace(check, trouble=told.by_probe[check.id].frozen) if check.id in told.by_probe else check
        for check in checks.values()
        if check.readings or check.scheduled or check.id in told.by_probe
    ]
    silent = {hosts[number]: trouble.frozen for number, trouble in told.by_host.items()}
    ordered = dict(sorted(silent.items(), key=lambda pair: -pair[1].seconds))
    return Quality(len(hosts), worst_first(final), ordered, longest, told.all.count, told.all.seconds, told.open)


def _checks(db: Connection, hosts: dict[int, str]) -> Iterator[Check]:
    columns = ("id", "host_id", "probe", "active", "every", "cron")
    for row in _streamed(db, select(*(host_probe.c[name] for name in columns))):
        if row.host_id in hosts:
            scheduled = bool(row.active and (row.every or row.cron))
            yield Check(row.id, hosts[row.host_id], row.probe, scheduled)


def _incidents(
    db: Connection, period: Period, hosts: dict[int, str], checks: dict[int, Check], told: _Incidents
) -> Iterator[Happened]:
    touches = and_(incident.c.opened < period.end, or_(incident.c.closed.is_(None), incident.c.closed > period.start))
    columns = ("host_id", "host_probe_id", "worst", "message", "opened", "closed")
    for row in _streamed(db, select(*(incident.c[name] for name in columns)).where(touches)):
        if row.host_id not in hosts:
            continue
        seconds = within(row.opened, row.closed, period.start, period.end)
        told.all.add(seconds)
        told.open += row.closed is None or row.closed >= period.end
        check = None
        if row.host_probe_id is None:
            told.by_host[row.host_id].add(seconds)
        else:
            told.by_probe[row.host_probe_id].add(seconds)
            check = checks[row.host_probe_id].probe if row.host_probe_id in checks else ""
        yield Happened(hosts[row.host_id], check, row.worst, row.message, row.opened, row.closed, seconds)


def _add_sums(db: Connection, period: Period, checks: dict[int, Check]) -> None:
    for row in _streamed(db, _sums(period)):
        check = checks.get(row.host_probe_id)
        if check is None:
            continue
        readings = row.n + row.missing
        mean = row.total / row.n if row.n else None
        checks[check.id] = replace(
            check,
            readings=readings,
            bad=bad_readings(row.missing, row.criticals, readings),
            warnings=row.warnings,
            mean=mean if mean is not None and math.isfinite(mean) else None,
            low=row.low,
            high=row.high,
            worst=STATES[row.worst],
        )


def _sums(period: Period) -> Select[Any]:
    """Of each check, over the period."""
    parts = [
        select(table).where(table.c.start >= start, table.c.start < end)
        for table, start, end in tables_of(period.start, period.end)
    ]
    rows = union_all(*parts).subquery() if len(parts) > 1 else parts[0].subquery()
    c = rows.c
    return select(
        c.host_probe_id,
        func.sum(c.n).label("n"),
        # A database refuses a sum that is beyond a double.
        func.sum(case((c.sum > LARGEST, LARGEST), (c.sum < -LARGEST, -LARGEST), else_=c.sum)).label("total"),
        func.min(c.min).label("low"),
        func.max(c.max).label("high"),
        func.sum(c.missing).label("missing"),
        func.sum(c.warnings).label("warnings"),
        func.sum(c.criticals).label("criticals"),
        func.max(c.worst).label("worst"),
    ).group_by(c.host_probe_id)


def tables_of(start: float, end: float) -> list[tuple[Table, float, float]]:
    """Which sums make up a period: those of hours, and of five minutes where a time zone's days begin within an hour."""
    first, last = math.ceil(start / HOUR) * HOUR, math.floor(end / HOUR) * HOUR
    parts = [(rollup_5m, start, first), (rollup_1h, first, last), (rollup_5m, last, end)]
    return [part for part in parts if part[1] < part[2]]


def points(database: Database, period: Period, ids: Sequence[int]) -> dict[int, Points]:
    """What plots of some checks are drawn from: the means of short stretches; None where there was no number.

    Raises:
        StoreAway: the database is away.
    """
    table = rollup_5m if period.end - period.start <= DAY_SECONDS else rollup_1h
    c = table.c
    wanted = c.host_probe_id.in_(list(ids)), c.start >= period.start, c.start < period.end
    statement = select(c.host_probe_id, c.start, c.n, c.sum).where(*wanted).order_by(c.host_probe_id, c.start)
    found: dict[int, list[tuple[float, float | None]]] = {number: [] for number in ids}
    with database.read() as db:
        for row in _streamed(db, statement):
            found[row.host_probe_id].append((row.start, plottable(row.sum / row.n) if row.n else None))
    return dict(found)


def _streamed(db: Connection, statement: Select[Any]) -> Iterable[Any]:
    return db.execute(statement, execution_options={"yield_per": STREAM})
