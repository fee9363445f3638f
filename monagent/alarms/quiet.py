"""Hours of the day in which people sleep."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass

_SPAN = re.compile(r"([01][0-9]|2[0-3]):([0-5][0-9])-([01][0-9]|2[0-3]):([0-5][0-9])")


@dataclass(frozen=True, slots=True)
class Quiet:
    """From one minute of the local day to another, over midnight where it ends before it begins."""

    begin: int
    end: int

    def __str__(self) -> str:
        return "-".join(f"{minute // 60:02}:{minute % 60:02}" for minute in (self.begin, self.end))

    def covers(self, when: float) -> bool:
        """Whether a time (seconds since the epoch) lies within."""
        local = time.localtime(when)
        minute = local.tm_hour * 60 + local.tm_min
        if self.begin <= self.end:
            return self.begin <= minute < self.end
        return minute >= self.begin or minute < self.end


def parse(text: str) -> Quiet | None:
    """`22:00-07:00`, or nothing.

    Raises:
        ValueError: it is something else.
    """
    if not text:
        return None
    match = _SPAN.fullmatch(text.replace(" ", ""))
    if not match:
        raise ValueError(f'"{text[:40]}" are no hours (example: 22:00-07:00)')
    begin, end = int(match[1]) * 60 + int(match[2]), int(match[3]) * 60 + int(match[4])
    if begin == end:
        raise ValueError(f'"{text[:40]}" would be the whole day, or nothing of it')
    return Quiet(begin, end)
