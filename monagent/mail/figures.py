"""Sum up the readings of a period: what a report says of each check, and what a plot of it is drawn from."""

from __future__ import annotations

import math
from array import array
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, field

from monagent.mail.text import one_line

BARS = "▁▂▃▄▅▆▇█"
POINTS = 300
"""That a plot is drawn from; more would not be seen."""

Points = Sequence[tuple[float, float | None]]
"""Time (seconds since the epoch) and number, or None where there was none to trust; by time."""


@dataclass(slots=True)
class Series:
    """The readings of one check: a sensor with its arguments. Numbers that could not be trusted are nan."""

    sensor: str
    arguments: tuple[str, ...] = ()
    times: array[float] = field(default_factory=lambda: array("d"))
    values: array[float] = field(default_factory=lambda: array("d"))
    failures: int = 0

    @property
    def name(self) -> str:
        """As it is shown."""
        return " ".join((self.sensor, *self.arguments))

    def add(self, when: float, value: float | None, *, failed: bool) -> None:
        """One more reading."""
        self.times.append(when)
        self.values.append(math.nan if value is None else value)
        self.failures += failed

    @property
    def points(self) -> list[tuple[float, float | None]]:
        """All of them, for a plot."""
        return [
            (when, None if math.isnan(value) else value) for when, value in zip(self.times, self.values, strict=True)
        ]


@dataclass(frozen=True, slots=True)
class Summary:
    """What a report says of one check; the figures are None where there was no number."""

    name: str
    count: int
    failures: int
    last: float | None
    low: float | None
    mean: float | None
    high: float | None
    median: float | None
    p95: float | None
    p99: float | None
    points: list[tuple[float, float | None]]

    @property
    def availability(self) -> float:
        """The share of runs that gave what they should, from 0 to 1."""
        return 1.0 if not self.count else 1.0 - self.failures / self.count


def summary(series: Series) -> Summary:
    """Sum one check up."""
    numbers = sorted(value for value in series.values if not math.isnan(value))
    last = series.values[-1] if len(series.values) else math.nan
    return Summary(
        name=one_line(series.name),
        count=len(series.values),
        failures=series.failures,
        last=None if math.isnan(last) else last,
        low=numbers[0] if numbers else None,
        mean=math.fsum(number / len(numbers) for number in numbers) if numbers else None,
        high=numbers[-1] if numbers else None,
        median=percentile(numbers, 50),
        p95=percentile(numbers, 95),
        p99=percentile(numbers, 99),
        points=thinned(series.points),
    )


def percentile(ordered: Sequence[float], percent: float) -> float | None:
    """Of numbers in order, between the two nearest where none is exactly there (as NumPy's default does)."""
    if not ordered:
        return None
    place = (len(ordered) - 1) * percent / 100
    below = math.floor(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (place - below)


def thinned(points: Points, count: int = POINTS) -> list[tuple[float, float | None]]:
    """At most so many points, the lowest and the highest of each stretch of time among them."""
    if len(points) <= count:
        return list(points)
    first, last = points[0][0], points[-1][0]
    stretches = max(1, count // 3)
    width = (last - first) / stretches or 1.0
    times = [when for when, _ in points]
    found: list[tuple[float, float | None]] = []
    begin = 0
    for number in range(stretches):
        end = len(points) if number == stretches - 1 else bisect_left(times, first + width * (number + 1))
        found += _telling(points[begin:end])
        begin = end
    return found


def _telling(part: Points) -> list[tuple[float, float | None]]:
    numbers = [pair for pair in part if pair[1] is not None]
    told = set()
    if numbers:
        told = {min(numbers, key=lambda pair: pair[1] or 0.0), max(numbers, key=lambda pair: pair[1] or 0.0)}
    gap = next((pair for pair in part if pair[1] is None), None)
    return sorted(told | ({gap} if gap else set()), key=lambda pair: pair[0])


def bars(points: Points, width: int = 24) -> str:
    """A plot in one line of text; a dot where there was no number."""
    if not points:
        return ""
    first, last = points[0][0], points[-1][0]
    cells: list[list[float]] = [[] for _ in range(width)]
    for when, value in points:
        place = min(int((when - first) / ((last - first) or 1.0) * width), width - 1)
        if value is not None:
            cells[place].append(value)
    means = [math.fsum(value / len(cell) for value in cell) if cell else None for cell in cells]
    known = [mean for mean in means if mean is not None]
    if not known:
        return ""
    low, high = min(known), max(known)
    scale = (len(BARS) - 1) / (high - low) if high > low and math.isfinite(high - low) else 0.0
    return "".join("·" if mean is None else BARS[int((mean - low) * scale)] for mean in means)


def number_text(value: object) -> str:
    """A number with the digits that matter, thousands apart; anything else as it is."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return "" if value is None else str(value)
    if isinstance(value, int):
        return f"{value:,}" if abs(value) < 10**15 else f"{value:.6g}" if abs(value) < 10**300 else "∞"
    if not math.isfinite(value):
        return str(value)
    size = abs(value)
    if size >= 1e15 or 0 < size < 1e-4:
        return f"{value:.4g}"
    digits = max(0, 3 - math.floor(math.log10(size))) if size else 0
    text = f"{value:,.{min(digits, 8)}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
