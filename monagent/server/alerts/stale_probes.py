"""Notice probes of which no result comes although their hosts hand in others."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import and_, bindparam, or_, select, update

from monagent.alarms.watch import UNKNOWN, Told
from monagent.mail.views import moment
from monagent.server.alerts.lateness import MISSED, OVERDUE_SECONDS, overdue_after, overdue_by_cron
from monagent.server.alerts.ledger import Ledger
from monagent.server.alerts.memory import STALE, gone_stale
from monagent.server.alerts.subjects import chunks
from monagent.server.alerts.telling import News
from monagent.server.alerts.vigil import Patience
from monagent.server.database import Database
from monagent.server.schema import host, host_probe

TOGETHER = 100
"""Probes in one transaction."""
PAGE, PAGES = 1_000, 1_000
"""Late ones are read so many at once, at most so often in one look."""

_h, _p = host.c, host_probe.c


@dataclass(frozen=True, slots=True)
class _Late:
    """A probe that may be late."""

    id: int
    every: float | None
    cron: str | None
    timezone: str | None
    phase: float
    received: float | None
    seen: float

    def deadline(self, since: float) -> float:
        """Until when there must be a result."""
        if self.every is not None:
            return since + overdue_after(self.every)
        try:
            return overdue_by_cron(self.cron or "", self.timezone or "UTC", self.phase, since)
        except ValueError:  # it never runs again
            return float("inf")


class StaleProbes:
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
        """Call stale what is.

        Args:
            now: seconds since the epoch.
            began: since when it is watched without a break.
        """
        overdue = {}
        after = 0
        for _ in range(PAGES):
            with self._database.read() as db:
                rows = [_Late(*row) for row in db.execute(_LATE, {"now": now, "after": after})]
            overdue.update({row.id: row.received for row in rows if self._is_overdue(row, now, began)})
            if len(rows) < PAGE:
                break
            after = rows[-1].id
        self._patience.forget()
        for together in chunks(sorted(overdue), TOGETHER):
            self._call_stale({number: overdue[number] for number in together}, now)

    def _is_overdue(self, one: _Late, now: float, began: float) -> bool:
        # By our clock alone: one step of an agent's clock would make all of its probes stale at once.
        deadline = None if one.received is None else one.deadline(one.received)
        since = max(self._patience.since(one.id, one.received, deadline, now), began)
        # Its host was heard of when this was late already; else it is the host that is late.
        return min(now, one.seen) > one.deadline(since)

    def _call_stale(self, received: dict[int, float | None], now: float) -> None:
        with self._database.write() as db:
            rows = db.execute(self._database.locking(_SILENT.where(_p.id.in_(received)), skip=True)).all()
            rows = [row for row in rows if row.received == received[row.id]]
            if not rows:
                return
            values = [{"of": row.id, "at": now, "mind": gone_stale(row.watch, now)} for row in rows]
            db.execute(_MARK, values)
            ledger = Ledger(db, now, {(row.host_id, row.id) for row in rows})
            for row in rows:
                incident = ledger.incident((row.host_id, row.id))
                if incident is None or incident.state != STALE:
                    ledger.note((row.host_id, row.id), News(Told.PROBLEM, STALE, row.received or now, _silence(row)))
            ledger.finish()


def _silence(row: Any) -> str:
    if row.received is None:
        return "there was never a result, although the host hands in others"
    return f"no result has come since {moment(row.received)}, although the host hands in others"


_now: Any = bindparam("now")
_MAY_BE_LATE = or_(
    _p.received.is_(None),
    and_(_p.every.is_not(None), _p.received < _now - OVERDUE_SECONDS, _p.received < _now - MISSED * _p.every),
    and_(_p.cron.is_not(None), _p.received < _now - OVERDUE_SECONDS),
)
_LATE = (
    select(_p.id, _p.every, _p.cron, _p.timezone, _p.phase, _p.received, _h.seen)
    .join_from(host_probe, host)
    .where(
        _p.active, _p.due.is_not(None), _p.stale.is_(None), _h.silent.is_(None),
        _h.seen.is_not(None), _MAY_BE_LATE, _p.id > bindparam("after"),
    )
    .order_by(_p.id)
    .limit(PAGE)
)  # fmt: skip
_SILENT = select(_p.id, _p.host_id, _p.received, _p.watch).where(_p.active, _p.stale.is_(None)).order_by(_p.id)
_MARK = (
    update(host_probe)
    .where(_p.id == bindparam("of"))
    .values(stale=bindparam("at"), state=UNKNOWN, since=bindparam("at"), watch=bindparam("mind"))
)
