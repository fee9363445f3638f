"""When a result is history, and when one that should be there is overdue. Rules alone."""

from __future__ import annotations

from functools import lru_cache

from monagent.server.timetable import Timetable

AHEAD_SECONDS = 300.0
"""A reading of an agent whose clock is ahead by more than that is judged by nobody."""
HISTORY_SECONDS = 300.0
HISTORY_BY_CRON_SECONDS = 3_600.0
OVERDUE_SECONDS = 120.0
MISSED = 3
"""Intervals without a result until it is overdue, or history."""


def history_after(every: float | None) -> float:
    """How old a reading may be to say something of now; older ones an agent hands in after an outage.

    Args:
        every: seconds between its probe's runs; None: by cron, or by hand.
    """
    return HISTORY_BY_CRON_SECONDS if every is None else max(MISSED * every, HISTORY_SECONDS)


def overdue_after(every: float) -> float:
    """For how long a result may be missing."""
    return max(MISSED * every, OVERDUE_SECONDS)


def overdue_by_cron(cron: str, timezone: str, phase: float, since: float) -> float:
    """When a result is overdue that last came at that time: the second run after it has been missed.

    Raises:
        ValueError: there is no such run.
    """
    return _second_after(cron, timezone, (since - phase) // 60 * 60 + 59) + phase + OVERDUE_SECONDS


@lru_cache(maxsize=4096)
def _second_after(cron: str, timezone: str, since: float) -> float:
    # Of a minute, so that hosts with one schedule share the answer.
    timetable = Timetable(None, cron, timezone, 0.0)
    return timetable.after(timetable.after(since))
