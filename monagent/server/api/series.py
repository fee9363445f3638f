"""Tell of a probe's readings over time."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, select

from monagent.server import schema
from monagent.server.alerts.levels import SEVERITY
from monagent.server.api.question import BadQuestion, NotThere, Parameter, named, timed, whole
from monagent.server.readings import POINTS, series
from monagent.server.times import iso

DAY = 86_400.0
_MANY = 300
_WORDS = {number: word for word, number in SEVERITY.items()}
_host, _probe = schema.host.c, schema.host_probe.c

READINGS = (
    named("host", "the host's name", required=True),
    named("probe", "the probe's name", required=True),
    timed("from", "from when on; a day before `to` when it is left out"),
    timed("to", "until when; now when it is left out"),
    Parameter(
        "points", whole(1, POINTS), f"how many points at most, {POINTS} and no more",
        {"type": "integer", "minimum": 1, "maximum": POINTS, "default": _MANY}, _MANY,
    ),
)  # fmt: skip


def readings(db: Connection, asked: dict[str, Any], now: float) -> Any:
    """The readings of a probe, as finely as fits into so many points: single ones, or sums of five minutes or an hour."""
    statement = select(_probe.id, _probe.sensor, _probe.arguments).join_from(schema.host_probe, schema.host)
    row = db.execute(statement.where(_host.name == asked["host"], _probe.probe == asked["probe"])).first()
    if row is None:
        raise NotThere(f"host {asked['host']!r} has no probe {asked['probe']!r}; /api/v1/probes names them all")
    end = now if asked["to"] is None else asked["to"]
    begin = end - DAY if asked["from"] is None else asked["from"]
    if begin >= end:
        raise BadQuestion("from", "must be before `to`")
    found = series(db, row.id, begin, end, asked["points"])
    return {
        "host": asked["host"],
        "probe": asked["probe"],
        "sensor": row.sensor,
        "arguments": row.arguments,
        "from": iso(begin),
        "to": iso(end),
        "seconds_each": found.length,
        "points": [
            {"time": iso(when), "mean": mean, "lowest": low, "highest": high, "worst": _WORDS.get(worst)}  # type: ignore[arg-type]
            for when, mean, low, high, worst in found.points
        ],
    }
