"""The job that tells again of what goes on and nobody has in hand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, case, func, select

from monagent.alarms.watch import Told
from monagent.server.alerts import incidents, rules
from monagent.server.alerts.claiming import claim
from monagent.server.alerts.incidents import OPEN, Incident, event
from monagent.server.alerts.rules import AlertRule, Target
from monagent.server.alerts.subjects import Subject, subjects
from monagent.server.alerts.telling import FAILED, WAITING, News, Telling
from monagent.server.database import Database
from monagent.server.schema import incident as table
from monagent.server.schema import notification

EVERY_SECONDS = 30.0
TOGETHER, ROUNDS = 200, 1_000
"""Incidents in one transaction; transactions in one run."""

_OPEN = OPEN.where(table.c.told.is_not(None), table.c.acknowledged.is_(None), table.c.withheld.is_(None))


@dataclass(frozen=True, slots=True)
class _Last:
    """What one target was told of an incident last, and when."""

    incident_id: int
    target: Target
    at: float
    waits: bool


class Reminding:
    """Any number of processes may run it."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def run(self, now: float) -> None:
        """Look once. `now`: seconds since the epoch."""
        with self._database.read() as db:
            remind = {rule.name: rule for rule in rules.load(db) if rule.remind > 0}
        if not remind:
            return
        least = min(rule.remind for rule in remind.values())
        after = 0
        for _ in range(ROUNDS):
            with self._database.read() as db:
                found = [Incident(*row) for row in db.execute(_page(after, now - least))]
                due = _due(_last(db, [one.id for one in found], set(remind)), remind, now)
            if due:
                self._remind([one for one in found if one.id in due], remind, now)
            if len(found) < TOGETHER:
                return
            after = found[-1].id

    def _remind(self, found: Sequence[Incident], remind: dict[str, AlertRule], now: float) -> None:
        with self._database.write() as db:
            keys = claim(db, self._database, {one.key for one in found})
            known = subjects(db, keys)
            still = incidents.open_incidents(db, keys)
            telling = Telling(db, now)
            events: list[dict[str, Any]] = []
            # Looked at anew: another process may have reminded of it, or somebody has taken it in hand.
            due = _due(_last(db, [one.id for one in still.values()], set(remind)), remind, now)
            for key, one in still.items():
                subject = known.get(key)
                if subject is None or one.acknowledged is not None or one.withheld is not None or one.id not in due:
                    continue
                told = _tell(telling, one, subject, [(remind[target.rule], target) for target in due[one.id]])
                if told:
                    incidents.change(db, one.id, {"told": now})
                    events.append(event(one.id, now, "reminder", one.state, f"{told} notifications"))
            telling.flush()
            incidents.add_events(db, events)


def _tell(telling: Telling, one: Incident, subject: Subject, whom: Sequence[tuple[AlertRule, Target]]) -> int:
    if telling.held_by(subject) is not None:
        return 0
    news = News(Told.REMINDER, one.state, one.opened, one.message, one.value)
    whom = [(rule, target) for rule, target in whom if rule.wants(subject, one.state) and target in rule.targets]
    for rule, target in whom:
        telling.remind(one, subject, news, rule, target)
    return len(whom)


def _due(lasts: Sequence[_Last], remind: dict[str, AlertRule], now: float) -> dict[int, list[Target]]:
    """Whom to remind of which incident. Who waits for something of it already is not sent more."""
    found: dict[int, list[Target]] = {}
    for last in lasts:
        if not last.waits and now - last.at >= remind[last.target.rule].remind:
            found.setdefault(last.incident_id, []).append(last.target)
    return found


def _page(after: int, told_before: float) -> Any:
    return _OPEN.where(table.c.id > after, table.c.opened <= told_before).limit(TOGETHER)


def _last(db: Connection, ids: Sequence[int], names: set[str]) -> list[_Last]:
    if not ids:
        return []
    c = notification.c
    waiting = func.sum(case((c.state == WAITING, 1), else_=0))
    statement = (
        select(c.incident_id, c.rule, c.channel, c.target, func.max(func.coalesce(c.sent, c.created)), waiting)
        .where(c.incident_id.in_(ids), c.rule.in_(names), c.state != FAILED)
        .group_by(c.incident_id, c.rule, c.channel, c.target)
    )
    return [
        _Last(number, Target(rule, channel, target), at, bool(waits))
        for number, rule, channel, target, at, waits in db.execute(statement)
    ]
