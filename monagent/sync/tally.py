"""Count what is found and done, and keep the list of items on disk: a million of them must not stay in memory."""

from __future__ import annotations

import contextlib
import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from monagent.sync import settled
from monagent.sync.scan import join
from monagent.sync.settled import CHANGES, LEFT, TROUBLES, Settled
from monagent.sync.shown import shown

FIRST = 100
"""Items that are told with the outcome."""
ITEMS_FILE = "items"
_WORDS = {
    settled.SAME: "same_files",
    settled.METADATA: "same_files",
    settled.METADATA_DIFFERS: "same_files",
    settled.UPDATED: "diff_files",
    settled.REPLACED: "diff_files",
    settled.REPAIRED: "diff_files",
    settled.DIFFERS: "diff_files",
    settled.UNSTABLE: "diff_files",
    settled.ROTTEN: "diff_files",
    settled.ROTTEN_COPY: "diff_files",
    settled.ROTTEN_SOURCE: "diff_files",
    settled.FAILED: "funny_files",
}


@dataclass(frozen=True, slots=True)
class Item:
    """One line of the report: what became of which path, and more of it."""

    action: str
    path: str
    detail: str = ""
    size: int = 0


@dataclass(slots=True)
class Tally:
    """Counts of one run.

    Attributes:
        words: of `filecmp.dircmp`, as the first round found them.
        actions: what was done in all rounds.
        round: what was done in this one.
        lost: metadata that could not be kept.
        copied, read: bytes of content.
        entries: in the source; there: in the target when the run began.
        incomplete: entries that are known to lack some metadata.
    """

    words: Counter[str] = field(default_factory=Counter)
    actions: Counter[str] = field(default_factory=Counter)
    round: Counter[str] = field(default_factory=Counter)
    lost: Counter[str] = field(default_factory=Counter)
    copied: int = 0
    read: int = 0
    entries: int = 0
    there: int = 0
    bytes: int = 0
    incomplete: int = 0
    rounds: int = 0

    def begin_round(self) -> None:
        """Another look at everything."""
        self.rounds += 1
        self.round.clear()
        self.entries = self.bytes = self.incomplete = 0

    def count(self, action: str, number: int = 1, *, compared: bool = True) -> None:
        """So many entries came to that; directories themselves are not among those that were compared."""
        if compared and self.rounds == 1 and action in _WORDS:
            self.words[_WORDS[action]] += number
        if action != settled.SAME:
            self.actions[action] += number
        self.round[action] += number

    @property
    def changes(self) -> int:
        """How many changes of the target this round made, times and modes of directories apart."""
        return sum(self.round[action] for action in CHANGES)

    @property
    def left(self) -> int:
        """How many entries this round leaves unlike their source."""
        return sum(self.round[action] for action in LEFT)

    @property
    def troubles(self) -> int:
        """How many entries of this round somebody must look at."""
        return sum(self.round[action] for action in TROUBLES)


class Items:
    """The list, as it grows: in a file that only we write, with the first ones at hand."""

    def __init__(self, state: Path) -> None:
        self._path = state / ITEMS_FILE
        self._file: IO[bytes] = open(self._path, "wb")  # noqa: SIM115 - closed by close()
        self.first: list[Item] = []
        self.troubles: list[Item] = []

    def add(self, action: str, path: str, detail: str = "", size: int = 0) -> None:
        """Note one. `detail` may hold names, as they are."""
        detail = shown(detail)
        self._file.write(b"%s\t%d\t%s\t%s\0" % (action.encode(), size, detail.encode(), os.fsencode(path)))
        if action in TROUBLES or action in LEFT:
            if len(self.troubles) < FIRST:
                self.troubles.append(Item(action, path, detail, size))
        elif len(self.first) < FIRST:
            self.first.append(Item(action, path, detail, size))

    def add_copied(self, path: str, copied: list[Settled]) -> None:
        """Note many plain copies in one directory."""
        if len(self.first) < FIRST:
            for one in copied:
                self.add(one.action, join(path, one.name), "", one.size)
            return
        start = f"{path}/" if path else ""
        text = "\0".join([f"{one.action}\t{one.size}\t\t{start}{one.name}" for one in copied])
        if text:
            self._file.write(os.fsencode(text) + b"\0")

    def told(self) -> list[Item]:
        """The first ones, those that need attention before the others."""
        return (self.troubles + self.first)[:FIRST]

    def close(self) -> None:
        """Nothing is added any more."""
        with contextlib.suppress(OSError):
            self._file.close()


def read_items(state: Path) -> Iterator[Item]:
    """Every item of the last run, one after the other."""
    rest = b""
    with open(state / ITEMS_FILE, "rb") as file:
        while chunk := file.read(1 << 16):
            *lines, rest = (rest + chunk).split(b"\0")
            for line in lines:
                action, size, detail, path = line.split(b"\t", 3)
                yield Item(action.decode(), os.fsdecode(path), detail.decode(), int(size))
