"""What a quality report tells, checked against the readings themselves."""

from __future__ import annotations

import math
import sys

import pytest
from sqlalchemy import insert, update

from monagent.server.alerts.reports import sums
from monagent.server.alerts.reports.definition import report_view_of
from monagent.server.alerts.reports.periods import Period
from monagent.server.alerts.reports.quality import Quality
from monagent.server.alerts.reports.sums import Choice
from monagent.server.database import Database
from monagent.server.schema import host, rollup_1h, rollup_5m
from tests.unit.server.alerts.carriers.rows import add_host, add_incident, add_probe
from tests.unit.server.alerts.reports.readings import DAY, START, fill

PERIOD = Period("daily", START, START + DAY)


def _quality(database: Database, choice: Choice = Choice()) -> Quality:  # noqa: B008 - frozen
    return sums.quality(database, PERIOD, choice)


def test_figures_are_those_of_the_readings(database: Database) -> None:
    """Whatever lies before and after the period is left out."""
    web = add_host(database)
    probes = {
        number: fill(database, number, number) for number in (add_probe(database, web, f"p{n}") for n in range(3))
    }
    found = {check.id: check for check in _quality(database).checks}

    for number, day in probes.items():
        check = found[number]
        assert (check.readings, check.bad) == (day.count, day.bad)
        assert check.availability == pytest.approx(day.availability)
        assert check.mean == pytest.approx(day.mean)
        assert (check.low, check.high) == (pytest.approx(min(day.values)), pytest.approx(max(day.values)))
        assert check.worst == "critical"
    total = _quality(database)
    bad, count = sum(day.bad for day in probes.values()), sum(day.count for day in probes.values())
    assert total.availability == pytest.approx(1 - bad / count)
    assert [check.availability for check in total.checks] == sorted(day.availability for day in probes.values())


def test_incidents_count_for_what_lies_in_the_period(database: Database) -> None:
    """One that goes on counts to its end; a host that was silent is told of as such."""
    web = add_host(database)
    probe, later = add_probe(database, web), add_probe(database, web, "later")
    fill(database, probe, 1, bad=0.0)
    end = START + DAY
    add_incident(database, web, probe, opened=START - 3600, closed=START + 600)
    add_incident(database, web, probe, opened=end - 300, closed=None)
    add_incident(database, web, probe, opened=START - 3600, closed=START - 1)
    add_incident(database, web, later, opened=end, closed=None)
    add_incident(database, web, None, opened=START + 100, closed=START + 400, worst="silent")
    found = _quality(database)

    check = next(one for one in found.checks if one.id == probe)
    assert (check.trouble.count, check.trouble.seconds) == (2, 900.0)
    assert (found.incident_count, found.incident_seconds, found.open) == (3, 1200.0, 1)
    assert {name: (one.count, one.seconds) for name, one in found.silent.items()} == {"web1": (1, 300.0)}
    assert [(one.check, one.seconds) for one in found.incidents] == [
        ("root disk", 600.0),
        ("root disk", 300.0),
        (None, 300.0),
    ]


def test_a_check_without_a_reading_comes_first(database: Database) -> None:
    """If it should have run; one that somebody runs by hand is left out."""
    web = add_host(database)
    add_probe(database, web, "by hand", every=None)
    add_probe(database, web, "mute")
    add_probe(database, web, "gone", active=False)
    fill(database, add_probe(database, web, "well"), 1, bad=0.0)
    found = _quality(database)

    assert [(check.probe, check.availability) for check in found.checks] == [("mute", None), ("well", 1.0)]
    assert [check.probe for check in found.mute] == ["mute"]
    assert (found.unwell, found.availability) == (1, 1.0)


def test_only_the_hosts_that_were_chosen_are_told_of(database: Database) -> None:
    """By name, or by one of their groups."""
    for name, groups in (("web1", ["web"]), ("web2", ["web", "old"]), ("db1", ["db"])):
        number = add_host(database, name)
        add_probe(database, number)
        with database.write() as db:
            db.execute(update(host).where(host.c.id == number).values(groups=groups))
        add_incident(database, number, opened=START, closed=START + 60)

    by_group = _quality(database, Choice(groups=frozenset({"web"})))
    by_name = _quality(database, Choice(hosts=frozenset({"db1"}), groups=frozenset({"old"})))
    assert [check.host for check in by_group.checks] == ["web1", "web2"]
    assert [check.host for check in by_name.checks] == ["db1", "web2"]
    assert (by_group.hosts, by_group.incident_count) == (2, 2)


def test_a_day_of_another_zone_is_exact(database: Database) -> None:
    """Half an hour off: what does not fit the hours comes from shorter sums."""
    probe = add_probe(database, add_host(database))
    fill(database, probe, 1)
    half = Period("daily", START + 1800.0, START + DAY - 1800.0)
    (check,) = sums.quality(database, half, Choice()).checks

    assert check.readings == 23 * 12


def test_huge_readings_make_no_report_impossible(database: Database) -> None:
    """Their sums are beyond what a database can add; nor do plots fail."""
    probe = add_probe(database, add_host(database))
    huge = sys.float_info.max
    rows = [
        {"host_probe_id": probe, "start": START + 3600.0 * hour, "n": 1, "sum": huge * sign, "min": huge * sign,
         "max": huge * sign, "missing": 0, "warnings": 0, "criticals": 0, "worst": 0}
        for hour, sign in enumerate((1, 1, 1, -1))
    ]  # fmt: skip
    with database.write() as db:
        db.execute(insert(rollup_1h), rows)
        db.execute(insert(rollup_5m), rows)
    content = {"kind": "daily", "period": [START, START + DAY]}

    view = report_view_of(database)(content)(10)

    (check,) = _quality(database).checks
    assert (check.readings, check.mean, check.high) == (4, 5e299, huge)
    assert view.pictures


def test_plots_are_drawn_from_short_sums(database: Database) -> None:
    """Each of its own check; None where there was no number."""
    web = add_host(database)
    first, second = add_probe(database, web, "a"), add_probe(database, web, "b")
    day = fill(database, first, 1)
    points = sums.points(database, PERIOD, [first, second])

    assert len(points[first]) == 288
    assert points[second] == []
    assert points[first][0][0] == START
    known = [value for _, value in points[first] if value is not None]
    assert math.fsum(known) / len(known) == pytest.approx(day.mean, rel=0.01)
