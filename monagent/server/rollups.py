"""Sum readings up as they come: for five minutes, and for an hour.

Each reading is added in the transaction that keeps it, so that the sums are right whenever it comes, and whatever the
times of others that come late.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Table, case, func
from sqlalchemy.dialects import postgresql, sqlite

from monagent.alarms.watch import CRITICAL, UNKNOWN, WARNING
from monagent.server import schema
from monagent.server.alerts.levels import SEVERITY

LENGTHS: dict[str, float] = {"rollup_5m": 300.0, "rollup_1h": 3600.0}
"""Seconds that a row of each table sums up."""


LARGEST = 1e290
"""That is added to a sum: a million of them are still a number."""


@dataclass(frozen=True, slots=True)
class Point:
    """One reading, as far as sums go; `value` None: no number to trust; `level` by the thresholds alone."""

    host_probe_id: int
    finished: float
    value: float | None
    level: str


def add(db: Connection, points: Iterable[Point]) -> None:
    """Add readings to the sums that they belong to."""
    points = list(points)
    if not points:
        return
    for table in (schema.rollup_5m, schema.rollup_1h):
        rows = list(sums(points, LENGTHS[table.name]).values())
        # In one order everywhere: two processes that add to the same sums wait for each other only once.
        rows.sort(key=lambda row: (row["host_probe_id"], row["start"]))
        db.execute(_UPSERTS[db.dialect.name, table.name], rows)


def sums(points: Iterable[Point], length: float) -> dict[tuple[int, float], dict[str, Any]]:
    """Sum up, by probe and time; `length` is in seconds."""
    found: dict[tuple[int, float], dict[str, Any]] = {}
    for point in points:
        start = point.finished // length * length
        key = point.host_probe_id, start
        row = found.get(key)
        if row is None:
            row = found[key] = {
                "host_probe_id": point.host_probe_id, "start": start, "n": 0, "sum": 0.0, "min": None, "max": None,
                "missing": 0, "warnings": 0, "criticals": 0, "worst": 0,
            }  # fmt: skip
        _count(row, point)
    return found


def _count(row: dict[str, Any], point: Point) -> None:
    value = point.value
    if value is None:
        row["missing"] += 1
    else:
        row["n"] += 1
        # A database refuses a sum that is beyond what a double can hold.
        row["sum"] += max(min(value, LARGEST), -LARGEST)
        row["min"] = value if row["min"] is None else min(row["min"], value)
        row["max"] = value if row["max"] is None else max(row["max"], value)
    if point.level != UNKNOWN:
        row["warnings"] += point.level == WARNING
        row["criticals"] += point.level == CRITICAL
    row["worst"] = max(row["worst"], SEVERITY[point.level])


def _upsert(dialect: str, table: Table) -> Any:
    insert, least, greatest = (
        (postgresql.insert, func.least, func.greatest)
        if dialect == "postgresql"
        else (sqlite.insert, func.min, func.max)
    )
    statement = insert(table)
    old, new = table.c, statement.excluded

    def either(pick: Any, name: str) -> Any:
        # SQLite's min and max of two are null when one of them is.
        return case(
            (old[name].is_(None), new[name]), (new[name].is_(None), old[name]), else_=pick(old[name], new[name])
        )

    changes = {name: old[name] + new[name] for name in ("n", "sum", "missing", "warnings", "criticals")}
    changes |= {"min": either(least, "min"), "max": either(greatest, "max"), "worst": either(greatest, "worst")}
    return statement.on_conflict_do_update(index_elements=["host_probe_id", "start"], set_=changes)


_UPSERTS = {
    (dialect, table.name): _upsert(dialect, table)
    for dialect in ("sqlite", "postgresql")
    for table in (schema.rollup_5m, schema.rollup_1h)
}
