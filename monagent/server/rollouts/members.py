"""Write down how far a roll-out is, and its hosts."""

from __future__ import annotations

import logging

from sqlalchemy import Connection, update

from monagent.server import schema
from monagent.server.rollouts import states
from monagent.server.rollouts.rows import Member, Rollout
from monagent.server.rollouts.verdicts import Verdict

log = logging.getLogger(__name__)


def set_member(db: Connection, rollout: Rollout, member: Member, verdict: Verdict, now: float) -> None:
    """A host has come to another state."""
    known = schema.rollout_host.c
    db.execute(
        update(schema.rollout_host)
        .where(known.rollout_id == rollout.id, known.host_id == member.host_id)
        .values(state=verdict.state, reason=verdict.reason, changed=now)
    )
    log.info("roll-out %d host=%s %s: %s", rollout.id, member.name, verdict.state, verdict.reason or "-")


def end(db: Connection, rollout: Rollout, state: str, reason: str | None, now: float) -> None:
    """A roll-out is over."""
    values = {"state": state, "reason": reason, "ended": now}
    db.execute(update(schema.rollout).where(schema.rollout.c.id == rollout.id).values(values))
    level = logging.INFO if state == states.DONE else logging.ERROR
    log.log(level, "roll-out %d of %s %s %s: %s", rollout.id, rollout.sensor, rollout.version, state, reason or "-")


def late(member: Member, rollout: Rollout, now: float, what: str) -> str:
    """What to say of a host whose time is up; empty: it is not."""
    return f"{what} within {rollout.patience:.0f} s" if now - member.changed > rollout.patience else ""
