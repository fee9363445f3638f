"""Look readings up: the newest of everything, and a probe's over time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Table, select

from monagent.server import schema
from monagent.server.records import StoredReading
from monagent.server.rollups import LENGTHS

POINTS = 1_500
"""At most, for a plot."""


@dataclass(frozen=True, slots=True)
class Latest:
    """A probe on a host with its newest reading; times are seconds since the epoch."""

    host_probe_id: int
    host: str
    probe: str
    sensor: str
    arguments: list[str]
    state: str | None
    since: float | None
    finished: float | None
    ret_code: int | None
    data: str | None
    value: float | None
    error: str | None
    warning: str | None
    critical: str | None
    stale: float | None
    silent: float | None
    trouble: str | None


def latest(db: Connection, host: str | None = None) -> list[Latest]:
    """All probes, or those of one host, by host and name."""
    probe, owner = schema.host_probe.c, schema.host.c
    statement: Any = (
        select(
            probe.id, owner.name, probe.probe, probe.sensor, probe.arguments, probe.state, probe.since, probe.finished,
            probe.ret_code, probe.data, probe.value, probe.error, probe.warning, probe.critical, probe.stale, owner.silent,
            owner.trouble,
        )
        .join_from(schema.host_probe, schema.host)
        .where(probe.active.is_(True))
        .order_by(owner.name, probe.probe)
    )  # fmt: skip
    if host is not None:
        statement = statement.where(owner.name == host)
    return [Latest(*row) for row in db.execute(statement)]


def reading_of(db: Connection, ticket: str) -> StoredReading | None:
    """The reading that came for a ticket."""
    known, reading, owner = schema.ticket.c, schema.reading.c, schema.host.c
    statement = (
        select(
            known.ticket, owner.name, known.arguments, reading.ret_code, reading.data, reading.error, reading.stderr,
            reading.duration, reading.finished,
        )
        .join_from(schema.ticket, schema.reading, (reading.ticket_id == known.id) & (reading.finished == known.finished))
        .join(schema.host, owner.id == known.host_id)
        .where(known.ticket == ticket)
    )  # fmt: skip
    row: Any = db.execute(statement).first()
    if row is None:
        return None
    (sensor, arguments) = row[2]
    return StoredReading(row[0], row[1], sensor, arguments, row[3], row[4], row[5] or "", row[6] or "", row[7], row[8])


@dataclass(frozen=True, slots=True)
class Series:
    """A probe's readings over time.

    Attributes:
        length: seconds that each point sums up; 0: they are single readings.
        points: [start, mean, lowest, highest, worst], in order; None where there was no number.
    """

    length: float
    points: list[tuple[float, float | None, float | None, float | None, int | None]]


def series(db: Connection, host_probe_id: int, begin: float, end: float, points: int = POINTS) -> Series:
    """A probe's readings between two times, as finely as fits into so many points."""
    reading = schema.reading.c
    within = (reading.host_probe_id == host_probe_id, reading.finished >= begin, reading.finished < end)
    statement = select(reading.finished, reading.value).where(*within).order_by(reading.finished).limit(points + 1)
    rows = db.execute(statement).all()
    if len(rows) <= points and not _older(db, host_probe_id, begin, rows[0][0] if rows else end):
        return Series(0.0, [(when, value, value, value, None) for when, value in rows])
    for table in (schema.rollup_5m, schema.rollup_1h):
        length = LENGTHS[table.name]
        if (end - begin) / length <= points or table is schema.rollup_1h:
            return Series(length, _sums(db, table, host_probe_id, begin, end, points))
    raise AssertionError


def _older(db: Connection, host_probe_id: int, begin: float, first: float) -> bool:
    """Whether there are sums of a time whose single readings have gone already."""
    table = schema.rollup_1h.c
    hour = LENGTHS["rollup_1h"]
    statement = select(table.start).where(
        table.host_probe_id == host_probe_id, table.start >= begin, table.start + hour <= first
    )
    return db.execute(statement.limit(1)).first() is not None


def _sums(
    db: Connection, table: Table, host_probe_id: int, begin: float, end: float, points: int
) -> list[tuple[float, float | None, float | None, float | None, int | None]]:
    known = table.c
    length = LENGTHS[table.name]
    statement = (
        select(known.start, known.n, known.sum, known.min, known.max, known.worst)
        .where(known.host_probe_id == host_probe_id, known.start >= begin // length * length, known.start < end)
        .order_by(known.start)
    )
    rows = db.execute(statement).all()
    step = -(-len(rows) // points) or 1
    found: list[tuple[float, float | None, float | None, float | None, int | None]] = []
    for first in range(0, len(rows), step):
        group = rows[first : first + step]
        n = sum(row.n for row in group)
        lows, highs = [row.min for row in group if row.n], [row.max for row in group if row.n]
        mean = sum(row.sum for row in group) / n if n else None
        worst = max(row.worst for row in group)
        found.append((group[0].start, mean, min(lows, default=None), max(highs, default=None), worst))
    return found
