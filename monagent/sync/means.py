"""What the parts of one run work with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from monagent.sync.bins import Bin
from monagent.sync.crew import Meter
from monagent.sync.files import Files, Rules
from monagent.sync.ledger import Ledger
from monagent.sync.manifest import INCOMPLETE, READ_AGAIN, UNREAD, Manifest
from monagent.sync.view import View


@dataclass(frozen=True, slots=True)
class Means:
    """Made once by the run, handed to the engine.

    Attributes:
        roots: source and target, open.
        manifest: what is remembered.
        view: what of a directory concerns us.
        rules: how files are settled; files: settles one.
        meter: counts bytes, and keeps us within the bandwidth.
        kept: the bin.
        ledger: takes what became of the entries.
        delete: whether the target loses what the source does not have.
        before_change: called before anything is changed; raises when nothing must be.
        too_many: says why so many entries are not deleted, or nothing.
        same_excludes: whether what is remembered was seen with the excludes of today.
        rights_grew: whether metadata that could not be kept may be kept now.
    """

    roots: tuple[int, int]
    manifest: Manifest
    view: View
    rules: Rules
    files: Files
    meter: Meter
    kept: Bin
    ledger: Ledger
    delete: bool
    before_change: Callable[[], None]
    too_many: Callable[[int], str]
    same_excludes: bool
    rights_grew: bool

    @property
    def read_again(self) -> int:
        """The flags of entries that are looked at though no mark has moved."""
        flags = READ_AGAIN if self.rules.contents else READ_AGAIN & ~UNREAD
        return flags | INCOMPLETE if self.rights_grew else flags
