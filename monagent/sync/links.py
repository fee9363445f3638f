"""Files with several names: the first is copied, the others become names of that copy."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from dataclasses import dataclass

from monagent.sync import settled
from monagent.sync.bins import Bin
from monagent.sync.files import failure
from monagent.sync.manifest import YOUNG, Known
from monagent.sync.paths import discarded_on_failure, open_below
from monagent.sync.scan import join, mark_of
from monagent.sync.settled import Settled

_NO_LINKS = (errno.EPERM, errno.EMLINK, errno.EXDEV, errno.ENOTSUP)


@dataclass(slots=True)
class _First:
    """The first name of a file in this round: where its copy stands, its device and inode, and how many names follow."""

    path: str
    name: str
    identity: tuple[int, int]
    left: int
    tag: bytes


class Links:
    """Knows the files with several names that were met in this round. One is forgotten once all its names were met."""

    def __init__(self, roots: tuple[int, int], *, change: bool, kept: Bin, temporary: Callable[[], str]) -> None:
        self._target_root = roots[1]
        self._change = change
        self._kept = kept
        self._temporary = temporary
        self._firsts: dict[tuple[int, int], _First] = {}

    def begin(self) -> None:
        """Another round."""
        self._firsts.clear()

    def knows(self, seen: os.stat_result) -> bool:
        """Whether another name of this file was met already."""
        return (seen.st_dev, seen.st_ino) in self._firsts

    def learn(self, seen: os.stat_result, path: str, name: str, copy: os.stat_result, tag: bytes) -> None:
        """One name of a file is settled; the others can follow it."""
        key = (seen.st_dev, seen.st_ino)
        if key in self._firsts:
            self._meet(key)
        elif seen.st_nlink > 1:
            self._firsts[key] = _First(path, name, (copy.st_dev, copy.st_ino), seen.st_nlink - 1, tag)

    def settle(
        self, target: int, path: str, name: str, seen: os.stat_result, copy: os.stat_result | None
    ) -> Settled | None:
        """Make another name of a file the name of its copy, or find out whether it is; None where there can be no links."""
        first = self._meet((seen.st_dev, seen.st_ino))
        if copy is not None and (copy.st_dev, copy.st_ino) == first.identity:
            return Settled(name, settled.SAME, known=Known(mark_of(seen), mark_of(copy), first.tag))
        what = f"one file with {join(first.path, first.name)}"
        if not self._change:
            return Settled(name, settled.DIFFERS, what)
        try:
            there = self._link(first, target, path, name, old=copy is not None)
        except OSError as error:
            if error.errno in _NO_LINKS:
                return None
            return Settled(name, settled.FAILED, f"{what}; {failure(error)}")
        action = settled.LINKED if copy is None else settled.UPDATED
        return Settled(name, action, what, known=Known(mark_of(seen), mark_of(there), first.tag, YOUNG))

    def _meet(self, key: tuple[int, int]) -> _First:
        first = self._firsts[key]
        first.left -= 1
        if not first.left:
            del self._firsts[key]
        return first

    def _link(self, first: _First, target: int, path: str, name: str, *, old: bool) -> os.stat_result:
        beside = self._temporary()
        directory = open_below(self._target_root, first.path)
        try:
            os.link(first.name, beside, src_dir_fd=directory, dst_dir_fd=target, follow_symlinks=False)
        finally:
            os.close(directory)
        with discarded_on_failure(target, beside):
            there = os.stat(beside, dir_fd=target, follow_symlinks=False)
            self._kept.put(target, path, beside, name, old=old)
        return there
