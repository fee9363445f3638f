"""Go on with roll-outs: whoever has a roll-out's row takes it one step further, and leaves all that counts in rows.

A server that dies in the middle is followed by any other; nothing is remembered outside of the database.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

from sqlalchemy import Connection, select, update

from monagent.protocol import UPDATE_SENSOR_CODE
from monagent.server import schema
from monagent.server.database import Database
from monagent.server.repository.repository import make_current
from monagent.server.rollouts import restoring, rows, states
from monagent.server.rollouts.members import end, late, set_member
from monagent.server.rollouts.plan import Advance, Halt, HostState, Send, next_step
from monagent.server.rollouts.rows import Member, Probe, Rollout
from monagent.server.rollouts.verdicts import Verdict, another_version, health, verdict_on
from monagent.server.ticketing import issue

log = logging.getLogger(__name__)

EVERY_SECONDS = 1.0
"""How often it is worth looking."""

_rollout, _member, _probe = schema.rollout.c, schema.rollout_host.c, schema.host_probe.c


class RolloutJob:
    """Takes every roll-out under way one step further; any number of processes may do so at once."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def run(self, now: float) -> None:
        """Do what can be done now, at `now` in seconds since the epoch.

        Raises:
            StoreAway: the database cannot be used just now; what was not done is done next time.
        """
        for rollout_id in self._open():
            with self._database.write() as db:
                self._turn(db, rollout_id, now)

    def _open(self) -> Sequence[int]:
        # What a roll-out that was stopped had begun comes to its end, too.
        begun = select(_member.rollout_id).where(_member.state == states.UPDATING)
        condition = _rollout.state.in_((states.RUNNING, states.RESTORING)) | _rollout.id.in_(begun)
        with self._database.read() as db:
            return db.execute(select(_rollout.id).where(condition).order_by(_rollout.id)).scalars().all()

    def _turn(self, db: Connection, rollout_id: int, now: float) -> None:
        statement = rows.ROLLOUTS.where(_rollout.id == rollout_id)
        found = rows.rollouts(db, self._database.locking(statement, skip=True, of=schema.rollout))
        if not found:
            return  # another process is at it
        rollout = found[0]
        self._settle_updates(db, rollout, now)
        if rollout.state == states.RUNNING:
            self._settle_checks(db, rollout, now)
            self._go_on(db, rollout, now)
        elif rollout.state == states.RESTORING:
            restoring.go_on(db, self._database, rollout, now)

    # -- what has come in ---------------------------------------------------------------------------------------

    def _settle_updates(self, db: Connection, rollout: Rollout, now: float) -> None:
        told = rows.members(db, rollout.id, (states.UPDATING,))
        answers = rows.answers(db, [member.ticket or "" for member in told])
        done = states.HEALTHY if rollout.push else states.INSTALLED
        for member in told:
            overdue = late(member, rollout, now, "no outcome has come")
            answer = answers.get(member.ticket or "")
            verdict = verdict_on(answer, done=done, late=overdue)
            if verdict is not None and verdict.state == done:
                verdict = another_version(answer, rollout.digest) or verdict
            if verdict is not None:
                set_member(db, rollout, member, verdict, now)

    def _settle_checks(self, db: Connection, rollout: Rollout, now: float) -> None:
        installed = rows.members(db, rollout.id, (states.INSTALLED,))
        probes = rows.awaited_probes(db, rollout.sensor, [member.host_id for member in installed])
        wanted: dict[int, float] = {}
        for member in installed:
            verdict = self._health(db, rollout, member, probes[member.host_id], now, wanted)
            if verdict is not None:
                set_member(db, rollout, member, verdict, now)
        self._ask_for(db, wanted, now)

    def _health(
        self,
        db: Connection,
        rollout: Rollout,
        member: Member,
        probes: list[Probe],
        now: float,
        wanted: dict[int, float],
    ) -> Verdict | None:
        if not probes:
            # Without its arguments a sensor cannot be run; the agent has tested it before it installed it.
            return Verdict(states.HEALTHY)
        told, since = rows.update_times(db, member)
        runs, under_way = rows.runs(db, probes, told, since)
        verdict = health(runs, late=late(member, rollout, now, "not all of its checks have run"))
        if verdict is None:
            # Not before `since`, which another process's clock has told: a run of before does not count.
            at = max(now, since)
            idle = [
                probe for probe, one in zip(probes, runs, strict=True) if not one.after and probe.id not in under_way
            ]
            wanted |= {probe.id: at for probe in idle if probe.due > at}
        return verdict

    def _ask_for(self, db: Connection, wanted: dict[int, float], now: float) -> None:
        """Have these probes run at these times."""
        if not wanted:
            return
        # Those that somebody else has just now are due anyway, or asked for next time: nobody waits here.
        statement = select(_probe.id).where(_probe.id.in_(sorted(wanted)), _probe.due > now).order_by(_probe.id)
        for id_ in db.execute(self._database.locking(statement, skip=True)).scalars().all():
            db.execute(update(schema.host_probe).where(_probe.id == id_).values(due=wanted[id_]))

    # -- what follows -------------------------------------------------------------------------------------------

    def _go_on(self, db: Connection, rollout: Rollout, now: float) -> None:
        members = rows.members(db, rollout.id, stage=rollout.stage)
        hosts = [HostState(one.host_id, one.name, one.state, one.reason) for one in members]
        step = next_step(rollout.stage, hosts, push=rollout.push)
        if isinstance(step, Send):
            self._send(db, rollout, step.host_ids, now)
        elif isinstance(step, Halt):
            halt(db, rollout, step.reason, now)
        elif isinstance(step, Advance):
            self._advance(db, rollout, now)

    def _send(self, db: Connection, rollout: Rollout, host_ids: Sequence[int], now: float) -> None:
        for host_id in host_ids:
            ticket = issue(db, host_id, UPDATE_SENSOR_CODE, [rollout.sensor], now)
            db.execute(
                update(schema.rollout_host)
                .where(_member.rollout_id == rollout.id, _member.host_id == host_id)
                .values(state=states.UPDATING, ticket=ticket, changed=now)
            )

    def _advance(self, db: Connection, rollout: Rollout, now: float) -> None:
        if rollout.stage + 1 < len(rollout.stages):
            db.execute(update(schema.rollout).where(_rollout.id == rollout.id).values(stage=rollout.stage + 1))
            log.info(
                "roll-out %d of %s %s: stage %d is well", rollout.id, rollout.sensor, rollout.version, rollout.stage + 1
            )
            return
        if not rollout.push:
            make_current(db, self._database, rollout.sensor, rollout.package_id)
        end(db, rollout, states.DONE, None, now)


def halt(db: Connection, rollout: Rollout, reason: str, now: float) -> None:
    """Stop a roll-out because of its hosts; where that was wanted, begin to take it back."""
    if not rollout.restore:
        end(db, rollout, states.STOPPED, reason, now)
        return
    db.execute(update(schema.rollout).where(_rollout.id == rollout.id).values(state=states.RESTORING, reason=reason))
    log.error("roll-out %d of %s %s is taken back: %s", rollout.id, rollout.sensor, rollout.version, reason)
