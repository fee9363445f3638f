"""Read what is kept of roll-outs, in the words of their rules."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Select, and_, func, select

from monagent.server import schema
from monagent.server.rollouts import states
from monagent.server.rollouts.verdicts import Answer, ProbeRuns, Reading

RUNS = 10
"""Of each probe that are looked at after an update, the newest ones: somebody looks every second."""

_rollout, _member, _host = schema.rollout.c, schema.rollout_host.c, schema.host.c
_package, _ticket, _probe, _reading = schema.package.c, schema.ticket.c, schema.host_probe.c, schema.reading.c


@dataclass(frozen=True, slots=True)
class Rollout:
    """A roll-out, or a push (see the schema). `previous_id` is the package that was current before."""

    id: int
    sensor: str
    version: str
    digest: str
    package_id: int
    previous_id: int | None
    state: str
    stage: int
    stages: list[int]
    patience: float
    restore: bool
    push: bool
    started: float
    ended: float | None
    by: str
    reason: str | None


@dataclass(frozen=True, slots=True)
class Member:
    """A host of a roll-out."""

    host_id: int
    name: str
    stage: int
    state: str
    ticket: str | None
    restore_ticket: str | None
    changed: float
    reason: str | None


@dataclass(frozen=True, slots=True)
class Probe:
    """A probe of a host that is awaited; `due` in seconds since the epoch."""

    id: int
    host_id: int
    probe: str
    nagios: bool
    due: float


ROLLOUTS: Select[Any] = select(
    _rollout.id, _package.sensor, _package.version, _package.digest, _rollout.package_id, _rollout.previous_id,
    _rollout.state, _rollout.stage, _rollout.stages, _rollout.patience, _rollout.restore, _rollout.push, _rollout.started,
    _rollout.ended, _rollout.by, _rollout.reason,
).join_from(schema.rollout, schema.package, _rollout.package_id == _package.id)  # fmt: skip
"""To be narrowed, and made records of by `rollouts`."""


def rollouts(db: Connection, statement: Select[Any]) -> list[Rollout]:
    """What a statement made of `ROLLOUTS` finds."""
    return [Rollout(*row) for row in db.execute(statement)]


def members(db: Connection, rollout_id: int, only: Iterable[str] = (), *, stage: int | None = None) -> list[Member]:
    """The hosts of a roll-out in their order: all, those in some states, or those of a stage."""
    statement = (
        select(
            _member.host_id, _host.name, _member.stage, _member.state, _member.ticket, _member.restore_ticket,
            _member.changed, _member.reason,
        )
        .join_from(schema.rollout_host, schema.host, _member.host_id == _host.id)
        .where(_member.rollout_id == rollout_id)
        .order_by(_member.stage, _member.position)
    )  # fmt: skip
    if only:
        statement = statement.where(_member.state.in_(sorted(only)))
    if stage is not None:
        statement = statement.where(_member.stage == stage)
    return [Member(*row) for row in db.execute(statement)]


def counts(db: Connection, rollout_ids: Sequence[int]) -> dict[int, dict[str, int]]:
    """How many hosts of each roll-out are in which state."""
    statement = (
        select(_member.rollout_id, _member.state, func.count())
        .where(_member.rollout_id.in_(rollout_ids))
        .group_by(_member.rollout_id, _member.state)
    )
    found: dict[int, dict[str, int]] = {id_: {} for id_ in rollout_ids}
    for rollout_id, state, count in db.execute(statement):
        found[rollout_id][state] = count
    return found


def answers(db: Connection, tickets: Sequence[str]) -> dict[str, Answer]:
    """How far these commands have come."""
    statement = (
        select(_ticket.ticket, _ticket.method, _ticket.state, _ticket.reason, _ticket.ended, schema.outcome.c.content)
        .outerjoin_from(schema.ticket, schema.outcome, schema.outcome.c.ticket_id == _ticket.id)
        .where(_ticket.ticket.in_(tickets))
    )
    return {row[0]: Answer(*row[1:]) for row in db.execute(statement)} if tickets else {}


def has_updated(db: Connection, rollout_id: int) -> list[Member]:
    """Those that have installed the new version, as far as is known, and were not told to take it back yet."""
    certain = members(db, rollout_id, (states.INSTALLED, states.HEALTHY))
    perhaps = members(db, rollout_id, (states.AWAY, states.FAILED))
    found = [*certain, *_with_good_outcome(db, rollout_id, perhaps)]
    return [member for member in found if member.restore_ticket is None]


def _with_good_outcome(db: Connection, rollout_id: int, perhaps: Sequence[Member]) -> list[Member]:
    """Those of them whose agent has said, maybe late, that it has installed it."""
    outcome = schema.outcome.c
    statement = (
        select(_member.host_id, outcome.content)
        .join_from(schema.rollout_host, schema.ticket, _ticket.ticket == _member.ticket)
        .join(schema.outcome, outcome.ticket_id == _ticket.id)
        .where(_member.rollout_id == rollout_id, _member.state.in_((states.AWAY, states.FAILED)))
    )
    ok = {host_id for host_id, content in db.execute(statement) if content.get("status") == "ok"} if perhaps else set()
    return [member for member in perhaps if member.host_id in ok]


def awaited_probes(db: Connection, sensor: str, host_ids: Sequence[int]) -> dict[int, list[Probe]]:
    """By host, the probes of a sensor that run by themselves."""
    statement = (
        select(_probe.id, _probe.host_id, _probe.probe, _probe.nagios, _probe.due)
        .where(_probe.host_id.in_(host_ids), _probe.sensor == sensor, _probe.active, _probe.due.is_not(None))
        .where(_probe.every.is_not(None) | _probe.cron.is_not(None))
        .order_by(_probe.id)
    )
    found: dict[int, list[Probe]] = {host_id: [] for host_id in host_ids}
    for row in db.execute(statement) if host_ids else ():
        found[row.host_id].append(Probe(*row))
    return found


def update_times(db: Connection, member: Member) -> tuple[float, float]:
    """When a host was told to update, and when it was known to have."""
    row = db.execute(select(_ticket.issued, _ticket.ended).where(_ticket.ticket == member.ticket)).first()
    return (row.issued, row.ended or member.changed) if row else (member.changed, member.changed)


def runs(db: Connection, probes: Sequence[Probe], told: float, since: float) -> tuple[list[ProbeRuns], set[int]]:
    """What the probes of one host gave around its update.

    Tickets tell which run was before and which after it: an agent's clock, and whole seconds, would not.

    Args:
        db: a transaction.
        probes: from `awaited_probes`.
        told: when the host was told to update.
        since: when it had.

    Returns:
        Their runs, and the ids of those with one under way.
    """
    ids = [probe.id for probe in probes]
    place = func.row_number().over(
        partition_by=_ticket.host_probe_id, order_by=(_ticket.issued.desc(), _ticket.id.desc())
    )
    newest = (
        select(_ticket.id, _ticket.host_probe_id, _ticket.issued, _ticket.ended, place.label("place"))
        .where(_ticket.host_id == probes[0].host_id, _ticket.issued >= since, _ticket.host_probe_id.in_(ids))
        .subquery()
        .c
    )
    statement = (
        select(newest.host_probe_id, newest.ended, _reading.ret_code, _reading.value, _reading.error)
        .outerjoin(schema.reading, _reading.ticket_id == newest.id)
        .where(newest.place <= RUNS)
        .order_by(newest.issued, newest.id)
    )
    after: dict[int, list[Reading]] = {id_: [] for id_ in ids}
    under_way = set()
    for id_, ended, ret_code, value, error in db.execute(statement):
        if ret_code is not None:
            after[id_].append(Reading(ret_code, value, error))
        elif ended is None:
            under_way.add(id_)
    found = [ProbeRuns(probe.probe, probe.nagios, _before(db, probe.id, told), after[probe.id]) for probe in probes]
    return found, under_way


def _before(db: Connection, probe_id: int, told: float) -> Reading | None:
    statement = (
        select(_reading.ret_code, _reading.value, _reading.error)
        .join_from(schema.reading, schema.ticket, and_(_ticket.id == _reading.ticket_id, _ticket.issued < told))
        .where(_reading.host_probe_id == probe_id)
        .order_by(_reading.finished.desc())
        .limit(1)
    )
    row = db.execute(statement).first()
    return Reading(*row) if row else None
