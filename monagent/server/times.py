"""Times as people and JSON read them."""

from __future__ import annotations

from datetime import UTC, datetime


def iso(when: float | None) -> str | None:
    """Seconds since the epoch as ISO 8601, UTC; nothing stays nothing."""
    return None if when is None else f"{datetime.fromtimestamp(when, UTC):%Y-%m-%dT%H:%M:%SZ}"


def shown(when: float | None) -> str:
    """The same for people: `2026-11-22 07:00:05`, or `-`."""
    return "-" if when is None else f"{datetime.fromtimestamp(when, UTC):%Y-%m-%d %H:%M:%S}"
