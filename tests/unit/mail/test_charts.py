"""Plots: pictures that other programs can read, whatever the readings are."""

from __future__ import annotations

import io
import math
import sys
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from monagent.mail import charts
from monagent.mail.charts import BAD_LINE, CHART_SIZE, SPARK_SIZE, Threshold, chart, sparkline
from monagent.mail.figures import Series, bars, number_text, percentile, summary, thinned

DAY = [(1_790_000_000.0 + n * 60, None if n % 97 == 5 else 50 + 30 * math.sin(n / 40)) for n in range(1440)]
NUMBERS = st.floats(allow_nan=False, allow_infinity=False) | st.none()
POINTS = st.lists(st.tuples(st.floats(0, 4e9), NUMBERS), max_size=40).map(
    lambda found: sorted(found, key=lambda one: one[0])
)


def opened(data: bytes) -> Image.Image:
    """As an independent program reads it."""
    with Image.open(io.BytesIO(data)) as image:
        image.load()
        assert image.format == "PNG"
        return image.convert("RGB")


def test_a_sparkline_shows_the_line_its_gaps_and_its_thresholds() -> None:
    """Blue on white, red where there was no number, and a line where it gets bad."""
    image = opened(sparkline(thinned(DAY, 60), [Threshold(75, BAD_LINE)]))
    colours = {colour for _, colour in image.getcolors(10_000) or []}

    assert image.size == SPARK_SIZE
    assert {(255, 255, 255), BAD_LINE} <= colours
    assert any(blue > red + 80 for red, _, blue in colours)


def test_a_chart_is_drawn_at_twice_its_size() -> None:
    """For fine screens; few kilobytes."""
    data = chart(DAY, "磁盘 disk", [Threshold(75, BAD_LINE)], "%")

    assert opened(data).size == (CHART_SIZE[0] * 2, CHART_SIZE[1] * 2)
    assert len(data) < 30_000


def test_without_pillow_there_is_a_plot_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """A large sparkline."""
    monkeypatch.setitem(sys.modules, "PIL", None)
    data = chart(DAY, "disk")
    monkeypatch.undo()

    assert opened(data).size == CHART_SIZE


def test_a_label_without_a_font_for_it_is_left_out(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Boxes would say nothing."""
    monkeypatch.setattr(charts, "_FONTS", tmp_path)
    charts._font_file.cache_clear()
    try:
        with_label, without = chart(DAY, "磁盘"), chart(DAY, "")
    finally:
        charts._font_file.cache_clear()

    assert with_label == without


@given(POINTS)
def test_any_readings_can_be_drawn(points: list[tuple[float, float | None]]) -> None:
    """Huge ones, equal ones, none at all."""
    assert opened(sparkline(points)).size == SPARK_SIZE
    assert opened(chart(points, "x")).size[0] == CHART_SIZE[0] * 2
    assert len(bars(points)) in (0, 24)


@given(POINTS)
def test_any_readings_can_be_summed_up(points: list[tuple[float, float | None]]) -> None:
    """The figures are in order."""
    series = Series("x")
    for when, value in points:
        series.add(when, value, failed=value is None)
    found = summary(series)

    assert (found.count, found.failures) == (len(points), sum(value is None for _, value in points))
    if found.low is not None:
        figures = [found.low, found.median, found.p95, found.p99, found.high]
        assert all(a is not None and b is not None and a <= b for a, b in pairwise(figures))
    assert all(number_text(value) for value in (found.low, found.mean, found.high) if value is not None)


def test_thinning_keeps_the_extremes() -> None:
    """What a day's worst moment was is still to be seen."""
    points: list[tuple[float, float | None]] = [(float(n), 1.0) for n in range(100_000)]
    points[61_803] = (61_803.0, 99.0)
    points[12_345] = (12_345.0, None)
    few = thinned(points)

    assert len(few) <= 300
    assert (61_803.0, 99.0) in few
    assert (12_345.0, None) in few


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (5, "5"), (12345, "12,345"), (0.1234567, "0.1235"), (97.25, "97.25"), (123456.789, "123,457"), (1e-7, "1e-07"), (0.0, "0"),
        (2.0, "2"), (1e20, "1e+20"), (None, ""), (True, "True"), ("x", "x"), (10**400, "∞"), (float("nan"), "nan"),
    ],
)  # fmt: skip
def test_numbers_have_the_digits_that_matter(value: object, text: str) -> None:
    """And thousands apart."""
    assert number_text(value) == text


def test_percentiles_are_between_the_nearest() -> None:
    """As NumPy's default has them."""
    assert percentile([1, 2, 3, 4], 50) == 2.5
    assert percentile(list(range(101)), 95) == 95
    assert percentile([], 50) is None
