"""What stands in a directory: names with their status, and marks that move whenever an entry changes."""

from __future__ import annotations

import os
from array import array
from collections.abc import Callable, Iterable, Sequence
from itertools import chain
from operator import attrgetter
from typing import TypeAlias

TEMPORARY = ".monagent-sync-"
"""What begins so is a copy that was not finished: never read, and removed from the target."""
BIN_INSIDE = ".monagent-bin"
"""The bin of a target that is a mount point; in its root alone."""

DIRECTORY_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC

Mark: TypeAlias = tuple[int, int, int, int]
"""Inode, size, mtime and ctime (both in ns), each modulo 2**64. The kernel moves ctime with every change of content or metadata."""

Excluded: TypeAlias = Callable[[str, bool], bool]
"""Takes a path relative to the root, and whether it is a directory."""

_MASK = (1 << 64) - 1
_FINE_NS, _COARSE_NS = 50_000_000, 2_000_000_000
_numbers_of = attrgetter("st_ino", "st_size", "st_mtime_ns", "st_ctime_ns")


class Listing:
    """The entries of one directory, sorted by name; those that vanish while we look are not there."""

    __slots__ = ("_marks", "failed", "names", "statuses")

    def __init__(
        self, names: list[str], statuses: list[os.stat_result], failed: Sequence[tuple[str, str]] = ()
    ) -> None:
        """
        Args:
            names: sorted.
            statuses: of each.
            failed: names that cannot be looked at, and why.
        """
        self.failed = tuple(failed)
        self.names = names
        self.statuses = statuses
        self._marks: bytes | None = None

    def as_dict(self) -> dict[str, os.stat_result]:
        """By name."""
        return dict(zip(self.names, self.statuses, strict=True))

    def marks(self) -> bytes:
        """All marks, in one piece that can be kept and compared at once."""
        if self._marks is None:
            self._marks = packed(map(_numbers_of, self.statuses))
        return self._marks

    def filtered(self, keep: Callable[[str, os.stat_result], bool]) -> Listing:
        """Without some entries."""
        kept = [(name, status) for name, status in zip(self.names, self.statuses, strict=True) if keep(name, status)]
        return Listing([name for name, _ in kept], [status for _, status in kept], self.failed)

    def without(self, failed: Sequence[tuple[str, str]]) -> Listing:
        """Without names that cannot be looked at on the other side."""
        names = {name for name, _ in failed}
        return self.filtered(lambda name, _: name not in names) if names else self


def read_directory(descriptor: int) -> Listing:
    """List an open directory.

    Raises:
        OSError: it cannot be read.
    """
    names = sorted(os.listdir(descriptor))
    try:
        return read_names(descriptor, names)
    except OSError:
        return _what_can_be_seen(descriptor, names)


def read_names(descriptor: int, names: list[str]) -> Listing:
    """List a directory of which the names are known.

    Raises:
        OSError: one of them is gone, or cannot be looked at.
    """
    look = os.stat
    return Listing(names, [look(name, dir_fd=descriptor, follow_symlinks=False) for name in names])


def _what_can_be_seen(descriptor: int, names: Iterable[str]) -> Listing:
    """One entry that is broken, or somebody's own file system, does not cost the others."""
    there, failed = [], []
    for name in names:
        try:
            status = look_at(descriptor, name)
        except OSError as error:
            failed.append((name, error.strerror or str(error)))
        else:
            if status is not None:
                there.append((name, status))
    return Listing([name for name, _ in there], [status for _, status in there], failed)


def look_at(descriptor: int, name: str) -> os.stat_result | None:
    """The status of one entry, itself if it is a link; None when there is none."""
    try:
        return os.stat(name, dir_fd=descriptor, follow_symlinks=False)
    except FileNotFoundError:
        return None


def mark_of(status: os.stat_result) -> Mark:
    """The mark of one entry."""
    return (
        status.st_ino & _MASK,
        status.st_size & _MASK,
        status.st_mtime_ns & _MASK,
        status.st_ctime_ns & _MASK,
    )


def packed(marks: Iterable[Sequence[int]]) -> bytes:
    """Marks in one piece, 32 bytes each."""
    numbers = list(chain.from_iterable(marks))
    try:
        return array("Q", numbers).tobytes()
    except OverflowError:  # times before 1970 or after 2554
        return array("Q", [number & _MASK for number in numbers]).tobytes()


def unpacked(blob: bytes) -> list[Mark]:
    """The marks again."""
    numbers = array("Q")
    numbers.frombytes(blob)
    each = iter(numbers)
    return list(zip(each, each, each, each, strict=True))


def is_young(ctime_ns: int, now_ns: int) -> bool:
    """Whether an entry may still change without its ctime moving on: its clock ticks too slowly to tell.

    File systems stamp with the kernel's tick (4 ms at most), old ones with whole seconds, FAT with two.
    """
    tick = _FINE_NS if ctime_ns % 1_000_000_000 else _COARSE_NS
    return now_ns - ctime_ns < tick


def join(path: str, name: str) -> str:
    """A path below the root; the root itself is empty."""
    return f"{path}/{name}" if path else name
