"""Find the line of a TOML file that a key, or an item of a list, stands on.

`tomllib` says whether a file is good, and what is in it, but not where. This reads the same text once more, and trusts that
it is good: it only has to tell keys, values and brackets apart.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass, field

from monagent.server.site.readers import LIST_LIMIT

DIGITS = 4300
"""Of a whole number; Python reads no longer ones."""
_STRING = (
    r'"""(?:[^"\\]++|\\[\s\S]|""?(?!"))*+"{3,5}'  # up to two quotes may stand before those that end it
    r"|'''(?:[^']++|''?(?!'))*+'{3,5}"
    r'|"(?:[^"\\]++|\\.)*+"'
    r"|'[^']*+'"
)
_BLANK = re.compile(r"(?:\s++|#[^\n]*+)*+")
_NAME = re.compile(rf"{_STRING}|[A-Za-z0-9_-]++")
_SCALAR = re.compile(rf"{_STRING}|[^,\]}}#\n]++")
_WHOLE = re.compile(r"[+-]?[0-9_]++\s*+")


@dataclass(slots=True)
class _Place:
    """Where something begins, and what is in it: keys by name, items of lists and tables of arrays of tables by number."""

    line: int
    inside: dict[str | int, _Place] = field(default_factory=dict)
    items: int = 0

    def key(self, name: str, line: int) -> _Place:
        """What stands at a key, which may have been begun before; of an array of tables the last one."""
        found = self.inside.setdefault(name, _Place(line))
        return found.inside[found.items - 1] if found.items else found


class Places:
    """The places in a text that is good TOML, or good at least up to a whole number that is too long.

    `long_number` is the line of the first such number; nothing is known of what follows it.
    """

    def __init__(self, text: str) -> None:
        self.long_number: int | None = None
        self._text, self._at, self._line = text, 0, 1
        self._file = _Place(0)
        # Tables and lists that are being read, and which of them are lists.
        self._open = [(self._file, False)]
        self._take(_BLANK)
        while self._at < len(text) and self.long_number is None:
            self._step(text[self._at])
            self._take(_BLANK)

    def line(self, path: Sequence[str | int]) -> int | None:
        """The line, from 1, on which a key or an item begins.

        Args:
            path: of tables, then the key, then maybe the number of an item, from 0.

        Returns:
            The line of the nearest one around it where it is not to be found itself; None: there is none.
        """
        place = self._file
        for step in path:
            if step not in place.inside:
                break
            place = place.inside[step]
        return place.line or None

    def _step(self, letter: str) -> None:
        within, is_list = self._open[-1]
        if letter == ",":
            within.items += is_list
            self._at += 1
        elif letter in "]}":
            self._open.pop()
            self._at += 1
        elif letter == "[" and len(self._open) == 1:
            self._header()
        elif is_list:
            place = _Place(self._line)
            if within.items < LIST_LIMIT:  # longer ones are refused as a whole
                within.inside[within.items] = place
            self._value(place)
        else:
            self._value(self._key(within))

    def _header(self) -> None:
        again = self._text.startswith("[[", self._at)
        self._at += 1 + again
        *above, last = self._names()
        place = self._file
        for name in above:
            place = place.key(name, self._line)
        if again:
            array = place.inside.setdefault(last, _Place(self._line))
            place = array.inside[array.items] = _Place(self._line)
            array.items += 1
        else:
            place = place.key(last, self._line)
            place.line = self._line  # a table within it may have come first
        self._at += 1 + again
        self._open = [(place, False)]

    def _key(self, place: _Place) -> _Place:
        for name in self._names():
            place = place.key(name, self._line)
        self._at += 1  # the =
        self._take(_BLANK)
        return place

    def _names(self) -> list[str]:
        """A key that may have dots; what follows it comes next."""
        names: list[str] = []
        while not names or self._text.startswith(".", self._at):
            self._at += bool(names)
            self._take(_BLANK)
            names.append(_read(self._take(_NAME)))
            self._take(_BLANK)
        return names

    def _value(self, place: _Place) -> None:
        letter = self._text[self._at]
        if letter in "[{":
            self._open.append((place, letter == "["))
            self._at += 1
            return
        token = self._take(_SCALAR)
        if len(token) > DIGITS and _WHOLE.fullmatch(token):
            self.long_number = self._line

    def _take(self, pattern: re.Pattern[str]) -> str:
        match = pattern.match(self._text, self._at)
        assert match is not None
        self._line += self._text.count("\n", self._at, match.end())
        self._at = match.end()
        return match[0]


def _read(name: str) -> str:
    """A name as it is meant."""
    if name[0] == '"' and "\\" in name:
        return str(tomllib.loads(f"name = {name}")["name"])
    return name[1:-1] if name[0] in "\"'" else name
