"""What a sync is to do: two roots and the rules between them."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

CONTENT, STAT = "content", "stat"
SYNC, CHECK, FULL_CHECK, DRY_RUN = "sync", "check", "full-check", "dry-run"
"""Modes: make the backup equal; look whether it is, reading what moved; reading everything; say what would be done."""


@dataclass(frozen=True, slots=True)
class SyncJob:
    """One pair of directories.

    Attributes:
        name: of the job, for people.
        source, target: the roots.
        state: the directory that remembers this pair; ours alone.
        exclude: gitignore patterns, relative to the roots; what they match is neither read nor touched on either side.
        compare: `CONTENT`, or `STAT` to trust type, size and mtime.
        delete: whether the target loses what the source no longer has.
        max_delete: a number of entries or a percentage of the target's; more is not deleted at all.
        max_shrink: a number of entries or a percentage; a source that lost more since the last run stops the job.
        max_age: seconds without a success after which the job is overdue.
        reflink: whether the copy may share its blocks with the source.
        bin: where deleted and overwritten entries go; None: beside the target, or in it where that is a mount point.
        bin_age: seconds that they are kept there.
        nice, io: priorities, as setpriority(2) and ioprio_set(2) have them; -1 leaves `io` as it is.
        bandwidth: bytes a second that may be copied or read; 0 means no limit.
    """

    name: str
    source: Path
    target: Path
    state: Path
    exclude: tuple[str, ...] = ()
    compare: str = CONTENT
    delete: bool = False
    max_delete: str = "10%"
    max_shrink: str = "30%"
    max_age: float = 26 * 3600.0
    reflink: bool = False
    bin: Path | None = None
    bin_age: float = 30 * 86400.0
    nice: int = 0
    io: int = -1
    bandwidth: int = 0


def request_of(job: SyncJob, mode: str) -> bytes:
    """What asks another process for a run."""
    return json.dumps({"job": asdict(job), "mode": mode}, default=os.fspath).encode()


def asked(request: bytes) -> tuple[SyncJob, str]:
    """The job and the mode that a request is for."""
    told = json.loads(request)
    values = told["job"]
    for name in ("source", "target", "state", "bin"):
        values[name] = Path(values[name]) if values[name] is not None else None
    return SyncJob(**{**values, "exclude": tuple(values["exclude"])}), told["mode"]


def is_more(count: int, share: str, whole: int) -> bool:
    """Whether a count exceeds a number, or a percentage of the whole, as it is written in a configuration."""
    if share.endswith("%"):
        return count * 100 > float(share[:-1].strip()) * whole
    return count > int(share)
