"""The latest readings of a probe, for the plot in its mail."""

from __future__ import annotations

from sqlalchemy import select

from monagent.server.database import Database
from monagent.server.schema import host, host_probe, reading

COUNT = 500
SPAN_SECONDS = 2 * 86_400.0
LARGEST = 1e300
"""That is plotted: between the ends of a plot there must be a number, too."""


def recent(database: Database, host_name: str, probe: str, now: float) -> list[tuple[float, float | None]]:
    """At most the last `COUNT` readings of two days, by time; None where there was no number to trust.

    Raises:
        StoreAway: the database is away.
    """
    found = (
        select(host_probe.c.id)
        .join(host, host.c.id == host_probe.c.host_id)
        .where(host.c.name == host_name, host_probe.c.probe == probe)
    )
    with database.read() as db:
        number = db.scalar(found)
        if number is None:
            return []
        statement = (
            select(reading.c.finished, reading.c.value)
            .where(reading.c.host_probe_id == number, reading.c.finished > now - SPAN_SECONDS)
            .order_by(reading.c.finished.desc())
            .limit(COUNT)
        )
        return [(row.finished, plottable(row.value)) for row in reversed(db.execute(statement).all())]


def plottable(value: float | None) -> float | None:
    """The number, or the nearest one that can be plotted."""
    return None if value is None else max(min(value, LARGEST), -LARGEST)
