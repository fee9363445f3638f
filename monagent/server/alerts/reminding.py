"""The job that tells again of what goes on and nobody has in hand, and tells it those whom an alert named only later."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, case, func, select

from monagent.alarms.watch import Told
from monagent.server.alerts import incidents, rules, withholding
from monagent.server.alerts.carriers.parcels import WAITING
from monagent.server.alerts.incidents import OPEN, Incident, event
from monagent.server.alerts.rules import AlertRule, Target
from monagent.server.alerts.subjects import Key, Subject, claim, subjects
from monagent.server.alerts.telling import Telling
from monagent.server.alerts.withholding import Hold
from monagent.server.database import Database
from monagent.server.schema import incident as table
from monagent.server.schema import notification

EVERY_SECONDS = 30.0
TOGETHER, ROUNDS = 200, 1_000
"""Incidents in one transaction; transactions in one run."""

_OPEN = OPEN.where(table.c.acknowledged.is_(None), table.c.withheld.is_(None))


@dataclass(frozen=True, slots=True)
class Last:
    """When one target was told of an incident last, or it was tried; `waits`: that it is told something is still to come."""

    at: float
    waits: bool


@dataclass(frozen=True, slots=True)
class Owed:
    """Something that a target is to be told, not before `due`."""

    what: Told
    rule: AlertRule
    target: Target
    due: float


def owed(
    defined: Iterable[AlertRule], subject: Subject, incident: Incident, lasts: Mapping[Target, Last], now: float
) -> list[Owed]:
    """Who is to be told of an incident now. Whoever waits for something of it already is not sent more.

    Args:
        defined: all alerts.
        subject: what the incident is about.
        incident: one that is open, that nobody has in hand and nothing holds back.
        lasts: of all whom it was tried to tell of it.
        now: seconds since the epoch.
    """
    first = Told.FLAPPING if incident.flapping else Told.PROBLEM
    found = []
    for rule in defined:
        for target in rule.targets if rule.wants(subject, incident.state) else ():
            last = lasts.get(target)
            if last is None:
                found.append(Owed(first, rule, target, max(now, incident.opened + rule.delay)))
            elif rule.remind > 0 and not last.waits and now - last.at >= rule.remind:
                found.append(Owed(Told.REMINDER, rule, target, now))
    return found


class Reminding:
    """Any number of processes may run it."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def run(self, now: float) -> None:
        """Look once. `now`: seconds since the epoch."""
        with self._database.read() as db:
            defined, holds = rules.load(db), withholding.load(db, now)
        after = 0
        for _ in range(ROUNDS if defined else 0):
            with self._database.read() as db:
                found = [Incident(*row) for row in db.execute(_OPEN.where(table.c.id > after).limit(TOGETHER))]
                keys = _look(db, found, defined, holds, now)
            if keys:
                self._tell(set(keys), defined, holds, now)
            if len(found) < TOGETHER:
                return
            after = found[-1].id

    def _tell(self, keys: set[Key], defined: Sequence[AlertRule], holds: Sequence[Hold], now: float) -> None:
        with self._database.write() as db:
            still = incidents.open_incidents(db, claim(db, self._database, keys)).values()
            free = [one for one in still if one.acknowledged is None and one.withheld is None]
            telling = Telling(db, now)
            events: list[dict[str, Any]] = []
            # Looked at anew: another process may have told it, or somebody has taken it in hand.
            for one, subject, due in _look(db, free, defined, holds, now).values():
                for each in due:
                    telling.to_one(one, subject, each.what, each.rule, each.target, each.due)
                incidents.change(db, one.id, {"told": now})
                events += [_event(one, due, now)]
            telling.flush()
            incidents.add_events(db, events)


def _look(
    db: Connection, found: Sequence[Incident], defined: Sequence[AlertRule], holds: Sequence[Hold], now: float
) -> dict[Key, tuple[Incident, Subject, list[Owed]]]:
    """Of these incidents those of which somebody is to be told something now."""
    known, lasts = subjects(db, [one.key for one in found]), _lasts(db, [one.id for one in found])
    looked = {}
    for one in found:
        subject = known.get(one.key)
        if subject is None or not subject.active or withholding.holding(holds, subject) is not None:
            continue
        if due := owed(defined, subject, one, lasts.get(one.id, {}), now):
            looked[one.key] = one, subject, due
    return looked


def _event(one: Incident, due: Sequence[Owed], now: float) -> dict[str, Any]:
    again = all(each.what is Told.REMINDER for each in due)
    text = f"{len(due)} notifications" if again else "whom an alert named only after it was opened is told"
    return event(one.id, now, "reminder" if again else "told", one.state, text)


def _lasts(db: Connection, ids: Sequence[int]) -> dict[int, dict[Target, Last]]:
    c = notification.c
    waiting = func.sum(case((c.state == WAITING, 1), else_=0))
    statement = (
        select(c.incident_id, c.rule, c.channel, c.target, func.max(func.coalesce(c.sent, c.created)), waiting)
        .where(c.incident_id.in_(ids))
        .group_by(c.incident_id, c.rule, c.channel, c.target)
    )
    found: dict[int, dict[Target, Last]] = {}
    for number, rule, channel, target, at, waits in db.execute(statement):
        found.setdefault(number, {})[Target(rule, channel, target)] = Last(at, bool(waits))
    return found
