"""Settle what is no regular file: symbolic links, and pipes, sockets and devices, which are made anew and never opened."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable

from monagent.sync import settled
from monagent.sync.bins import Bin
from monagent.sync.files import failure
from monagent.sync.manifest import INCOMPLETE, KEPT_WHOLE, Known
from monagent.sync.metadata import Rights, differences, mode_for, owner_for
from monagent.sync.paths import discarded_on_failure
from monagent.sync.scan import look_at, mark_of
from monagent.sync.settled import Settled


class Others:
    """Settles them; every failure is told as the entry's own."""

    def __init__(self, *, change: bool, kept: Bin, temporary: Callable[[], str]) -> None:
        """
        Args:
            change: whether the target may be changed.
            kept: where the old ones go.
            temporary: makes names.
        """
        self._change = change
        self._kept = kept
        self._temporary = temporary
        self._rights = Rights.ours()

    def settle(self, source: int, target: int, path: str, name: str, seen: os.stat_result) -> Settled:
        """Make the copy of an entry equal, or find out whether it is; see `Files.settle()`."""
        try:
            return self._settle(source, target, path, name, seen)
        except FileNotFoundError:
            return Settled(name, settled.VANISHED)
        except OSError as error:
            return Settled(name, settled.FAILED, failure(error))

    def _settle(self, source: int, target: int, path: str, name: str, seen: os.stat_result) -> Settled:
        there = look_at(target, name)
        value = os.readlink(name, dir_fd=source) if stat.S_ISLNK(seen.st_mode) else None
        if there is None or not self._is_same_thing(seen, there, target, name, value):
            if not self._change:
                return Settled(name, settled.DIFFERS, "what it is")
            return self._place(target, path, name, seen, value, old=there is not None)
        wrong = differences(seen, there, self._rights, {}, {})
        if not wrong:
            return Settled(name, settled.SAME, known=Known(mark_of(seen), mark_of(there)))
        if not self._change:
            return Settled(name, settled.METADATA_DIFFERS, ", ".join(wrong))
        if there.st_nlink > 1 or "mode" in wrong:  # a mode cannot be changed without following links
            return self._place(target, path, name, seen, value, old=True)
        lost = self._give(target, name, seen, there)
        return self._done(target, name, settled.METADATA, seen, lost, ", ".join(wrong))

    def _is_same_thing(
        self, seen: os.stat_result, there: os.stat_result, target: int, name: str, value: str | None
    ) -> bool:
        if stat.S_IFMT(seen.st_mode) != stat.S_IFMT(there.st_mode):
            return False
        if value is not None:
            return os.readlink(name, dir_fd=target) == value
        return seen.st_rdev == there.st_rdev

    def _place(
        self, target: int, path: str, name: str, seen: os.stat_result, value: str | None, *, old: bool
    ) -> Settled:
        beside = self._temporary()
        with discarded_on_failure(target, beside):
            if value is not None:
                os.symlink(value, beside, dir_fd=target)
            else:
                self._make_node(target, beside, seen)
            made = os.stat(beside, dir_fd=target, follow_symlinks=False)
            lost = self._give(target, beside, seen, made)
            self._kept.put(target, path, beside, name, old=old)
        return self._done(target, name, settled.UPDATED if old else settled.COPIED, seen, lost)

    def _make_node(self, target: int, name: str, seen: os.stat_result) -> None:
        ours = os.fstat(target)
        mode = mode_for(seen, owner_for(seen, self._rights, ours))
        former = os.umask(0)
        try:
            os.mknod(name, stat.S_IFMT(seen.st_mode) | mode, seen.st_rdev, dir_fd=target)
        finally:
            os.umask(former)

    def _give(self, target: int, name: str, seen: os.stat_result, there: os.stat_result) -> list[str]:
        owner = owner_for(seen, self._rights, there)
        lost = [] if owner[0] == seen.st_uid else ["owner"]
        if (there.st_uid, there.st_gid) != owner:
            try:
                os.chown(name, *owner, dir_fd=target, follow_symlinks=False)
            except PermissionError:
                lost.append("owner and group")
        times = (seen.st_atime_ns, seen.st_mtime_ns)
        os.utime(name, ns=times, dir_fd=target, follow_symlinks=False)
        return lost

    def _done(
        self, target: int, name: str, action: str, seen: os.stat_result, lost: list[str], detail: str = ""
    ) -> Settled:
        there = look_at(target, name)
        known = Known(mark_of(seen), mark_of(there), flags=INCOMPLETE if lost else KEPT_WHOLE) if there else None
        return Settled(name, action, detail, known=known, lost=tuple(lost))
