"""Take a roll-out back: each host with the new version puts its newest backup back.

An agent may have done so by itself, when the new version could not start; a second time would lead one version too far.
So each host is asked first what it has.
"""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection, select, update

from monagent.models import Value
from monagent.protocol import RESTORE_SENSOR_CODE
from monagent.server import schema
from monagent.server.database import Database
from monagent.server.repository.inventory import LIST_SENSORS
from monagent.server.repository.repository import make_current
from monagent.server.rollouts import rows, states
from monagent.server.rollouts.members import end, late, set_member
from monagent.server.rollouts.plan import TOGETHER
from monagent.server.rollouts.rows import Member, Rollout
from monagent.server.rollouts.verdicts import Answer, Verdict, verdict_on
from monagent.server.ticketing import issue

_NOT_BACK = "not put back: "
_BY_ITSELF = "it had another version again already"


def go_on(db: Connection, database: Database, rollout: Rollout, now: float) -> None:
    """Take a roll-out that is being taken back one step further. Its row is kept by this transaction."""
    for member, answer in _told(db, rollout):
        _settle(db, rollout, member, answer, now)
    busy = len(rows.members(db, rollout.id, (states.UPDATING, states.RESTORING)))
    waiting = rows.has_updated(db, rollout.id)
    for member in waiting[: max(TOGETHER - busy, 0)]:
        _tell(db, rollout, member, LIST_SENSORS, [], now)
    if not waiting and not busy:
        _finish(db, database, rollout, now)


def _told(db: Connection, rollout: Rollout) -> Sequence[tuple[Member, Answer | None]]:
    told = rows.members(db, rollout.id, (states.RESTORING,))
    answers = rows.answers(db, [member.restore_ticket or "" for member in told])
    return [(member, answers.get(member.restore_ticket or "")) for member in told]


def _settle(db: Connection, rollout: Rollout, member: Member, answer: Answer | None, now: float) -> None:
    verdict = verdict_on(answer, done=states.RESTORED, late=late(member, rollout, now, "no outcome has come"))
    if verdict is None:
        return
    if verdict.state != states.RESTORED or answer is None:
        set_member(db, rollout, member, Verdict(states.FAILED, f"{_NOT_BACK}{verdict.reason}"), now)
    elif answer.method != LIST_SENSORS:
        set_member(db, rollout, member, verdict, now)
    elif has_another(answer.outcome, rollout.sensor, rollout.digest):
        set_member(db, rollout, member, Verdict(states.RESTORED, _BY_ITSELF), now)
    else:
        _tell(db, rollout, member, RESTORE_SENSOR_CODE, [rollout.sensor], now)


def has_another(outcome: object, sensor: str, digest: str) -> bool:
    """Whether an agent certainly has something else than the contents of this digest."""
    found = outcome.get("installed") if isinstance(outcome, dict) else None
    here = found.get(sensor) if isinstance(found, dict) else None
    told = here.get("digest") if isinstance(here, dict) else None
    return isinstance(told, str) and told not in ("", digest)


def _tell(
    db: Connection, rollout: Rollout, member: Member, method: str, arguments: Sequence[Value], now: float
) -> None:
    known = schema.rollout_host.c
    ticket = issue(db, member.host_id, method, arguments, now)
    db.execute(
        update(schema.rollout_host)
        .where(known.rollout_id == rollout.id, known.host_id == member.host_id)
        .values(state=states.RESTORING, restore_ticket=ticket, changed=now)
    )


def _finish(db: Connection, database: Database, rollout: Rollout, now: float) -> None:
    left = [member for member in rows.members(db, rollout.id, (states.FAILED,)) if member.restore_ticket]
    package = schema.package.c
    is_current = db.execute(select(package.current).where(package.id == rollout.package_id)).scalar()
    if is_current:
        make_current(db, database, rollout.sensor, rollout.previous_id)
    if not left:
        end(db, rollout, states.RESTORED, rollout.reason, now)
        return
    names = ", ".join(member.name for member in left[:5]) + (", …" if len(left) > 5 else "")
    more = f"{len(left)} hosts could not be put back ({names}); monserver rollout restore {rollout.id} tries again"
    end(db, rollout, states.STOPPED, f"{rollout.reason or ''}; {more}".lstrip("; ")[:2000], now)
