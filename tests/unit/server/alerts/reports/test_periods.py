"""Days, weeks and months of a time zone, clock changes and all."""

from __future__ import annotations

from datetime import datetime, time
from zoneinfo import ZoneInfo

import pytest

from monagent.server.alerts.reports.periods import last_full, next_due
from monagent.server.alerts.reports.sums import tables_of

BERLIN, KOLKATA, UTC = ZoneInfo("Europe/Berlin"), ZoneInfo("Asia/Kolkata"), ZoneInfo("UTC")


def _at(text: str, zone: ZoneInfo = BERLIN) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=zone).timestamp()


@pytest.mark.parametrize(
    ("kind", "now", "start", "end"),
    [
        ("daily", "2026-11-23T07:00", "2026-11-22T00:00", "2026-11-23T00:00"),
        ("daily", "2026-11-23T00:00", "2026-11-22T00:00", "2026-11-23T00:00"),
        ("weekly", "2026-11-23T07:00", "2026-11-16T00:00", "2026-11-23T00:00"),
        ("weekly", "2026-11-22T23:59", "2026-11-09T00:00", "2026-11-16T00:00"),
        ("monthly", "2026-01-01T07:00", "2025-12-01T00:00", "2026-01-01T00:00"),
        ("monthly", "2026-03-31T07:00", "2026-02-01T00:00", "2026-03-01T00:00"),
    ],
)
def test_a_report_is_of_the_last_full_period(kind: str, now: str, start: str, end: str) -> None:
    """Whenever it is asked for."""
    found = last_full(kind, _at(now), BERLIN)

    assert (found.start, found.end) == (_at(start), _at(end))


def test_a_day_may_have_23_or_25_hours() -> None:
    """When the clocks change."""
    spring, autumn = (last_full("daily", _at(day), BERLIN) for day in ("2026-03-30T07:00", "2026-10-26T07:00"))

    assert (spring.end - spring.start, autumn.end - autumn.start) == (23 * 3600, 25 * 3600)


@pytest.mark.parametrize(
    ("kind", "now", "due"),
    [
        ("daily", "2026-11-23T06:59", "2026-11-23T07:00"),
        ("daily", "2026-11-23T07:00", "2026-11-24T07:00"),
        ("weekly", "2026-11-23T07:00", "2026-11-30T07:00"),
        ("weekly", "2026-11-21T12:00", "2026-11-23T07:00"),
        ("monthly", "2026-12-01T07:01", "2027-01-01T07:00"),
    ],
)
def test_a_report_is_due_in_the_morning(kind: str, now: str, due: str) -> None:
    """Of each day, each Monday, or each first of a month."""
    assert next_due(kind, time(7), BERLIN, _at(now)) == _at(due)


def test_a_time_that_the_clocks_leave_out_comes_all_the_same() -> None:
    """An hour later by the clock."""
    assert next_due("daily", time(2, 30), BERLIN, _at("2026-03-29T00:00")) == _at("2026-03-29T03:30")


def test_days_that_begin_within_an_hour_are_summed_up_exactly() -> None:
    """The parts of an hour at both ends come from the sums of five minutes."""
    day = last_full("daily", _at("2026-11-23T07:00", KOLKATA), KOLKATA)
    tables = tables_of(day.start, day.end)

    assert [(table.name, end - start) for table, start, end in tables] == [
        ("rollup_5m", 1800.0),
        ("rollup_1h", 23 * 3600.0),
        ("rollup_5m", 1800.0),
    ]
    whole = last_full("daily", _at("2026-11-23T07:00", UTC), UTC)
    assert [table.name for table, _, _ in tables_of(whole.start, whole.end)] == ["rollup_1h"]


def test_a_period_is_shown_by_its_days() -> None:
    """With the zone that they are days of."""
    now = _at("2026-11-23T07:00")

    assert last_full("daily", now, BERLIN).shown(BERLIN) == "2026-11-22 (Europe/Berlin)"
    assert last_full("weekly", now, BERLIN).shown(BERLIN) == "2026-11-16 - 2026-11-22 (Europe/Berlin)"
