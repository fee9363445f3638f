"""What operators do to roll-outs: start one, stop it, have it taken back, look at it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, insert, select, update

from monagent.errors import Refused
from monagent.server import schema
from monagent.server.database import Database
from monagent.server.records import Host
from monagent.server.rollouts import rows, states
from monagent.server.rollouts.rows import Member, Rollout
from monagent.server.site.hosts import hosts

SHOWN = 100
"""Roll-outs in a list, the newest ones."""
_TAKEN_BACK = "taken back by "

_rollout, _member, _package = schema.rollout.c, schema.rollout_host.c, schema.package.c


@dataclass(frozen=True, slots=True)
class Order:
    """A roll-out to be.

    Attributes:
        package_id: what is rolled out.
        stages: the hosts of each stage.
        patience: seconds for each host to update, and then again for its checks to run.
        restore: take it back from everybody when it stops by itself.
        by: who wants it.
        push: see the schema.
    """

    package_id: int
    stages: Sequence[Sequence[int]]
    patience: float
    restore: bool
    by: str
    push: bool = False


def hosts_running(db: Connection, sensor: str) -> list[Host]:
    """The hosts that have a sensor, by name: a probe of theirs uses it, or they have reported it."""
    probe, known = schema.host_probe.c, schema.inventory.c
    probed = select(probe.host_id).where(probe.sensor == sensor, probe.active)
    reported = select(known.host_id).where(known.sensor == sensor)
    ids = set(db.execute(probed.union(reported)).scalars())
    return [host for host in hosts(db) if host.id in ids]


def start(db: Connection, database: Database, order: Order, now: float) -> int:
    """Write a roll-out down; a server that runs begins with it at once.

    Args:
        db: a transaction that writes.
        database: its database.
        order: what is wanted.
        now: seconds since the epoch.

    Returns:
        Its number.

    Raises:
        Refused: it has no hosts, or another one of the same sensor is under way.
    """
    if not any(order.stages):
        raise Refused("there are no hosts to roll it out to; name some by --host or --group, or take --all")
    sensor = db.execute(select(_package.sensor).where(_package.id == order.package_id)).scalar()
    if sensor is None:
        raise Refused("that version is gone; monserver sensor versions lists those that are there")
    # The rows of its versions stand for the sensor: two that start at the same time see each other.
    versions = select(_package.id, _package.current).where(_package.sensor == sensor).order_by(_package.id)
    found = db.execute(database.locking(versions)).all()
    _require_none_under_way(db, sensor)
    previous = next((row.id for row in found if row.current), None)
    row = {
        "package_id": order.package_id,
        "previous_id": previous,
        "state": states.RUNNING,
        "stage": 0,
        "stages": [len(stage) for stage in order.stages],
        "patience": order.patience,
        "restore": order.restore,
        "push": order.push,
        "started": now,
        "by": order.by[:255],
    }
    id_: int = db.execute(insert(schema.rollout).values(row).returning(_rollout.id)).scalar_one()
    db.execute(insert(schema.rollout_host), _members(id_, order, now))
    return id_


def _members(rollout_id: int, order: Order, now: float) -> list[dict[str, object]]:
    placed = [(host_id, stage) for stage, host_ids in enumerate(order.stages) for host_id in host_ids]
    return [
        {"rollout_id": rollout_id, "host_id": host_id, "stage": stage, "position": position, "state": states.WAITING, "changed": now}
        for position, (host_id, stage) in enumerate(placed)
    ]  # fmt: skip


def _require_none_under_way(db: Connection, sensor: str) -> None:
    under_way = (states.RUNNING, states.RESTORING)
    statement = rows.ROLLOUTS.where(_package.sensor == sensor, _rollout.state.in_(under_way)).limit(1)
    for other in rows.rollouts(db, statement):
        what = "push" if other.push else "roll-out"
        raise Refused(
            f"{what} {other.id} of {sensor} {other.version} is {other.state}; wait for it, "
            f"or monserver rollout stop {other.id}"
        )


def stop(db: Connection, database: Database, rollout_id: int, by: str, now: float) -> None:
    """Send nothing more. What was sent comes to its end, and what is installed stays.

    Raises:
        Refused: there is no such roll-out, or it is over.
    """
    found = _kept(db, database, rollout_id)
    if found.state not in (states.RUNNING, states.RESTORING):
        raise Refused(f"roll-out {rollout_id} is {found.state} already")
    values = {"state": states.STOPPED, "ended": now, "reason": f"stopped by {by}"[:2000]}
    db.execute(update(schema.rollout).where(_rollout.id == rollout_id).values(values))


def restore(db: Connection, database: Database, rollout_id: int, by: str) -> None:
    """Have a roll-out taken back that is over: each host with the new version puts its newest backup back.

    Raises:
        Refused: there is no such roll-out, it is under way, or taken back already.
    """
    found = _kept(db, database, rollout_id)
    if found.state == states.RUNNING:
        raise Refused(f"roll-out {rollout_id} is running; monserver rollout stop {rollout_id} first")
    if found.state in (states.RESTORING, states.RESTORED):
        raise Refused(f"roll-out {rollout_id} is {found.state} already")
    _require_none_under_way(db, found.sensor)
    # Those that could not be put back before still have it.
    not_back = (
        (_member.rollout_id == rollout_id) & (_member.state == states.FAILED) & _member.restore_ticket.is_not(None)
    )
    db.execute(update(schema.rollout_host).where(not_back).values(state=states.INSTALLED, restore_ticket=None))
    why = (found.reason or "").partition(_TAKEN_BACK)[0].removesuffix("; ")
    reason = f"{why}; {_TAKEN_BACK}{by}" if why else f"{_TAKEN_BACK}{by}"
    values = {"state": states.RESTORING, "ended": None, "reason": reason[:2000]}
    db.execute(update(schema.rollout).where(_rollout.id == rollout_id).values(values))


def _kept(db: Connection, database: Database, rollout_id: int) -> Rollout:
    """The roll-out, its row kept by this transaction."""
    statement = rows.ROLLOUTS.where(_rollout.id == rollout_id)
    found = rows.rollouts(db, database.locking(statement, of=schema.rollout))
    if not found:
        raise _unknown(rollout_id)
    return found[0]


def _unknown(rollout_id: int) -> Refused:
    return Refused(f"there is no roll-out {rollout_id}; monserver rollout list names them")


def listing(db: Connection) -> list[tuple[Rollout, dict[str, int]]]:
    """The newest roll-outs, newest first, with how many of their hosts are in which state."""
    found = rows.rollouts(db, rows.ROLLOUTS.order_by(_rollout.id.desc()).limit(SHOWN))
    counted = rows.counts(db, [rollout.id for rollout in found])
    return [(rollout, counted[rollout.id]) for rollout in found]


def shown(db: Connection, rollout_id: int) -> tuple[Rollout, list[Member]]:
    """A roll-out and its hosts.

    Raises:
        Refused: there is none of that number.
    """
    found = rows.rollouts(db, rows.ROLLOUTS.where(_rollout.id == rollout_id))
    if not found:
        raise _unknown(rollout_id)
    return found[0], rows.members(db, rollout_id)
