"""Draw lines on a small picture and write it as PNG, without further packages.

The format: https://www.w3.org/TR/png-3/ (8 bits a sample, truecolour, filter 0 on every row).
"""

from __future__ import annotations

import struct
import zlib
from itertools import pairwise

Colour = tuple[int, int, int]
_SIGNATURE = b"\x89PNG\r\n\x1a\n"


class Canvas:
    """A picture of `width` x `height` pixels; the origin is at the top left."""

    def __init__(self, width: int, height: int, background: Colour) -> None:
        self.width, self.height = width, height
        self._rows = [bytearray(bytes(background) * width) for _ in range(height)]

    def rectangle(self, left: int, top: int, right: int, bottom: int, colour: Colour) -> None:
        """Fill; what lies outside the picture is left out."""
        left, right = max(left, 0), min(right, self.width)
        if left < right:
            for row in self._rows[max(top, 0) : max(min(bottom, self.height), 0)]:
                row[left * 3 : right * 3] = bytes(colour) * (right - left)

    def line(self, points: list[tuple[float, float]], colour: Colour, thickness: float = 1.5) -> None:
        """Draw from point to point with soft edges."""
        for (x1, y1), (x2, y2) in pairwise(points):
            self._stroke(x1, y1, x2, y2, colour, thickness / 2)

    def _stroke(self, x1: float, y1: float, x2: float, y2: float, colour: Colour, half: float) -> None:
        dx, dy = x2 - x1, y2 - y1
        length = (dx * dx + dy * dy) or 1e-9
        reach = half + 1
        for x in range(max(int(min(x1, x2) - reach), 0), min(int(max(x1, x2) + reach) + 1, self.width)):
            # Only the part of the column that the line comes near to.
            low, high = _extent(x, x1, y1, x2, y2, reach)
            for y in range(max(int(low), 0), min(int(high) + 1, self.height)):
                along = min(max(((x - x1) * dx + (y - y1) * dy) / length, 0.0), 1.0)
                away = ((x - x1 - along * dx) ** 2 + (y - y1 - along * dy) ** 2) ** 0.5
                if away < half + 0.5:
                    self._blend(x, y, colour, min(1.0, half + 0.5 - away))

    def _blend(self, x: int, y: int, colour: Colour, share: float) -> None:
        row, at = self._rows[y], x * 3
        for number in range(3):
            before = row[at + number]
            row[at + number] = round(before + (colour[number] - before) * share)

    def encode(self) -> bytes:
        """The picture as a PNG file."""
        head = struct.pack(">IIBBBBB", self.width, self.height, 8, 2, 0, 0, 0)
        data = zlib.compress(b"".join(b"\x00" + bytes(row) for row in self._rows), 9)
        return _SIGNATURE + _chunk(b"IHDR", head) + _chunk(b"IDAT", data) + _chunk(b"IEND", b"")


def _extent(x: int, x1: float, y1: float, x2: float, y2: float, reach: float) -> tuple[float, float]:
    """From where to where a column may be touched."""
    if abs(x2 - x1) < 1e-9:
        return min(y1, y2) - reach, max(y1, y2) + reach
    slope = (y2 - y1) / (x2 - x1)
    ends = [y1 + slope * (min(max(at, min(x1, x2)), max(x1, x2)) - x1) for at in (x - reach, x + reach)]
    return min(ends) - reach, max(ends) + reach


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
