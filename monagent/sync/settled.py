"""What became of one entry: the words of the reports."""

from __future__ import annotations

from typing import NamedTuple

from monagent.sync.manifest import Known

SAME = "same"
COPIED, UPDATED, METADATA, LINKED, MADE = "copied", "updated", "metadata", "linked", "made"
DELETED, REPLACED = "deleted", "replaced"
DIFFERS, METADATA_DIFFERS, MISSING, EXTRA = "differs", "metadata-differs", "missing", "extra"
UNSTABLE, FAILED = "unstable", "failed"
ROTTEN_COPY, ROTTEN_SOURCE, ROTTEN, REPAIRED = "rotten-copy", "rotten-source", "rotten", "repaired"
VANISHED = "vanished"

CHANGES = {COPIED, UPDATED, METADATA, LINKED, MADE, DELETED, REPLACED, REPAIRED}
"""The backup was changed."""
TROUBLES = {FAILED, ROTTEN_COPY, ROTTEN_SOURCE, ROTTEN}
"""Somebody must look at it."""
LEFT = {DIFFERS, METADATA_DIFFERS, MISSING, UNSTABLE}
"""The backup does not hold what the source holds."""


class Settled(NamedTuple):
    """One entry that was looked at.

    Attributes:
        name: in its directory.
        action: one of the words above.
        detail: more of it, for people.
        size: bytes of content copied.
        known: what to remember of it; None leaves what is remembered as it is.
        lost: metadata that could not be kept.
        read: bytes of content that were read to compare.
    """

    name: str
    action: str
    detail: str = ""
    size: int = 0
    known: Known | None = None
    lost: tuple[str, ...] = ()
    read: int = 0
