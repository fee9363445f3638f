"""Count what was told lately, so that nobody is flooded. A recovery resets nothing; only time does."""

from __future__ import annotations

from collections.abc import Sequence

WINDOW_SECONDS = 86_400.0
RESERVED = 2
"""Of each cap: kept for an outage that begins when everything else is used up, and for its end."""


def lately(sent: Sequence[float], now: float) -> tuple[float, ...]:
    """Of the times at which something was told, those that still count; none is ahead of a clock that was set back."""
    return tuple(min(when, now) for when in sent if now - when < WINDOW_SECONDS)


def room(sent: Sequence[float], cap: int, now: float, *, grave: bool, ends: bool) -> bool:
    """Whether one more may be told.

    Args:
        sent: when something was told before.
        cap: how many in a day.
        now: seconds since the epoch.
        grave: an outage that lasts; may use what is reserved.
        ends: it is the end of something told.
    """
    used = len(lately(sent, now))
    if ends:
        return used < cap
    # Whatever begins leaves room for an end.
    return used + 1 < (cap if grave else cap - RESERVED)
