"""Sums of readings against the readings themselves."""

from __future__ import annotations

import random
from typing import Any

from sqlalchemy import select

from monagent.server import schema
from monagent.server.database import Database
from monagent.server.rollups import LENGTHS, Point, add

LEVELS = ("ok", "warning", "critical")


def month(probe: int, begin: float, step: float = 900.0) -> list[Point]:
    """A month of one probe: numbers, and now and then none."""
    chance = random.Random(probe)
    points = []
    for number in range(int(30 * 86_400 / step)):
        when = begin + number * step + chance.uniform(0, 5)
        if chance.random() < 0.02:
            points.append(Point(probe, when, None, "unknown"))
        else:
            points.append(Point(probe, when, chance.gauss(50, 20), chance.choice(LEVELS)))
    return points


def expected(points: list[Point], probe: int, start: float, length: float) -> dict[str, Any]:
    """The row that these readings make, by another way."""
    mine = [one for one in points if one.host_probe_id == probe and start <= one.finished < start + length]
    values = [one.value for one in mine if one.value is not None]
    return {
        "n": len(values),
        "sum": sum(values),
        "min": min(values, default=None),
        "max": max(values, default=None),
        "missing": len(mine) - len(values),
        "warnings": sum(one.level == "warning" for one in mine),
        "criticals": sum(one.level == "critical" for one in mine),
        "worst": max({"ok": 0, "warning": 1, "unknown": 2, "critical": 3}[one.level] for one in mine),
    }


def test_a_month_is_summed_up_as_its_readings_say(database: Database) -> None:
    """Whatever the order in which they came, and in whichever batches."""
    begin = 1_790_000_000.0
    points = [point for probe in (1, 2) for point in month(probe, begin)]
    shuffled = points.copy()
    random.Random(5).shuffle(shuffled)
    while shuffled:
        with database.write() as db:
            add(db, shuffled[:700])
        shuffled = shuffled[700:]

    for table in (schema.rollup_5m, schema.rollup_1h):
        with database.read() as db:
            rows = db.execute(select(table)).all()
        length = LENGTHS[table.name]
        assert len(rows) == len({(one.host_probe_id, one.finished // length) for one in points})
        by_start: dict[tuple[int, float], list[Point]] = {}
        for one in points:
            by_start.setdefault((one.host_probe_id, one.finished // length * length), []).append(one)
        for row in rows:
            right = expected(by_start[row.host_probe_id, row.start], row.host_probe_id, row.start, length)
            shown = {name: getattr(row, name) for name in right}
            assert abs(shown.pop("sum") - right.pop("sum")) < 1e-6
            assert shown == right


def test_nothing_to_add_adds_nothing(database: Database) -> None:
    """No empty statement reaches the database."""
    with database.write() as db:
        add(db, [])
        assert db.execute(select(schema.rollup_5m)).first() is None
