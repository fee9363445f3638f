"""Count what the database knows of the fleet, each count bounded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Table, case, func, select

from monagent.server import schema

COUNTED = 50_000
"""Open tickets, and notifications, are counted up to here; beyond, a figure says at least how many there are."""
_NONE = "none"

_host, _probe = schema.host.c, schema.host_probe.c
_ticket, _notification, _job = schema.ticket.c, schema.notification.c, schema.job.c


@dataclass(frozen=True, slots=True)
class Job:
    """A job; `ran` in seconds since the epoch, None: never to its end."""

    ran: float | None
    in_trouble: bool


@dataclass(frozen=True, slots=True)
class Fleet:
    """What there is.

    Attributes:
        hosts, silent, in_trouble: all; those that hand in nothing; those that commands cannot be sent to.
        probes: by state; `none` before the first reading.
        stale: probes without results although their hosts hand in others.
        due, lateness: probes whose time has come, and how late the latest is, in seconds.
        tickets: open ones, by state.
        incidents: open ones, by state.
        notifications: that wait or failed.
        jobs: by name.
    """

    hosts: int
    silent: int
    in_trouble: int
    probes: Mapping[str, int]
    stale: int
    due: int
    lateness: float
    tickets: Mapping[str, int]
    incidents: Mapping[str, int]
    notifications: Mapping[str, int]
    jobs: Mapping[str, Job]


def counted(db: Connection, now: float) -> Fleet:
    """Count; `now` in seconds since the epoch."""
    hosts = db.execute(
        select(func.count(), func.count(_host.silent), func.count(_host.trouble)).select_from(schema.host)
    )
    due = db.execute(select(func.count(), func.min(_probe.due)).where(_probe.due <= now)).one()
    all_of_them, silent, in_trouble = hosts.one()
    return Fleet(
        hosts=all_of_them,
        silent=silent,
        in_trouble=in_trouble,
        probes=_probes(db),
        stale=db.scalar(select(func.count()).where(_probe.active.is_(True), _probe.stale.is_not(None))) or 0,
        due=due[0],
        lateness=now - due[1] if due[0] else 0.0,
        tickets=_by_state(db, schema.ticket, _ticket.ended.is_(None)),
        incidents=_by_state(db, schema.incident, schema.incident.c.closed.is_(None)),
        notifications={"waiting": 0, "failed": 0} | _by_state(db, schema.notification, _notification.state != "sent"),
        jobs={row.name: Job(row.ran, bool(row.in_trouble)) for row in db.execute(_JOBS)},
    )


_JOBS = select(_job.name, _job.ran, case((_job.trouble.is_(None), 0), else_=1).label("in_trouble")).limit(1_000)


def _probes(db: Connection) -> dict[str, int]:
    state = func.coalesce(_probe.state, _NONE)
    counts = select(state, func.count()).where(_probe.active.is_(True)).group_by(state)
    return {row[0]: row[1] for row in db.execute(counts)}


def _by_state(db: Connection, table: Table, which: Any) -> dict[str, int]:
    some = select(table.c.state).where(which).limit(COUNTED).subquery()
    return {row[0]: row[1] for row in db.execute(select(some.c.state, func.count()).group_by(some.c.state))}
