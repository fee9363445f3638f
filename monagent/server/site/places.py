"""Find the line of a TOML file that a key, or an item of a list, stands on.

There is no parser here: a value begins on the line after the longest beginning of the file that can be read and lacks it.
So that large files take no longer than they must, the file is first cut into parts that can be read alone.
"""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

TRIES = 200
"""Beginnings that are read for one key."""


@dataclass(frozen=True, slots=True)
class _Part:
    start: int
    end: int
    data: dict[str, Any]


class Places:
    """The places in a text that is good TOML."""

    def __init__(self, text: str) -> None:
        self._lines = text.split("\n")
        self._parts: list[_Part] | None = None

    def line(self, path: Sequence[str], item: int | None = None) -> int | None:
        """The line, from 1, on which a key begins.

        Args:
            path: of tables, then the key.
            item: of the list that it holds, from 0: its line, not that of the list.

        Returns:
            The line of the nearest table around it where the key itself is not to be found; None: there is none.
        """
        for length in range(len(path), 0, -1):
            part = next((one for one in self._cut() if _has(one.data, path[:length])), None)
            if part is not None:
                start = self._start(part, path[:length])
                return (self._item(part, start, item) if item is not None and length == len(path) else start) + 1
        return None

    def _cut(self) -> list[_Part]:
        """Parts that begin with a header: its names are whole, so that each can be read alone."""
        if self._parts is None:
            heads = [number for number, line in enumerate(self._lines) if line.lstrip().startswith("[")]
            self._parts = self._parts_between([0, *heads, len(self._lines)])
        return self._parts

    def _parts_between(self, cuts: list[int]) -> list[_Part]:
        parts, start, index, step = [], 0, 1, 1
        while index < len(cuts):
            data = self._read(start, cuts[index])
            if data is not None:
                parts.append(_Part(start, cuts[index], data))
                start, step = cuts[index], 1
            else:
                # That was no header, but a line within a value. Ever longer steps keep a long value from taking long.
                step *= 2
            if index == len(cuts) - 1:
                break
            index = min(index + step, len(cuts) - 1)
        return parts

    def _start(self, part: _Part, path: Sequence[str]) -> int:
        """The line, from 0, after the longest beginning of the part that lacks the key."""
        candidates = [number for number in range(part.start, part.end) if path[-1] in self._lines[number]]
        # A key may be written with escapes; then any line can be its.
        for number in list(reversed(candidates or range(part.start, part.end)))[:TRIES]:
            data = self._read(part.start, number)
            if data is not None and not _has(data, path):
                return number
        return part.start

    def _item(self, part: _Part, start: int, item: int) -> int:
        """The line of an item of the list that begins at `start`; that line itself where it cannot be told."""
        low, high = start, part.end
        while high - low > 1:
            middle = (low + high) // 2
            found = self._items(start, middle)
            if found is None or found > item:
                high = middle
            else:
                low = middle
        return low if self._items(start, low + 1) is None or (self._items(start, low) or 0) <= item else start

    def _items(self, start: int, end: int) -> int | None:
        """How many items a list has up to a line; None: it has ended, or cannot be read."""
        if end <= start:
            return 0
        data: Any = self._read(start, end, "\n]")
        while isinstance(data, dict):
            data = next(iter(data.values()), None)
        return len(data) if isinstance(data, list) else None

    def _read(self, start: int, end: int, closing: str = "") -> dict[str, Any] | None:
        try:
            return tomllib.loads("\n".join(self._lines[start:end]) + closing)
        except (ValueError, RecursionError):
            return None


def _has(data: Any, path: Sequence[str]) -> bool:
    for name in path:
        if not isinstance(data, dict) or name not in data:
            return False
        data = data[name]
    return True
