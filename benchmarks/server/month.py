"""How long it takes to read a month of one probe for a plot."""

from __future__ import annotations

import math
import time

from sqlalchemy import insert

from benchmarks.rows import Row
from benchmarks.server.databases import Kept
from monagent.server import readings, rollups, schema
from monagent.server.database import Database
from monagent.server.migrate import prepare
from monagent.server.rollups import Point

PROBES = 5
MINUTES = 30 * 24 * 60
TOGETHER = 2_000
READS = 9


def rows(name: str, kept: Kept) -> list[Row]:
    """Keep a month of minutely readings of some probes, and read one of them: over all of it, and its last day."""
    database = Database(kept.url)
    try:
        prepare(database)
        end = math.floor(time.time() / 60) * 60.0
        _fill(database, end)
        month, points = _times(database, end - MINUTES * 60, end)
        day, day_points = _times(database, end - 86_400, end)
    finally:
        database.close()
    return [
        Row(f"{name}: a month of one probe, {points} points", "ms", month, "<", 100.0),
        Row(f"  a day of it, {day_points} points", "ms", day, "<", 100.0),
    ]


def _times(database: Database, begin: float, end: float) -> tuple[tuple[float, ...], int]:
    times, points = [], 0
    for _ in range(READS):
        started = time.perf_counter()
        with database.read() as db:
            points = len(readings.series(db, 1, begin, end).points)
        times.append((time.perf_counter() - started) * 1e3)
    return tuple(times), points


def _fill(database: Database, end: float) -> None:
    """Readings one after another as they would have come: those of one probe do not lie side by side."""
    began = end - MINUTES * 60
    every = [(began + 60 * minute + probe, probe) for minute in range(MINUTES) for probe in range(1, PROBES + 1)]
    for first in range(0, len(every), TOGETHER):
        some = every[first : first + TOGETHER]
        with database.write() as db:
            db.execute(insert(schema.reading), [_reading(first + number, *one) for number, one in enumerate(some)])
            rollups.add(db, [Point(probe, when, _value(when, probe), "ok") for when, probe in some])


def _reading(number: int, when: float, probe: int) -> dict[str, object]:
    value = _value(when, probe)
    return {
        "ticket_id": number, "finished": when, "host_id": 1, "host_probe_id": probe, "received": when + 0.1, "ret_code": 0,
        "data": str(value), "value": value, "duration": 0.05,
    }  # fmt: skip


def _value(when: float, probe: int) -> float:
    return round(50 + 40 * math.sin(when / 10_000 + probe), 2)
