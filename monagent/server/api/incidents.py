"""Tell of incidents: what goes on, since when, and who was told."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, select

from monagent.server import schema
from monagent.server.alerts import listing
from monagent.server.alerts.carriers.requests import shown_target
from monagent.server.api.paging import behind, cursor, page
from monagent.server.api.question import LIMIT, NotThere, named, timed, worded
from monagent.server.times import iso

_incident, _host, _probe = schema.incident.c, schema.host.c, schema.host_probe.c
_LARGEST = 2**31 - 1
"""Of what the column can be compared with."""
_TIMES = ("opened", "closed", "told", "acknowledged", "at", "created", "sent", "next_try")
_INCIDENTS = (
    select(
        _incident.id, _host.name.label("host"), _probe.probe, _incident.state, _incident.worst, _incident.message,
        _incident.value, _incident.opened, _incident.closed, _incident.flapping, _incident.told, _incident.withheld,
        _incident.acknowledged, _incident.acknowledged_by, _incident.note,
    )
    .join_from(schema.incident, schema.host, _incident.host_id == _host.id)
    .outerjoin(schema.host_probe, _incident.host_probe_id == _probe.id)
    .order_by(_incident.id.desc())
)  # fmt: skip

INCIDENTS = (
    worded("open", "1: those that go on; 0: those that are over", "1", "0"),
    named("host", "of this host"),
    timed("since", "opened then or later"),
    LIMIT,
    cursor(int),
)


def incidents(db: Connection, asked: dict[str, Any], _now: float) -> Any:
    """Incidents, the newest first; `probe` is null where a whole host is silent."""
    statement = _INCIDENTS.limit(asked["limit"] + 1)
    if asked["open"]:
        statement = statement.where(
            _incident.closed.is_(None) if asked["open"] == "1" else _incident.closed.is_not(None)
        )
    if asked["host"]:
        statement = statement.where(_host.name == asked["host"])
    if asked["since"] is not None:
        statement = statement.where(_incident.opened >= asked["since"])
    if asked["cursor"]:
        key = [min(max(asked["cursor"][0], 0), _LARGEST)]
        statement = statement.where(behind([_incident.id], key, falling=True))
    rows = db.execute(statement).mappings().all()
    return page(rows, asked["limit"], lambda row: [row["id"]], _shown)


def incident(db: Connection, asked: dict[str, Any], _now: float) -> Any:
    """One incident, with its story and who was told."""
    found = listing.shown(db, asked["id"])
    if found is None:
        raise NotThere(f"there is no incident {asked['id']}; /api/v1/incidents names them")
    told = [{**_shown(one), "target": shown_target(one["channel"], one["target"])} for one in found["notifications"]]
    return {**_shown(found), "events": [_shown(one) for one in found["events"]], "notifications": told}


def _shown(members: Any) -> dict[str, Any]:
    return {name: iso(value) if name in _TIMES else value for name, value in members.items()}
