"""Notice hosts that hand in nothing at all: one incident for each, whatever the number of its probes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, and_, bindparam, exists, func, literal, null, or_, select, update

from monagent.alarms.watch import OK, Told
from monagent.mail.views import moment
from monagent.server.alerts.incidents import SILENT
from monagent.server.alerts.lateness import MISSED, OVERDUE_SECONDS, overdue_after, overdue_by_cron
from monagent.server.alerts.ledger import Ledger
from monagent.server.alerts.subjects import chunks
from monagent.server.alerts.telling import News
from monagent.server.alerts.vigil import Patience
from monagent.server.database import Database
from monagent.server.schema import host, host_probe
from monagent.server.times import age

TOGETHER = 100
"""Hosts in one transaction."""

_h, _p = host.c, host_probe.c
_SCHEDULED = and_(_p.active, _p.due.is_not(None))


@dataclass(frozen=True, slots=True)
class _Late:
    """A host that was not heard of for longer than two minutes, and one of the schedules that it has."""

    id: int
    seen: float | None
    every: float | None
    cron: str | None
    timezone: str | None
    phase: float

    def deadline(self, since: float) -> float:
        """Until when it must be heard of."""
        if self.every is not None:
            return since + overdue_after(self.every)
        try:
            return overdue_by_cron(self.cron or "", self.timezone or "UTC", self.phase, since)
        except ValueError:  # it never runs again
            return float("inf")


class SilentHosts:
    """For use by one thread; several processes may look at the same time."""

    def __init__(self, database: Database, slack: float) -> None:
        """
        Args:
            database: where everything is kept.
            slack: seconds within which a look follows the last one.
        """
        self._database = database
        self._patience = Patience(slack)

    def look(self, now: float, began: float) -> None:
        """Call silent who is, and take it back of those for whom it is not true any more.

        Args:
            now: seconds since the epoch.
            began: since when it is watched without a break.
        """
        overdue = self._overdue(now, began)
        for together in chunks(sorted(overdue), TOGETHER):
            self._call_silent({number: overdue[number] for number in together}, now)
        self._take_back(now)

    def _overdue(self, now: float, began: float) -> dict[int, float | None]:
        """Hosts that are overdue by any of their schedules, and when they were seen last."""
        with self._database.read() as db:
            late = [_Late(*row) for row in db.execute(_BY_INTERVAL, {"now": now})]
            late += [_Late(*row) for row in db.execute(_BY_CRON, {"now": now})]
        found: dict[int, float | None] = {}
        for one in late:
            deadline = None if one.seen is None else one.deadline(one.seen)
            since = max(self._patience.since(one.id, one.seen, deadline, now), began)
            if now > one.deadline(since):
                found[one.id] = one.seen
        self._patience.forget()
        return found

    def _call_silent(self, seen: dict[int, float | None], now: float) -> None:
        with self._database.write() as db:
            rows = db.execute(self._database.locking(_UNHEARD.where(_h.id.in_(seen)), skip=True)).all()
            rows = [row for row in rows if row.seen == seen[row.id]]
            if not rows:
                return
            db.execute(update(host).where(_h.id.in_([row.id for row in rows])).values(silent=now))
            ledger = Ledger(db, now, {(row.id, None) for row in rows})
            for row in rows:
                ledger.note((row.id, None), News(Told.PROBLEM, SILENT, row.seen or now, _silence(row)))
            ledger.finish()

    def _take_back(self, now: float) -> None:
        with self._database.read() as db:
            back = list(db.scalars(_BACK.limit(TOGETHER)))
            unwatched = list(db.scalars(_UNWATCHED.limit(TOGETHER)))
        if back:
            with self._database.write() as db:
                returned(db, back, now)
        if unwatched:
            with self._database.write() as db:
                _unwatch(db, self._database, unwatched, now)


def returned(db: Connection, host_ids: Sequence[int], now: float) -> None:
    """Hosts that were silent have handed something in: close their incidents, and tell those who were told.

    Args:
        db: a transaction that writes.
        host_ids: those whose `silent` is set; for others nothing happens.
        now: seconds since the epoch.
    """
    statement = select(_h.id, _h.name, _h.silent).where(_h.id.in_(host_ids), _h.silent.is_not(None)).order_by(_h.id)
    rows = db.execute(statement.with_for_update(key_share=True)).all()
    if not rows:
        return
    db.execute(update(host).where(_h.id.in_([row.id for row in rows])).values(silent=None))
    ledger = Ledger(db, now, {(row.id, None) for row in rows})
    for row in rows:
        text = f"{row.name} hands in results again; it was called silent {age(now - row.silent)} ago"
        ledger.note((row.id, None), News(Told.RECOVERY, OK, now, text))
    ledger.finish()


def _unwatch(db: Connection, database: Database, ids: Sequence[int], now: float) -> None:
    """Nothing runs there by a schedule any more, so nothing is missing."""
    rows = db.execute(database.locking(_UNWATCHED.where(_h.id.in_(ids)), skip=True, of=host)).all()
    found = [row.id for row in rows]
    if not found:
        return
    db.execute(update(host).where(_h.id.in_(found)).values(silent=None))
    ledger = Ledger(db, now, {(number, None) for number in found})
    for number in found:
        ledger.remove((number, None), "nothing runs there by a schedule any more")
    ledger.finish()


def _silence(row: Any) -> str:
    since = (
        f"nothing has come from {row.name} since {moment(row.seen)}"
        if row.seen
        else f"nothing ever came from {row.name}"
    )
    if row.trouble:
        return f"{since}\nthe server cannot reach it: {row.trouble}"
    return f"{since}\nits agent takes commands, but its results do not arrive here; look at its log"


_now: Any = bindparam("now")
_WATCHED = select(_p.id).where(_p.host_id == _h.id, _SCHEDULED)
_UNSEEN = or_(_h.seen.is_(None), _h.seen < _now - OVERDUE_SECONDS)
_BY_INTERVAL = (
    select(_h.id, _h.seen, func.min(_p.every), null(), null(), literal(0.0))
    .join_from(host, host_probe)
    .where(_h.silent.is_(None), _SCHEDULED, _p.every.is_not(None), _UNSEEN)
    .group_by(_h.id, _h.seen)
    .having(or_(_h.seen.is_(None), _h.seen < _now - MISSED * func.min(_p.every)))
)
_BY_CRON = (
    select(_h.id, _h.seen, null(), _p.cron, _p.timezone, _p.phase)
    .join_from(host, host_probe)
    .where(_h.silent.is_(None), _SCHEDULED, _p.every.is_(None), _UNSEEN)
)
_UNHEARD = select(_h.id, _h.name, _h.seen, _h.trouble).where(_h.silent.is_(None)).order_by(_h.id)
_BACK = select(_h.id).where(_h.silent.is_not(None), _h.seen > _h.silent).order_by(_h.id)
_UNWATCHED = select(_h.id).where(_h.silent.is_not(None), ~exists(_WATCHED)).order_by(_h.id)
