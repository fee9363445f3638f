"""Plots as PNG: a sparkline needs nothing further; a chart with axes and labels is drawn where Pillow is installed."""

from __future__ import annotations

import io
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from monagent.mail.figures import Points, number_text, thinned
from monagent.mail.png import Canvas, Colour

if TYPE_CHECKING:
    from PIL.ImageFont import FreeTypeFont, ImageFont

    Font = FreeTypeFont | ImageFont

WHITE, INK, GREY, GRID = (255, 255, 255), (28, 28, 28), (90, 94, 100), (224, 226, 229)
LINE, BAD_LINE, WARN_LINE = (24, 90, 160), (163, 32, 28), (170, 110, 0)
SPARK_SIZE, CHART_SIZE = (120, 28), (600, 200)
"""In the mail; a chart is drawn at twice the size, for fine screens."""
_SCALE = 2
_HUGE = 1e300
"""Beyond that, differences are no numbers any more."""
_FONTS = Path("/usr/share/fonts")
_PREFERRED = ("DejaVuSans.ttf", "NotoSans-Regular.ttf", "LiberationSans-Regular.ttf")
_FOR_HAN = ("wqy-microhei.ttc", "wqy-zenhei.ttc", "NotoSansCJK-Regular.ttc", "DroidSansFallbackFull.ttf")


@dataclass(frozen=True, slots=True)
class Threshold:
    """A number that a plot shows as a line, and which colour it has."""

    number: float
    colour: Colour


def sparkline(points: Points, thresholds: Sequence[Threshold] = (), size: tuple[int, int] = SPARK_SIZE) -> bytes:
    """A small plot without words; runs without a number are red below it."""
    width, height = size
    canvas = Canvas(width, height, WHITE)
    frame = _Frame(points, thresholds, 3, 3, width - 4, height - 6)
    for threshold in thresholds:
        y = round(frame.y(threshold.number))
        canvas.rectangle(0, y, width, y + 1, threshold.colour)
    for when, value in points:
        if value is None:
            x = int(frame.x(when))
            canvas.rectangle(x, height - 3, x + 2, height, BAD_LINE)
    for stretch in frame.stretches(thinned(points, width // 2)):
        canvas.line(stretch if len(stretch) > 1 else [*stretch, (stretch[0][0] + 1, stretch[0][1])], LINE)
    return canvas.encode()


def chart(points: Points, label: str, thresholds: Sequence[Threshold] = (), unit: str = "") -> bytes:
    """A plot with axes and a label, where Pillow is installed; a large sparkline otherwise."""
    try:
        from PIL import Image, ImageDraw  # noqa: PLC0415 - an extra, and 20 ms
    except ImportError:
        return sparkline(points, thresholds, CHART_SIZE)
    width, height = CHART_SIZE[0] * _SCALE, CHART_SIZE[1] * _SCALE
    image = Image.new("RGB", (width, height), WHITE)
    draw = ImageDraw.Draw(image)
    small, bold = _font("0", 11 * _SCALE), _font(label, 13 * _SCALE)
    if not _is_han(label) or _has_han_font():  # boxes say nothing; the label stands beside the picture, too
        draw.text((12, 8), _fitting(label, bold, width - 24), INK, font=bold)
    frame = _Frame(points, thresholds, 64 * _SCALE, 30 * _SCALE, width - 12 * _SCALE, height - 26 * _SCALE)
    for number in _ticks(frame.low, frame.high):
        y = frame.y(number)
        draw.line([(frame.left, y), (frame.right, y)], GRID, _SCALE)
        draw.text((frame.left - 12, y), f"{number_text(number)}{unit[:6]}", GREY, font=small, anchor="rm")
    for when, text in _times(frame.first, frame.last):
        draw.text((frame.x(when), height - 8 * _SCALE), text, GREY, font=small, anchor="ms")
    for threshold in thresholds:
        y = frame.y(threshold.number)
        draw.line([(frame.left, y), (frame.right, y)], threshold.colour, _SCALE + 1)
    for when, value in points:
        if value is None:
            x = frame.x(when)
            draw.line([(x, frame.bottom - 6 * _SCALE), (x, frame.bottom)], BAD_LINE, _SCALE)
    for stretch in frame.stretches(thinned(points)):
        if len(stretch) == 1:
            (x, y) = stretch[0]
            draw.ellipse([x - 3, y - 3, x + 3, y + 3], LINE)
        else:
            draw.line(stretch, LINE, 2 * _SCALE, joint="curve")
    data = io.BytesIO()
    image.quantize(64, method=Image.Quantize.FASTOCTREE).save(data, "PNG")
    return data.getvalue()


class _Frame:
    """Where on the picture a time and a number are."""

    def __init__(
        self, points: Points, thresholds: Sequence[Threshold], left: int, top: int, right: int, bottom: int
    ) -> None:
        self.left, self.top, self.right, self.bottom = left, top, right, bottom
        self.first, self.last = (points[0][0], points[-1][0]) if points else (0.0, 1.0)
        numbers = [min(max(value, -_HUGE), _HUGE) for _, value in points if value is not None] or [0.0]
        low, high = min(numbers), max(numbers)
        span = (high - low) or abs(high) or 1.0
        # A threshold far away from all readings would press them flat.
        near = [one.number for one in thresholds if low - 2 * span <= one.number <= high + 2 * span]
        self.low, self.high = min([low, *near]), max([high, *near])
        if not self.high > self.low:
            half = max(span / 2, 1e-300)  # half of the smallest number would be none
            self.low, self.high = self.low - half, self.high + half

    def x(self, when: float) -> float:
        """The column of a time."""
        share = (when - self.first) / ((self.last - self.first) or 1.0)
        return self.left + share * (self.right - self.left)

    def y(self, number: float) -> float:
        """The row of a number; what lies outside is at the edge."""
        share = (min(max(number, self.low), self.high) - self.low) / (self.high - self.low)
        return self.bottom - share * (self.bottom - self.top)

    def stretches(self, points: Points) -> list[list[tuple[float, float]]]:
        """Lines without the gaps where there was no number."""
        found: list[list[tuple[float, float]]] = [[]]
        gap = 0
        for when, value in points:
            if value is not None:
                found[-1].append((self.x(when), self.y(value)))
                gap = 0
            else:
                gap += 1
                # One run that failed is marked below; the line says what it was before and after.
                if gap > 1 and found[-1]:
                    found.append([])
        return [stretch for stretch in found if stretch]


def _ticks(low: float, high: float) -> list[float]:
    """Round numbers, three to six of them."""
    raw = (high - low) / 4
    power = 10.0 ** math.floor(math.log10(raw)) if raw > 0 else 1.0
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= raw * 0.999)
    first = math.ceil(low / step)
    return [number * step for number in range(first, first + 8) if number * step <= high + step * 1e-6]


def _times(first: float, last: float) -> list[tuple[float, str]]:
    """Five points in time, as short as they can be told apart."""
    form = "%H:%M:%S" if last - first < 600 else "%H:%M" if last - first < 86_400 else "%d.%m. %H:%M"
    form = "%Y-%m-%d" if last - first > 20 * 86_400 else form
    inner = [first + (last - first) * share for share in (0.08, 0.3, 0.5, 0.7, 0.92)]
    return [(when, time.strftime(form, time.localtime(when))) for when in (inner if last > first else inner[:1])]


def _fitting(text: str, font: Any, width: int) -> str:
    while text and font.getlength(text) > width:
        text = text[:-2].rstrip() + "…" if len(text) > 2 else ""
    return text


@lru_cache(maxsize=8)
def _font_file(*, for_han: bool) -> Path | None:
    wanted = (*_FOR_HAN, *_PREFERRED) if for_han else (*_PREFERRED, *_FOR_HAN)
    files = {path.name: path for path in _FONTS.rglob("*.tt[fc]")} if _FONTS.is_dir() else {}
    return next((files[name] for name in wanted if name in files), None)


@lru_cache(maxsize=8)
def _loaded(file: Path | None, size: int) -> Font:
    from PIL import ImageFont  # noqa: PLC0415

    return ImageFont.load_default(size) if file is None else ImageFont.truetype(str(file), size)


def _font(text: str, size: int) -> Font:
    """One that has the letters of this text, as far as any here has."""
    return _loaded(_font_file(for_han=_is_han(text)), size)


def _is_han(text: str) -> bool:
    return any(ord(letter) > 0x2E80 for letter in text)


def _has_han_font() -> bool:
    file = _font_file(for_han=True)
    return file is not None and file.name in _FOR_HAN
