"""What is different between two sites, for people to read before it is done. Rules alone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from monagent.server.site.model import KINDS, Key, Site
from monagent.server.site.writing import header, lines


@dataclass(frozen=True, slots=True)
class Difference:
    """What a change does to a site; `before` and `after` it."""

    before: Site
    after: Site

    @property
    def added(self) -> list[Key]:
        """In the order of a file."""
        return [key for key in self.after.ordered() if key not in self.before.definitions]

    @property
    def removed(self) -> list[Key]:
        """In the order of a file."""
        return [key for key in self.before.ordered() if key not in self.after.definitions]

    @property
    def changed(self) -> list[Key]:
        """In the order of a file. 1 and 1.0 are different: a sensor is given what is written."""
        return [key for key in self.before.ordered() if key in self.after.definitions and self._differs(key)]

    def _differs(self, key: Key) -> bool:
        old, new = self.before.definitions[key], self.after.definitions[key]
        return old is not new and (old != new or lines(key[0], old) != lines(key[0], new))

    def __bool__(self) -> bool:
        return bool(self.added or self.removed or self.changed)

    def told(self) -> Iterator[str]:
        """Lines: `+` for what comes, `-` for what goes, `~` for what is otherwise, with its keys."""
        marks = dict.fromkeys(self.added, "+") | dict.fromkeys(self.removed, "-") | dict.fromkeys(self.changed, "~")
        for key in sorted(marks, key=lambda one: (KINDS.index(one[0]), one[1])):
            kind, name = key
            old = lines(kind, self.before.definitions.get(key, {}))
            new = lines(kind, self.after.definitions.get(key, {}))
            yield f"{marks[key]} {header(kind, name)}{_loss(marks[key], kind)}"
            if marks[key] != "-":
                yield from _keys(old, new)


def _keys(old: dict[str, str], new: dict[str, str]) -> Iterator[str]:
    for key in dict.fromkeys([*old, *new]):
        if old.get(key) != new.get(key):
            yield from (f"    - {line}" for line in old.get(key, "").splitlines())
            yield from (f"    + {line}" for line in new.get(key, "").splitlines())


def _loss(mark: str, kind: str) -> str:
    return "   its tickets, readings and incidents go, too" if mark == "-" and kind == "host" else ""
