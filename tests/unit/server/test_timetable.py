"""When probes are due, as rules."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monagent.server.timetable import CATCH_UP_SECONDS, LATE_SECONDS, Timetable, phase_of

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC).timestamp()


def at(text: str, zone: str = "UTC") -> float:
    """A local time in seconds since the epoch."""
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)).timestamp()


@given(every=st.floats(1, 100_000), phase=st.floats(0, 1), now=st.floats(1e9, 3e9))
def test_an_interval_comes_next_within_itself_and_never_drifts(every: float, phase: float, now: float) -> None:
    """However late one was, the next one stays on the grid."""
    table = Timetable(every, None, "", phase * every)
    due = table.after(now)

    assert now < due <= now + every * 1.000001
    assert table.following(due, due + every / 3) == pytest.approx(due + every)


def test_a_cron_expression_is_read_in_its_time_zone() -> None:
    """Seven in Paris is six in Greenwich, and five in summer."""
    table = Timetable(None, "0 7 * * *", "Europe/Paris", 0.0)

    assert table.after(at("2026-01-10T12:00")) == at("2026-01-11T06:00")
    assert table.after(at("2026-07-10T12:00")) == at("2026-07-11T05:00")
    assert Timetable(None, "0 7 * * *", "Europe/Paris", 30.0).after(at("2026-01-11T06:00")) == at("2026-01-11T06:00:30")


def test_an_hour_that_does_not_come_does_not_cost_the_day() -> None:
    """On the 29th of March 2026 half past two is left out in Paris."""
    table = Timetable(None, "30 2 * * *", "Europe/Paris", 0.0)
    first = table.after(at("2026-03-29T00:00", "Europe/Paris"))

    assert first == at("2026-03-29T03:00", "Europe/Paris")
    assert table.after(first) == at("2026-03-30T02:30", "Europe/Paris")


def test_who_is_a_little_late_runs_at_once() -> None:
    """A busy second is no outage."""
    assert Timetable(60.0, None, "", 5.0).caught_up(NOON, NOON + LATE_SECONDS) is None


def test_after_an_outage_a_fleet_is_spread() -> None:
    """What was missed runs once, within a minute, and not all at the same time."""
    runs = Counter()
    for number in range(6000):
        table = Timetable(300.0, None, "", phase_of(f"host{number}", 300.0))
        due = table.caught_up(NOON - 3600, NOON)
        assert due is not None
        assert NOON <= due < NOON + CATCH_UP_SECONDS
        runs[int(due - NOON)] += 1

    assert max(runs.values()) < 2 * 6000 / CATCH_UP_SECONDS


def test_a_phase_is_the_same_every_time_and_differs_between_hosts() -> None:
    """So that a restart moves nothing."""
    phases = {phase_of(f"host{number}", 60.0) for number in range(1000)}

    assert len(phases) == 1000
    assert all(0 <= phase < 60 for phase in phases)
    assert phase_of("host1", 60.0) in phases
    assert phase_of("host1", 0.0) == 0.0
