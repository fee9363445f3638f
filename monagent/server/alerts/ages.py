"""How long something has been so, in few words."""

from __future__ import annotations

_UNITS = ((2 * 86_400.0, 86_400.0, "d"), (2 * 3_600.0, 3_600.0, "h"), (60.0, 60.0, "min"))
"""From how many seconds on a unit is used."""


def age(seconds: float) -> str:
    """Like `40 s`, `5 min`, `3 h` or `2 d`."""
    for least, size, unit in _UNITS:
        if seconds >= least:
            return f"{seconds // size:.0f} {unit}"
    return f"{max(seconds, 0.0):.0f} s"
