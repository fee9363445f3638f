"""One directory of both trees while something in it is under way."""

from __future__ import annotations

from dataclasses import dataclass, field

from monagent.sync.manifest import Known, Page
from monagent.sync.scan import Mark

_UNKNOWN: Mark = (0, 0, 0, 0)


@dataclass(slots=True, eq=False)
class Place:
    """Both open directories, and how far we are with them.

    Attributes:
        parent: the directory above; None for the roots.
        name, path: in the parent, and below the roots.
        source, target: descriptors.
        looked_at: when we came, in ns since the epoch; marks: of both directories, from before they were listed.
        page: what is remembered of their entries; remembered: the same taken apart, once that was necessary.
        entries: what will be remembered; None where everything is as it was.
        count: how many entries of the source concern us.
        directories: those below that are still to be entered.
        made: those that we have made; moved: those whose own marks are not as remembered.
        pending: entries, directories and we ourselves, as far as not done.
        orderly: neither directory's mark has moved, so that their metadata is equal.
        allowed: we may change the target here.
        changed: we did.
        has_extras: the target has more.
        disorder: the metadata of the directories differs and was not put right.
    """

    parent: Place | None
    name: str
    path: str
    source: int
    target: int
    looked_at: int = 0
    marks: tuple[Mark, Mark] = (_UNKNOWN, _UNKNOWN)
    page: Page | None = None
    remembered: dict[str, Known] = field(default_factory=dict)
    entries: dict[str, Known] | None = None
    count: int = 0
    directories: list[str] = field(default_factory=list)
    made: set[str] = field(default_factory=set)
    moved: set[str] = field(default_factory=set)
    pending: int = 1
    orderly: bool = False
    allowed: bool = False
    changed: bool = False
    has_extras: bool = False
    disorder: bool = False
