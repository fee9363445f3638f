"""Threshold ranges as Nagios-style plug-ins know them.

The format: https://www.monitoring-plugins.org/doc/guidelines.html#THRESHOLDFORMAT. `10` alerts outside 0 to 10, `10:` below
10, `~:10` above 10, `10:20` outside 10 to 20, `@10:20` inside; the ends belong to the range.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

_NUMBER = r"[+-]?(?:[0-9]{1,30}(?:\.[0-9]{0,30})?|\.[0-9]{1,30})(?:[eE][+-]?[0-9]{1,3})?"
_RANGE = re.compile(rf"(@?)(?:(~|{_NUMBER})?:)?({_NUMBER})?")


@dataclass(frozen=True, slots=True)
class Range:
    """From `low` to `high`, both included; `inside` says that the numbers in it are the bad ones."""

    low: float
    high: float
    inside: bool = False

    def alerts(self, number: float, margin: float = 0.0) -> bool:
        """Whether that number is a bad one, or is nearer than `margin` to those that are.

        Below a range that begins at 0 there is mostly nothing, so 0 is as good as a number can be.
        """
        if self.inside:
            return self.low - margin <= number <= self.high + margin
        return not self.low + (margin if self.low else 0.0) <= number <= self.high - margin

    def leaves_room(self, margin: float) -> bool:
        """Whether any number is good by that margin."""
        return self.inside or self.low + (margin if self.low else 0.0) <= self.high - margin


def parse(text: str) -> Range | None:
    """The range that a text says, or None for an empty one.

    Raises:
        ValueError: it says none.
    """
    text = text.strip()
    if not text:
        return None
    match = _RANGE.fullmatch(text)
    examples = "(examples: 10 = above 10 or below 0, 10: = below 10, ~:10 = above 10, 10:20 = outside, @10:20 = inside)"
    if not match or (match[2] is None and match[3] is None):
        raise ValueError(f'"{text[:40]}" is no range {examples}')
    start = match[2] or "0"
    low = -math.inf if start == "~" else float(start)
    high = math.inf if match[3] is None else float(match[3])
    if low > high:
        raise ValueError(f'"{text[:40]}": a range begins with its lower end {examples}')
    return Range(low, high, inside=match[1] == "@")
