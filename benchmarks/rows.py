"""The rows of the table: a figure from several runs, what it must be, and whether it is."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

_COMPARE = {">=": operator.ge, "<=": operator.le, "<": operator.lt}
_DECIMALS = {
    "of rsync -a": 2,
    "of rsync -ac": 2,
    "of rsync -nac": 2,
    "files": 0,
    "/s": 0,
    "": 2,
    "µs": 0,
    "ms": 2,
    "MB": 1,
    "s": 3,
}


@dataclass(frozen=True)
class Row:
    """One figure.

    Attributes:
        name: what it is.
        unit: of values and limit: `/s`, `µs`, `ms`, `MB`, `s`, or empty for a ratio.
        values: one of each run; their median is the figure. None at all: it could not be measured.
        rule: `>=`, `<=` or `<`, and empty where there is no limit.
        limit: what the figure must be, by that rule.
        note: why there is no figure, or what to know about it.
    """

    name: str
    unit: str
    values: tuple[float, ...]
    rule: str = ""
    limit: float = 0.0
    note: str = ""

    @property
    def figure(self) -> float | None:
        """The median of the runs."""
        return median(self.values) if self.values else None

    @property
    def passed(self) -> bool | None:
        """Whether it is within its limit; None where it has none."""
        if self.figure is None:
            return False
        return bool(_COMPARE[self.rule](self.figure, self.limit)) if self.rule else None

    def as_json(self) -> dict[str, Any]:
        """For programs."""
        limit = f"{self.rule} {self.limit}" if self.rule else None
        return {
            "name": self.name,
            "unit": self.unit,
            "figure": self.figure,
            "values": list(self.values),
            "limit": limit,
            "passed": self.passed,
            "note": self.note,
        }

    def cells(self) -> tuple[str, str, str, str, str]:
        """As the table shows it: name, figure, lowest to highest, limit, mark."""
        figure = "-" if self.figure is None else self._text(self.figure)
        spread = f"{self._text(min(self.values))} .. {self._text(max(self.values))}" if len(self.values) > 1 else ""
        limit = f"{self.rule} {self._text(self.limit)}" if self.rule else ""
        mark = {None: "", True: "pass", False: "FAIL"}[self.passed]
        return self.name, f"{figure} {self.unit}".rstrip(), spread, limit, f"{mark} {self.note}".strip()

    def _text(self, number: float) -> str:
        return f"{number:.{_DECIMALS[self.unit]}f}"


def table(rows: Sequence[Row]) -> str:
    """The rows under their headings, in columns."""
    lines = [("", "median", "runs", "limit", ""), *(row.cells() for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(5)]
    return "\n".join(
        f"{name:<{widths[0]}}  {figure:>{widths[1]}}  {spread:>{widths[2]}}  {limit:>{widths[3]}}  {mark}".rstrip()
        for name, figure, spread, limit, mark in lines
    )
