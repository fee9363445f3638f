"""Say which known name somebody may have meant."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

SHOWN = 8


def hint(word: str, known: Iterable[str], *, listing: bool = True) -> str:
    """`; did you mean X?`, or the known names where none is near.

    Args:
        word: as it was written.
        known: what it could have been.
        listing: name some of the known ones where none is near.
    """
    names = sorted(known)
    # Only names of about its length can be near; comparing with all of a large fleet takes seconds.
    near = [name for name in names if abs(len(name) - len(word)) <= max(3, len(word) // 3)][:2000]
    close = get_close_matches(word, near, n=1, cutoff=0.6)
    if close:
        return f"; did you mean {close[0]}?"
    if not listing:
        return ""
    if not names:
        return " (there is none yet)"
    return f" (known: {', '.join(names[:SHOWN])}{', …' if len(names) > SHOWN else ''})"
