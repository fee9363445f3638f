"""Times as people and JSON read them."""

from __future__ import annotations

from datetime import UTC, datetime

_UNITS = ((2 * 86_400.0, 86_400.0, "d"), (2 * 3_600.0, 3_600.0, "h"), (60.0, 60.0, "min"))
"""From how many seconds on a unit is used."""


def iso(when: float | None) -> str | None:
    """Seconds since the epoch as ISO 8601, UTC; nothing stays nothing."""
    return None if when is None else f"{datetime.fromtimestamp(when, UTC):%Y-%m-%dT%H:%M:%SZ}"


def shown(when: float | None) -> str:
    """The same for people: `2026-11-22 07:00:05`, or `-`."""
    return "-" if when is None else f"{datetime.fromtimestamp(when, UTC):%Y-%m-%d %H:%M:%S}"


def age(seconds: float) -> str:
    """Like `40 s`, `5 min`, `3 h` or `2 d`."""
    for least, size, unit in _UNITS:
        if seconds >= least:
            return f"{seconds // size:.0f} {unit}"
    return f"{max(seconds, 0.0):.0f} s"
