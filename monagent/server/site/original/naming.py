"""Make valid names, each once, of whatever names the original system had; what is changed is told."""

from __future__ import annotations

import re

_OTHERS = re.compile(r"[^A-Za-z0-9_.-]+")
TRIES = 100_000


class Naming:
    """The names of one kind."""

    def __init__(self, kind: str, longest: int, notes: list[str]) -> None:
        self._kind = kind
        self._longest = longest
        self._notes = notes
        self._taken: set[str] = set()

    def name(self, written: object, number: int) -> str:
        """A name for what was written; `number` is of its row."""
        text = "" if written is None else str(written)
        valid = _OTHERS.sub("-", text).strip("-.")[: self._longest] or f"{self._kind}-{number}"
        name = self._free(valid)
        self._taken.add(name)
        if name != text:
            self._notes.append(f"{self._kind} {text[:80]!r} becomes {name}")
        return name

    def _free(self, name: str) -> str:
        if name not in self._taken:
            return name
        endings = (f"-{count}" for count in range(2, TRIES))
        return next(
            free for ending in endings if (free := name[: self._longest - len(ending)] + ending) not in self._taken
        )
