"""Put notifications of incidents into the outbox: to whom the rules say, unless something holds them back.

A notification that nobody has tried to send can be taken back. Whoever was told of a problem is told of its end, and so is
whoever it was tried to tell: who did not confirm may have it all the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from sqlalchemy import Connection, delete, insert, select

from monagent.alarms.watch import OK, Told
from monagent.server.alerts import rules, withholding
from monagent.server.alerts.carriers.parcels import WAITING
from monagent.server.alerts.incidents import Incident
from monagent.server.alerts.rules import AlertRule, Target
from monagent.server.alerts.subjects import Subject
from monagent.server.schema import notification as table


@dataclass(frozen=True, slots=True)
class News:
    """What has become of a subject.

    Attributes:
        what: why it is worth telling; NOTHING: it is not, but written down.
        state: ok, warning, critical, unknown, stale or silent.
        since: when it began.
        message: one sentence for people, or more.
        value: of the reading, where there is one to trust.
    """

    what: Told
    state: str
    since: float
    message: str
    value: float | None = None


class Telling:
    """Of one transaction. Nothing is written before `flush`, but what is taken back is gone at once."""

    def __init__(self, db: Connection, now: float) -> None:
        self._db = db
        self._now = now
        self._rows: list[dict[str, Any]] = []

    @cached_property
    def _rules(self) -> list[AlertRule]:
        return rules.load(self._db)

    @cached_property
    def _holds(self) -> list[withholding.Hold]:
        return withholding.load(self._db, self._now)

    def held_by(self, subject: Subject) -> str | None:
        """What holds back whatever there is to be told of a subject."""
        return withholding.holding(self._holds, subject)

    def problem(self, incident: Incident, subject: Subject, news: News, state: str) -> int:
        """Tell that something is wrong.

        Args:
            incident: whose news it is.
            subject: what it is about.
            news: what is told.
            state: what the rules go by: of the incident.

        Returns:
            How many notifications that makes.
        """
        before = self.take_back(incident)
        rows = []
        for rule in self._rules:
            if rule.wants(subject, state):
                content = _content(incident, subject, news, state, rule)
                for target in rule.targets:
                    due = min(self._now + rule.delay, before.get(target, self._now + rule.delay))
                    rows.append(self._row(incident, target, news.what, content, due))
        # In this order: what goes at once must not queue up behind what waits.
        self._rows += sorted(rows, key=lambda row: float(row["next_try"]))
        return len(rows)

    def recovery(self, incident: Incident, subject: Subject, news: News) -> int:
        """Tell the end of it to those who were told of it; what nobody was told yet is taken back.

        Returns:
            How many notifications that makes.
        """
        self.take_back(incident)
        told = self._told_of(incident)
        for target, content in told.items():
            kept = {name: content[name] for name in ("language", "secret_file") if name in content}
            whole = {**_about(incident, subject, news, OK), **kept}
            self._rows.append(self._row(incident, target, Told.RECOVERY, whole, self._now))
        return len(told)

    def to_one(
        self, incident: Incident, subject: Subject, what: Told, rule: AlertRule, target: Target, due: float
    ) -> None:
        """Tell one target alone how it is; not before `due`."""
        news = News(what, incident.state, incident.opened, incident.message, incident.value)
        content = _content(incident, subject, news, incident.state, rule)
        self._rows.append(self._row(incident, target, what, content, due))

    def take_back(self, incident: Incident, *, all_untried: bool = False) -> dict[Target, float]:
        """Delete the notifications of an incident whose delay is not over.

        Args:
            incident: whose.
            all_untried: those, too, that are due and that nobody has tried to send.

        Returns:
            Where each of them was to go, and when.
        """
        self.flush()
        c = table.c
        gone = delete(table).where(c.incident_id == incident.id, c.state == WAITING, c.attempts == 0)
        if not all_untried:
            gone = gone.where(c.next_try > self._now)
        rows = self._db.execute(gone.returning(c.rule, c.channel, c.target, c.next_try))
        return {Target(row.rule, row.channel, row.target): row.next_try for row in rows}

    def _told_of(self, incident: Incident) -> dict[Target, Mapping[str, Any]]:
        """Whom it was tried to tell of it, or will be for sure, and what last."""
        self.flush()
        c = table.c
        statement = select(c.rule, c.channel, c.target, c.content).where(c.incident_id == incident.id).order_by(c.id)
        rows = self._db.execute(statement)
        return {Target(row.rule, row.channel, row.target): row.content for row in rows}

    def flush(self) -> None:
        """Write the notifications."""
        rows, self._rows = self._rows, []
        if rows:
            self._db.execute(insert(table), rows)

    def _row(self, incident: Incident, to: Target, what: Told, content: dict[str, Any], due: float) -> dict[str, Any]:
        return {
            "incident_id": incident.id, "rule": to.rule, "channel": to.channel, "target": to.target, "what": what.value,
            "content": content, "state": WAITING, "created": self._now, "next_try": due, "attempts": 0,
        }  # fmt: skip


def _content(incident: Incident, subject: Subject, news: News, state: str, rule: AlertRule) -> dict[str, Any]:
    content = {**_about(incident, subject, news, state), "language": rule.language}
    return {**content, "secret_file": rule.secret_file} if rule.secret_file else content


def _about(incident: Incident, subject: Subject, news: News, state: str) -> dict[str, Any]:
    content: dict[str, Any] = {
        "host": subject.host,
        "groups": sorted(subject.groups),
        "state": state,
        "since": news.since,
        "message": news.message,
        "incident": incident.thread,
        "what": news.what.value,
    }
    if subject.probe is not None:
        content |= {"probe": subject.probe, "sensor": subject.sensor, "arguments": list(subject.arguments)}
        content |= {"warning": subject.warning, "critical": subject.critical, "value": news.value}
    return content
