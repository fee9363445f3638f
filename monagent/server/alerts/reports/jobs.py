"""Put reports into the outbox when they are due, each by one process."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any

from sqlalchemy import Connection, delete, insert, select, update
from sqlalchemy.exc import IntegrityError

from monagent.errors import Refused
from monagent.server.alerts.carriers.parcels import WAITING
from monagent.server.alerts.reports.definition import ReportDefinition, definition_of
from monagent.server.database import Database
from monagent.server.schema import definition, job, notification

log = logging.getLogger(__name__)

PREFIX = "report:"


class ReportJob:
    """To be run every few seconds; any process may, and each report goes out once."""

    def __init__(self, database: Database, wake: Callable[[], None] = lambda: None) -> None:
        """
        Args:
            database: of definitions, jobs and the outbox.
            wake: called when there is a report to be sent.
        """
        self._database = database
        self._wake = wake
        self._wrong: set[str] = set()

    def run(self, now: float) -> int:
        """Queue what is due; how many reports.

        Raises:
            StoreAway: the database is away.
        """
        with self._database.read() as db:
            reports, wrong = _defined(db)
            rows = db.execute(select(job.c.name, job.c.due, job.c.ran).where(job.c.name.startswith(PREFIX)))
            known = {row.name: (row.due, row.ran) for row in rows}
        for problem in sorted(wrong - self._wrong):
            log.error("%s", problem)
        self._wrong = wrong
        queued = sum(self._one(report, *known.get(PREFIX + report.name, (None, None)), now) for report in reports)
        self._forget(known, {PREFIX + report.name for report in reports})
        if queued:
            self._wake()
        return queued

    def _one(self, report: ReportDefinition, due: float | None, ran: float | None, now: float) -> bool:
        name, following = PREFIX + report.name, report.next_due(now)
        if due is None:
            self._begin(name, following)
            return False
        # What was due at another time than it says now was defined anew since, and begins anew.
        is_ours = report.next_due(due - 1) == due
        if is_ours and now < due <= following:
            return False
        is_news = ran is None or report.last_full(ran) != report.last_full(now)
        with self._database.write() as db:
            # Whoever moves it ahead has it.
            moved = update(job).where(job.c.name == name, job.c.due == due).values(due=following)
            if due > now or not (is_ours and is_news):
                db.execute(moved)
                return False
            if db.execute(moved.values(ran=now)).rowcount != 1:
                return False
            db.execute(insert(notification), [row_of(report, now)])
        log.info("report %s is queued for %s", report.name, ", ".join(report.mail))
        return True

    def _begin(self, name: str, following: float) -> None:
        """A report that is new begins with its next time."""
        try:
            with self._database.write() as db:
                db.execute(insert(job).values(name=name, due=following))
        except IntegrityError:  # another process was first
            log.debug("%s was begun by another process", name)

    def _forget(self, known: Mapping[str, object], kept: set[str]) -> None:
        gone = sorted(known.keys() - kept)
        if gone:
            with self._database.write() as db:
                db.execute(delete(job).where(job.c.name.in_(gone)))


def _defined(db: Connection) -> tuple[list[ReportDefinition], set[str]]:
    """Those that can be sent, and what is wrong with others."""
    c = definition.c
    rows = db.execute(select(c.name, c.content).where(c.kind == "report").order_by(c.name))
    found, wrong = [], set()
    for name, content in rows:
        try:
            report = definition_of(name, content)
        except Refused as error:
            wrong.add(str(error))
            continue
        if report.mail:
            found.append(report)
    return found, wrong


def row_of(report: ReportDefinition, now: float) -> dict[str, Any]:
    """The notification that brings a report of its last full period."""
    return {
        "incident_id": None,
        "rule": report.name or report.kind,
        "channel": "mail",
        "target": ",".join(report.mail),
        "what": "report",
        "content": report.content(report.last_full(now)),
        "state": WAITING,
        "created": now,
        "next_try": now,
        "attempts": 0,
    }
