"""Reports that are due go into the outbox once."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from sqlalchemy import delete, insert, select, update

from monagent.server.alerts.reports.jobs import ReportJob
from monagent.server.database import Database
from monagent.server.schema import definition, job
from tests.unit.server.alerts.carriers.rows import notifications
from tests.unit.server.alerts.reports.readings import DAY, START

SEVEN = START + DAY + 7 * 3600


def _define(database: Database, name: str = "ops", **content: Any) -> None:
    with database.write() as db:
        db.execute(delete(definition).where(definition.c.name == name))
        content = {"period": "daily", "mail": ["a@example.org", "b@example.org"], **content}
        db.execute(insert(definition).values(kind="report", name=name, content=content))


def _due(database: Database) -> list[float]:
    with database.read() as db:
        return list(db.scalars(select(job.c.due).order_by(job.c.name)))


def test_a_report_is_sent_each_morning(database: Database) -> None:
    """Of the day before; not at once when it is defined, and no second time."""
    _define(database, groups=["web"], language="zh")
    woken: list[bool] = []
    reports = ReportJob(database, lambda: woken.append(True))

    assert [reports.run(when) for when in (SEVEN - 60, SEVEN - 1, SEVEN, SEVEN + 1, SEVEN + DAY - 1)] == [0, 0, 1, 0, 0]
    assert reports.run(SEVEN + DAY) == 1
    first, second = notifications(database)
    assert (first.channel, first.what, first.rule) == ("mail", "report", "ops")
    assert first.target == "a@example.org,b@example.org"
    assert first.content == {
        "report": "ops", "kind": "daily", "period": [START, START + DAY], "hosts": [], "groups": ["web"], "timezone": "UTC",
        "language": "zh",
    }  # fmt: skip
    assert second.content["period"] == [START + DAY, START + 2 * DAY]
    assert woken == [True, True]


def test_after_days_off_one_report_is_sent(database: Database) -> None:
    """The last one; nobody wants a week of them."""
    _define(database)
    reports = ReportJob(database)
    reports.run(SEVEN)

    assert [reports.run(SEVEN + 5 * DAY + 60), reports.run(SEVEN + 5 * DAY + 61)] == [1, 0]
    assert notifications(database)[0].content["period"] == [START + 5 * DAY, START + 6 * DAY]


def test_many_processes_send_it_once(database: Database) -> None:
    """Whoever moves it ahead has it."""
    _define(database)
    ReportJob(database).run(SEVEN - 1)
    barrier = threading.Barrier(6)

    def run() -> None:
        barrier.wait(10)
        ReportJob(database).run(SEVEN + 1)

    threads = [threading.Thread(target=run) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert len(notifications(database)) == 1


def test_a_time_that_is_changed_counts_from_then_on(database: Database) -> None:
    """An earlier one is not waited for until the former one; a report that is gone is forgotten."""
    _define(database, period="monthly")
    reports = ReportJob(database)
    reports.run(SEVEN)
    _define(database, at="09:00")
    reports.run(SEVEN)
    assert _due(database) == [SEVEN + 2 * 3600]

    with database.write() as db:
        db.execute(delete(definition))
    assert reports.run(SEVEN + DAY) == 0
    assert _due(database) == []


@pytest.mark.parametrize("changed", [5, 8])
def test_a_day_is_told_once_however_its_time_is_changed(database: Database, changed: int) -> None:
    """Before it was sent or after."""
    _define(database)
    reports = ReportJob(database)
    told = []
    for hour in range(1, 48):
        if hour == changed:
            _define(database, at="09:00")
        told += [hour] * reports.run(START + DAY + hour * 3600)

    assert told == ([9, 33] if changed < 7 else [7, 33])


def test_a_report_that_is_wrong_is_said_once_and_keeps_no_other(
    database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    """Definitions are checked when they are made; an older version may have taken more."""
    _define(database)
    _define(database, "bad", timezone="Mars")
    reports = ReportJob(database)
    for when in (SEVEN - 1, SEVEN, SEVEN + 1):
        reports.run(when)

    assert len(notifications(database)) == 1
    assert [record.message for record in caplog.records if "Mars" in record.message] == [
        'report bad: there is no time zone "Mars" (example: Europe/Berlin)'
    ]


def test_a_report_to_nobody_is_not_made(database: Database) -> None:
    """It may be asked for by hand."""
    _define(database, mail=[])
    reports = ReportJob(database)
    reports.run(SEVEN - 1)
    with database.write() as db:
        db.execute(update(job).values(due=0.0))

    assert reports.run(SEVEN) == 0
