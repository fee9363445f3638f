"""Where things stand in a TOML file."""

from __future__ import annotations

import json
import time
import tomllib
from collections.abc import Callable
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some

from monagent.server.site.places import Places

Path = tuple[str | int, ...]
NAMES = ["a", "b-1", "é", "", "x.y", 'q"', "it's", "1", "# [z]", "\t"]
SCALARS = [
    "1", "-1_000.5e3", "true", "nan", "1979-05-27 07:32:00Z", "07:32:00.5", '"a # ] } , = \\" b"', "'it [x] # \"'", '""', "''",
    '"""\n[x]\ny = "1"" \\""" \\\\"""', "'''\n[a]\n''b # '''", '""""quoted"""""', "'''''x'''''", '"""\\\n   folded"""',
]  # fmt: skip
BREAKS = ["", " ", "\n", "\n\n  ", " # ] } \" ' [x]\n", "\t# , =\n# [[y]]\n"]


class Page:
    """A file that is being written, by chance, and where what was put."""

    def __init__(self, data: some.DataObject) -> None:
        self.text = ""
        self.lines: dict[Path, int] = {}
        self._data = data

    def one_of(self, choices: list[Any]) -> Any:
        """Any of them."""
        return self._data.draw(some.sampled_from(choices))

    def names(self, most: int = 3) -> list[str]:
        """Some, each once."""
        return self._data.draw(some.lists(some.sampled_from(NAMES), unique=True, max_size=most))

    def mark(self, path: Path) -> None:
        """Something begins here, and what leads to it, where that is new."""
        here = self.text.count("\n") + 1
        for length in range(1, len(path)):
            self.lines.setdefault(path[:length], here)
        self.lines[path] = here

    def key(self, path: Path, parts: list[str]) -> None:
        """A key, maybe with dots."""
        self.mark((*path, *parts))
        self.text += self.one_of([" . ", "."]).join(self._written(part) for part in parts)

    def _written(self, name: str) -> str:
        forms = [json.dumps(name), '"' + "".join(f"\\u{ord(letter):04x}" for letter in name) + '"']
        if name and name.replace("-", "").isascii() and name.replace("-", "").isalnum():
            forms.append(name)
        if "'" not in name:
            forms.append(f"'{name}'")
        return str(self.one_of(forms))

    def pairs(self, path: Path, end: Callable[[int], str], depth: int = 0) -> None:
        """Keys with values; `end` follows the one of that number."""
        for number, name in enumerate(self.names()):
            self.text += end(number)
            parts = [name, *self.names(2)]
            self.key(path, parts)
            self.text += self.one_of(["=", " = "])
            self.value((*path, *parts), depth)

    def value(self, path: Path, depth: int) -> None:
        """Any."""
        form = self.one_of(["scalar", "list", "table"] if depth < 3 else ["scalar"])
        if form == "scalar":
            self.text += self.one_of(SCALARS)
        elif form == "table":
            self.text += "{ "
            self.pairs(path, lambda number: ", " if number else "", depth + 1)
            self.text += " }"
        else:
            self._list(path, depth)

    def _list(self, path: Path, depth: int) -> None:
        size = self.one_of([0, 1, 3])
        self.text += "["
        for number in range(size):
            self.text += self.one_of(BREAKS)
            self.mark((*path, number))
            self.value((*path, number), depth + 1)
            self.text += self.one_of(BREAKS) + ("," if number < size - 1 else self.one_of(["", ","]))
        self.text += self.one_of(BREAKS) + "]"

    def header(self, parts: list[str], path: Path, *, again: bool = False) -> None:
        """A table's, or with `again` one of an array of tables."""
        self.text += self.one_of(["\n", "\n\n", "\n  ", " # x = 1\n\t"])
        self.mark(path)
        names = " . ".join(self._written(part) for part in parts)
        self.text += f"[[ {names} ]]" if again else f"[{names}]"

    def table(self, name: str) -> None:
        """One of a new name, in any of the forms that there are."""
        form = self.one_of(["plain", "inner first", "array"])
        if form == "array":
            for number in range(2):
                self.header([name], (name, number), again=True)
                self.pairs((name, number), lambda _: "\n")
                self.header([name, "deep"], (name, number, "deep"))
                self.pairs((name, number, "deep"), lambda _: "\r\n")
            return
        if form == "inner first":
            self.header([name, "in", "ner"], (name, "in", "ner"))
            self.pairs((name, "in", "ner"), lambda _: "\n")
        self.header([name], (name,))
        self.pairs((name,), lambda _: "\n # k = 1\n")


@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(some.data())
def test_whatever_is_written_is_found_where_it_was_written(data: some.DataObject) -> None:
    """Each key and each item, in any good file."""
    page = Page(data)
    page.pairs((), lambda _: "\n")
    for name in page.names():
        page.table(f"t{name}")
    tomllib.loads(page.text)
    places = Places(page.text)

    assert {path: places.line(path) for path in page.lines} == page.lines


def test_a_large_file_takes_no_longer_than_its_size() -> None:
    """Nobody waits for minutes to be told a line."""
    begun = time.process_time()
    hosts = "".join(f'host.w{number}.address = "x"\n' for number in range(20_000))
    items = "list = [\n" + '"""\n""",\n' * 20_000 + "]\n"
    places = Places(hosts + items)

    assert places.line(["host", "w19999", "address"]) == 20_000
    assert places.line(["list", 19_999]) == 20_002 + 2 * 19_999
    assert time.process_time() - begun < 5


def test_what_is_not_there_is_on_the_line_of_what_is_around_it() -> None:
    """And nowhere, when there is nothing."""
    places = Places("[host.a]\nport = 1\n")

    assert [places.line(["host", "a", "port", 3]), places.line(["host", "a", "x"]), places.line(["x"])] == [2, 1, None]
