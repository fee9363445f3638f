"""Which days a report tells of, and when it is due. Rules alone; days are those of a time zone, clock changes and all."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

KINDS = ("daily", "weekly", "monthly")
_LOOK_DAYS = 63


@dataclass(frozen=True, slots=True)
class Period:
    """Seconds since the epoch: the first one of a period, and the first one after it."""

    kind: str
    start: float
    end: float

    def shown(self, zone: ZoneInfo) -> str:
        """Its days, as people read them."""
        first = datetime.fromtimestamp(self.start, zone).date()
        last = (datetime.fromtimestamp(self.end, zone) - timedelta(seconds=1)).date()
        return f"{first} ({zone.key})" if first == last else f"{first} - {last} ({zone.key})"


def last_full(kind: str, now: float, zone: ZoneInfo) -> Period:
    """The last day, week (Monday to Sunday) or month that is over.

    Args:
        kind: of `KINDS`.
        now: seconds since the epoch.
        zone: whose days count.
    """
    today = datetime.fromtimestamp(now, zone).date()
    if kind == "daily":
        end = today
        start = end - timedelta(days=1)
    elif kind == "weekly":
        end = today - timedelta(days=today.weekday())
        start = end - timedelta(days=7)
    else:
        end = today.replace(day=1)
        start = (end - timedelta(days=1)).replace(day=1)
    return Period(kind, _instant(start, time(), zone), _instant(end, time(), zone))


def next_due(kind: str, at: time, zone: ZoneInfo, now: float) -> float:
    """The next time later than `now` at which a report is due: each day, each Monday, or each first of a month."""
    day = datetime.fromtimestamp(now, zone).date()
    for _ in range(_LOOK_DAYS):
        if _is_day(kind, day) and (found := _instant(day, at, zone)) > now:
            return found
        day += timedelta(days=1)
    raise AssertionError(f"no {kind} day within {_LOOK_DAYS} days")


def _is_day(kind: str, day: date) -> bool:
    return kind == "daily" or (day.weekday() == 0 if kind == "weekly" else day.day == 1)


def _instant(day: date, at: time, zone: ZoneInfo) -> float:
    # By way of UTC: what the clocks leave out at a change counts as the time after it.
    return datetime.combine(day, at, zone).astimezone(UTC).timestamp()
