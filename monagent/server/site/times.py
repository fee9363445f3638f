"""Read what definitions say of time: spans, moments, times of the day, cron expressions and time zones.

Each is made the one form in which it is kept; ValueError says what would do.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, time
from functools import cache
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo, available_timezones

from monagent.config import values
from monagent.server.site.names import hint
from monagent.server.site.readers import Reader, text

_HERE = Path("/")
_DAY = 86_400.0
_UNITS = ((_DAY, "d"), (3600.0, "h"), (60.0, "m"))


def duration(lowest: float, highest: float) -> Reader:
    """A time span, in the largest unit that it is a whole number of; the bounds are in seconds and included."""

    def read(value: Any) -> str:
        written = str(value) if type(value) in (int, float) else text(value)
        seconds = 0.0 if re.fullmatch(r"0+(\.0+)?\s*[smhd]?", written) else values.duration(written, _HERE)
        if not lowest <= seconds <= highest:
            raise ValueError(f'"{written}" must be from {span(lowest)} to {span(highest)}')
        return span(seconds)

    return read


def span(seconds: float) -> str:
    """So many seconds as text."""
    for unit, letter in _UNITS:
        if seconds >= unit and seconds % unit == 0:
            return f"{seconds / unit:.0f}{letter}"
    return f"{seconds:.3f}".rstrip("0").rstrip(".") + "s"


def seconds_of(written: str) -> float:
    """The seconds of a span that a reader made."""
    return 0.0 if written == "0s" else values.duration(written, _HERE)


def timezone(value: Any) -> str:
    """A time zone by its name."""
    written = text(value)
    if not _is_zone(written):
        near = hint(written[:64], _zones(), listing=False)
        raise ValueError(f'"{written[:64]}" is no time zone{near} (examples: Europe/Paris, UTC)')
    return written


def _is_zone(name: str) -> bool:
    try:
        return len(name) <= 64 and bool(ZoneInfo(name))
    except (ValueError, OSError, KeyError):
        return False


@cache
def _zones() -> list[str]:
    return sorted(available_timezones())


def cron(value: Any) -> str:
    """A cron expression with a time that ever comes, its fields one blank apart."""
    from cronsim import CronSim, CronSimError  # noqa: PLC0415 - most sites have few of them, most commands none

    written = " ".join(text(value).split())
    example = '(example: "*/5 8-18 * * 1-5" = every five minutes, 8:00 to 18:55, Monday to Friday)'
    if len(written) > 255:
        raise ValueError(f"is too long for a cron expression {example}")
    try:
        # Nothing in it depends on the year but leap days, and the search goes on for fifty years.
        following = next(CronSim(written, datetime(2024, 1, 1, tzinfo=UTC)), None)
    except CronSimError as error:
        raise ValueError(f'"{written}" is no cron expression: {str(error).lower()} {example}') from None
    if following is None:
        raise ValueError(f'"{written}": there is no such day, so it would never come')
    return written


def moment(value: Any) -> str:
    """A point in time, as ISO 8601 in UTC to the second: 2026-11-22T22:00:00Z."""
    example = "(example: 2026-11-22T22:00:00Z, or 2026-11-22T23:00:00+01:00)"
    try:
        when = value if isinstance(value, datetime) else datetime.fromisoformat(text(value))
    except ValueError:
        raise ValueError(f"must be a date and a time {example}") from None
    if when.tzinfo is None:
        raise ValueError(f"must say which time is meant, by Z or an offset {example}")
    try:
        utc = when.astimezone(UTC)
    except OverflowError:
        raise ValueError(f"must be a date and a time {example}") from None
    return f"{utc.year:04}-{utc:%m-%dT%H:%M:%S}Z"


def time_of_day(value: Any) -> str:
    """Hours and minutes: 07:00."""
    if isinstance(value, time):
        if value.second or value.microsecond:
            raise ValueError(f"{value} has seconds: hours and minutes must do (example: 07:00)")
        return f"{value:%H:%M}"
    if not re.fullmatch(r"(?:[01][0-9]|2[0-3]):[0-5][0-9]", text(value)):
        raise ValueError(f'"{value[:40]}" is no time of the day (example: 07:00)')
    return str(value)
