"""What became of the entries: counted, listed, and remembered where it will be looked at again."""

from __future__ import annotations

from monagent.sync import settled
from monagent.sync.scan import join
from monagent.sync.settled import Settled
from monagent.sync.tally import Items, Tally

TOUCHES = 20_000
"""Changes of a round that are remembered one by one; with more everything is gone through again."""


class Ledger:
    """Of one run. `touched` holds the names that this round has changed, by directory, unless they are too many."""

    def __init__(self, tally: Tally, items: Items) -> None:
        self.tally = tally
        self.items = items
        self.touched: dict[str, list[str]] = {}
        self._touches = 0

    def begin_round(self) -> None:
        """Another look at everything."""
        self.tally.begin_round()
        self.touched, self._touches = {}, 0

    @property
    def is_complete(self) -> bool:
        """Whether `touched` holds all that was changed."""
        return self._touches <= TOUCHES and not self.tally.round[settled.DELETED]

    @property
    def is_first_round(self) -> bool:
        """Whether this is the look that the words of the comparison come from."""
        return self.tally.rounds == 1

    def look_at_all_again(self) -> None:
        """Something was changed of which it is not known what else it concerns."""
        self._touches = TOUCHES + 1

    def touch(self, path: str, names: list[str]) -> None:
        """Entries of a directory were changed."""
        self._touches += len(names)
        if self._touches <= TOUCHES:
            self.touched.setdefault(path, []).extend(names)

    def note(self, one: Settled, path: str) -> None:
        """An entry is settled."""
        self.tally.count(one.action)
        self.tally.copied += one.size
        self.tally.read += one.read
        if self.is_first_round or one.action in settled.CHANGES:
            self.tally.lost.update(one.lost)
        if one.action == settled.VANISHED or (one.action == settled.SAME and not one.lost):
            return
        detail = "; ".join(filter(None, (one.detail, f"not kept: {', '.join(one.lost)}" if one.lost else "")))
        self.items.add(one.action, join(path, one.name), detail, one.size)

    def copied(self, path: str, copied: list[Settled]) -> None:
        """`note()` and `touch()` for many plain copies in one directory."""
        self.touch(path, [one.name for one in copied])
        self.tally.count(settled.COPIED, len(copied))
        self.tally.copied += sum([one.size for one in copied])
        self.items.add_copied(path, copied)
