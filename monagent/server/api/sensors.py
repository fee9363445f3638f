"""Tell which sensors the hosts have, and how new versions are rolled out."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from sqlalchemy import Connection

from monagent.errors import Refused
from monagent.server.api.paging import cursor, page
from monagent.server.api.question import LIMIT, NotThere, named, worded
from monagent.server.repository import inventory as kept
from monagent.server.rollouts import orders
from monagent.server.site.hosts import host as host_named
from monagent.server.times import iso

_STATES = (kept.OK, kept.MISSING, kept.OTHER, kept.EDITED, kept.EXTRA, kept.UNKNOWN)
_TIMES = ("started", "ended", "changed", "reported")
_HIDDEN = ("host_id", "package_id", "previous_id")

INVENTORY = (
    named("host", "of this host"),
    named("sensor", "this sensor alone"),
    worded("state", "in this state, see `monserver inventory`", *_STATES),
    LIMIT,
    cursor(str, str),
)


def inventory(db: Connection, asked: dict[str, Any], _now: float) -> Any:
    """The sensors of the hosts against what should be there, by host and sensor."""
    only = None
    if asked["host"]:
        one = host_named(db, asked["host"])
        if one is None:
            raise NotThere(f"there is no host {asked['host']!r}; /api/v1/hosts names them all")
        only = [one]
    found = [
        finding
        for finding in kept.findings(db, only)
        if asked["state"] in (None, finding.state) and asked["sensor"] in (None, finding.sensor)
    ]
    found.sort(key=lambda finding: (finding.host, finding.sensor))
    begin = tuple(asked["cursor"] or ())
    rest = [finding for finding in found if (finding.host, finding.sensor) > begin][: asked["limit"] + 1]
    return page(rest, asked["limit"], lambda finding: [finding.host, finding.sensor], _shown)


def rollouts(db: Connection, _asked: dict[str, Any], _now: float) -> Any:
    """The newest roll-outs, the newest first, with how many hosts are in which state."""
    return {"items": [{**_shown(one), "hosts": counts} for one, counts in orders.listing(db)], "next": None}


def rollout(db: Connection, asked: dict[str, Any], _now: float) -> Any:
    """One roll-out with each of its hosts."""
    try:
        one, members = orders.shown(db, asked["id"])
    except Refused:
        raise NotThere(f"there is no roll-out {asked['id']}; /api/v1/rollouts names them") from None
    return {**_shown(one), "hosts": [_shown(member) for member in members]}


def _shown(one: Any) -> dict[str, Any]:
    members = asdict(one)
    return {name: iso(value) if name in _TIMES else value for name, value in members.items() if name not in _HIDDEN}
