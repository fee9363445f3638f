"""Settle one regular file: read what must be read, and put a whole copy in place of what is not equal."""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import stat
import time
from dataclasses import dataclass
from typing import NamedTuple

from monagent.sync import settled
from monagent.sync.bins import Bin
from monagent.sync.content import READ_FLAGS, SMALL, Contents
from monagent.sync.manifest import INCOMPLETE, KEPT_WHOLE, NO_TAG, READ_AGAIN, SUSPECT, UNREAD, YOUNG, Known
from monagent.sync.metadata import Rights, attributes, differences, give, give_new, is_plain
from monagent.sync.scan import TEMPORARY, is_young, look_at, mark_of
from monagent.sync.settled import Settled

_NEW_FILE = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_FORMAT_AND_SET_ID = 0o170000 | stat.S_ISUID | stat.S_ISGID | stat.S_ISVTX
_TRIES = 2
"""To copy a file that changes meanwhile; further ones come with the next rounds."""


@dataclass(frozen=True, slots=True)
class Rules:
    """How files are settled.

    Attributes:
        change: whether the target may be changed.
        full: whether contents are read though nothing has moved.
        contents: whether contents are compared at all, or type, size and mtime are trusted.
        in_kernel: whether the kernel may copy by itself: it never shares blocks here, or may.
    """

    change: bool
    full: bool
    contents: bool
    in_kernel: bool


class _Case(NamedTuple):
    """One file that is being settled: the open original as it was when we began, and where its copy belongs."""

    original: int
    seen: os.stat_result
    target: int
    path: str
    name: str
    known: Known | None

    @property
    def source_moved(self) -> bool:
        """Whether the original's mark is not the one that is remembered."""
        if self.known is None:
            return True
        mark = mark_of(self.seen)
        if self.known.flags & SUSPECT:  # a rotten file is not mended by a chmod
            return mark[1:3] != self.known.source[1:3]
        return mark != self.known.source


class Files:
    """Settles files for one process. Every failure is told as the file's own."""

    def __init__(self, rules: Rules, contents: Contents, kept: Bin) -> None:
        self._rules = rules
        self._contents = contents
        self._kept = kept
        self._rights = Rights.ours()
        self._numbers = itertools.count()
        self._prefix = f"{TEMPORARY}{os.getpid():x}-"
        self._read_flags = READ_FLAGS | (os.O_NOATIME if self._rights.root else 0)
        self._in_plain = False

    def renew(self) -> None:
        """We are another process now, forked from the one that made us."""
        self._prefix = f"{TEMPORARY}{os.getpid():x}-"
        self._kept.renew()

    def temporary(self) -> str:
        """A name that nobody else uses, for what is not finished."""
        return f"{self._prefix}{next(self._numbers):x}"

    def settle(self, source: int, target: int, path: str, name: str, known: Known | None, *, look: bool) -> Settled:
        """Make the copy of a file equal, or find out whether it is.

        Args:
            source: the open directory that it stands in.
            target: the one that its copy belongs into.
            path: of both, below the roots.
            name: of the file.
            known: what is remembered of it.
            look: whether there is a copy that may be equal.
        """
        try:
            original = self._contents.open(name, source)
        except FileNotFoundError:
            return Settled(name, settled.VANISHED)
        except OSError as error:
            if error.errno in (errno.ELOOP, errno.ENXIO):  # a link, a socket: when we looked it was a file
                return Settled(name, settled.UNSTABLE, "it is becoming something else")
            return Settled(name, settled.FAILED, failure(error))
        try:
            seen = os.fstat(original)
            if not stat.S_ISREG(seen.st_mode):
                return Settled(name, settled.UNSTABLE, "it is becoming something else")
            case = _Case(original, seen, target, path, name, known)
            return self._look(case) if look else self._copy(case)
        except OSError as error:
            return Settled(name, settled.FAILED, failure(error))
        finally:
            os.close(original)

    def enter(self, target: int) -> None:
        """What follows belongs into this directory."""
        self._in_plain = is_plain(target)

    def fresh(self, source: int, target: int, path: str, name: str) -> Settled:
        """Copy a file that has no copy yet, see `settle()`. Most are small, and get a way that is short."""
        done = None
        if self._in_plain:
            try:
                done = self._copy_small(source, target, name)
            except OSError:
                done = None  # the thorough way will say what is wrong
        return done or self.settle(source, target, path, name, None, look=False)

    def _copy_small(self, source: int, target: int, name: str) -> Settled | None:
        """Copy a small and plain file; None where that will not do. A first run comes by here: microseconds count."""
        original, new, beside, now = -1, -1, "", time.time_ns()
        try:
            original = os.open(name, self._read_flags, dir_fd=source)
            seen = os.fstat(original)
            size = seen.st_size
            is_small = size <= SMALL and seen.st_blocks and seen.st_mode & _FORMAT_AND_SET_ID == stat.S_IFREG
            if not is_small or os.listxattr(original):
                return None
            beside = f"{self._prefix}{next(self._numbers):x}"
            new = os.open(beside, _NEW_FILE, 0o600, dir_fd=target)
            data = os.pread(original, size + 1, 0)
            self._contents.spend(size)
            os.pwrite(new, data, 0)
            is_whole = len(data) == size and os.pread(new, size + 1, 0) == data
            after = os.fstat(original)
            if not is_whole or after.st_ctime_ns != seen.st_ctime_ns or after.st_mtime_ns != seen.st_mtime_ns:
                return None
            lost = give_new(new, seen, self._rights)
            os.rename(beside, name, src_dir_fd=target, dst_dir_fd=target)
            beside, there = "", os.fstat(new)
            if there.st_mtime_ns != seen.st_mtime_ns:  # somebody has written into it since
                return None
            young = is_young(seen.st_ctime_ns, now) or self._contents.is_being_written(original)
            flags = (INCOMPLETE if lost else 0) | (YOUNG if young else 0)
            known = Known(mark_of(seen), mark_of(there), self._contents.tag_of(data), flags)
            return Settled(name, settled.COPIED, "", size, known, lost)
        finally:
            if original >= 0:
                os.close(original)
            if new >= 0:
                os.close(new)
            if beside:
                with contextlib.suppress(OSError):
                    os.unlink(beside, dir_fd=target)

    # -- is it equal? -----------------------------------------------------------------------------------------------

    def _look(self, case: _Case) -> Settled:
        now = time.time_ns()
        try:
            copy = self._contents.open(case.name, case.target)
        except OSError:
            if not self._rules.change:
                raise
            return self._copy(case)  # we cannot read the one that is there
        try:
            there = os.fstat(copy)
            if not stat.S_ISREG(there.st_mode) or not self._may_be_equal(case.seen, there):
                return self._differ(case)
            tag = self._equal(case, copy, there) if self._rules.contents else NO_TAG
            if mark_of(os.fstat(case.original)) != mark_of(case.seen):
                return Settled(case.name, settled.UNSTABLE, "it changes while it is read")
            if tag is None:
                return self._unequal(case, there)
            young = self._may_change_unseen(case, now) or is_young(there.st_ctime_ns, now)
            if not self._rules.contents:
                return self._agree(case, copy, there, tag, UNREAD)
            return self._agree(case, copy, there, tag, YOUNG if young else KEPT_WHOLE)
        finally:
            os.close(copy)

    def _may_be_equal(self, seen: os.stat_result, there: os.stat_result) -> bool:
        trusted = self._rules.contents or seen.st_mtime_ns == there.st_mtime_ns
        return trusted and seen.st_size == there.st_size

    def _equal(self, case: _Case, copy: int, there: os.stat_result) -> bytes | None:
        """The tag of both contents when they are equal. Only the side that has moved is read, where that will do."""
        size, known = case.seen.st_size, case.known
        if known and known.tag != NO_TAG and not known.flags & READ_AGAIN and not self._rules.full:
            if mark_of(there) == known.target:
                return known.tag if self._contents.tag(case.original, size) == known.tag else None
            if not case.source_moved:
                return known.tag if self._contents.tag(copy, size) == known.tag else None
        return self._contents.equal(case.original, copy, size)

    def _agree(self, case: _Case, copy: int, there: os.stat_result, tag: bytes, flags: int) -> Settled:
        """The contents are equal; so must be the rest."""
        seen = case.seen
        theirs, has = attributes(case.original, self._rights), attributes(copy, self._rights)
        wrong = differences(seen, there, self._rights, theirs, has)
        read = seen.st_size if self._rules.contents else 0
        if not wrong:
            flags |= case.known.flags & INCOMPLETE if case.known else KEPT_WHOLE
            known = Known(mark_of(seen), mark_of(there), tag, flags)
            return Settled(case.name, settled.SAME, known=known, read=read)
        if not self._rules.change:
            return Settled(case.name, settled.METADATA_DIFFERS, ", ".join(wrong), read=read)
        if there.st_nlink > 1:
            return self._copy(case)  # the copy has another name, and what stands there may be anybody's
        try:
            lost = tuple(give(copy, seen, self._rights, theirs, has))
        except PermissionError:
            return self._copy(case)  # it is not ours; a new one is
        there = os.fstat(copy)
        lost += _lost_time(seen, there)
        flags |= INCOMPLETE if lost else KEPT_WHOLE
        known = Known(mark_of(seen), mark_of(there), tag, flags)
        if self._rules.contents and self._contents.tag(copy, seen.st_size) != tag:
            return self._copy(case)  # it was written into after it was read, and we have set its times back
        action = settled.SAME if wrong == ["time"] and lost == _lost_time(seen, there) != () else settled.METADATA
        return Settled(case.name, action, ", ".join(wrong), known=known, lost=lost, read=read)

    # -- it is not --------------------------------------------------------------------------------------------------

    def _unequal(self, case: _Case, there: os.stat_result) -> Settled:
        known = case.known
        if known is None or case.source_moved:
            return self._differ(case)
        copy_moved = mark_of(there) != known.target
        if known.tag == NO_TAG:
            return self._differ(case) if copy_moved else _rotten(case, known, settled.ROTTEN, _UNKNOWN_SIDE)
        if self._contents.tag(case.original, case.seen.st_size) != known.tag:
            return _rotten(case, known, settled.ROTTEN_SOURCE, _SOURCE_SIDE)
        if copy_moved:
            return self._differ(case)
        if not self._rules.change:
            return _rotten(case, known, settled.ROTTEN_COPY, _COPY_SIDE)
        done = self._copy(case)
        return done._replace(action=settled.REPAIRED, detail=_COPY_SIDE) if done.action == settled.UPDATED else done

    def _differ(self, case: _Case) -> Settled:
        return self._copy(case) if self._rules.change else Settled(case.name, settled.DIFFERS, "content")

    # -- a new copy -------------------------------------------------------------------------------------------------

    def _copy(self, case: _Case) -> Settled:
        for _ in range(_TRIES):
            done = self._try_copy(case)
            if done is not None:
                return done
            case = case._replace(seen=os.fstat(case.original))
        return Settled(case.name, settled.UNSTABLE, "it changes while it is copied")

    def _try_copy(self, case: _Case) -> Settled | None:
        """Put a copy in place; None when the original has changed meanwhile, and nothing is done."""
        now, target, name, seen = time.time_ns(), case.target, case.name, case.seen
        beside = self.temporary()
        new = os.open(beside, _NEW_FILE, 0o600, dir_fd=target)
        placed = False
        try:
            tag = self._fill(case.original, seen, new)
            if tag is None:
                return None
            rights = self._rights
            lost = give(new, seen, rights, attributes(case.original, rights), attributes(new, rights))
            old = look_at(target, name)
            rotten = case.known is not None and not case.source_moved and case.known.tag not in (NO_TAG, tag)
            if old is not None and rotten:
                assert case.known is not None
                return _rotten(case, case.known, settled.ROTTEN_SOURCE, _SOURCE_SIDE)
            self._kept.put(target, case.path, beside, name, old=old is not None)
            placed = True
            there = os.fstat(new)
            if there.st_mtime_ns != seen.st_mtime_ns and self._contents.tag(new, seen.st_size) != tag:
                return None  # somebody has written into the copy since its time was set
        finally:
            os.close(new)
            if not placed:
                with contextlib.suppress(OSError):  # what stays is removed by the next run
                    os.unlink(beside, dir_fd=target)
        lost += _lost_time(seen, there)
        young = self._may_change_unseen(case, now) or (
            bool(_lost_time(seen, there)) and is_young(there.st_ctime_ns, now)
        )
        if rotten:
            return Settled(name, settled.ROTTEN_SOURCE, f"{_ROTTEN_SINCE}; there was no other copy", seen.st_size)
        known = Known(mark_of(seen), mark_of(there), tag, (INCOMPLETE if lost else 0) | (YOUNG if young else 0))
        return Settled(name, settled.COPIED if old is None else settled.UPDATED, "", seen.st_size, known, tuple(lost))

    def _may_change_unseen(self, case: _Case, now: int) -> bool:
        """Whether the original may change, or has changed since it was read, without its mark moving."""
        return is_young(case.seen.st_ctime_ns, now) or self._contents.is_being_written(case.original)

    def _fill(self, original: int, seen: os.stat_result, new: int) -> bytes | None:
        """Copy the content and read it back; its tag, or None when the original has changed meanwhile."""
        size = seen.st_size
        if size <= SMALL and seen.st_blocks:
            data = self._contents.small(original, size)
            os.pwrite(new, data, 0)
            tag = self._contents.tag_of(data) if os.pread(new, size + 1, 0) == data else None
        else:
            self._contents.copy(original, new, size, in_kernel=self._rules.in_kernel)
            tag = self._contents.equal(original, new, size)
        if mark_of(os.fstat(original)) != mark_of(seen):
            return None
        if tag is None:
            raise OSError(errno.EIO, "what was read back is not what was written")
        return tag


_KEPT = "; the copy stays as it is"
_UNKNOWN_SIDE = f"the contents differ, and neither side's times have moved{_KEPT}"
_ROTTEN_SINCE = "the source's content has changed, and none of its times"
_SOURCE_SIDE = f"{_ROTTEN_SINCE}{_KEPT}"
_COPY_SIDE = "the copy's content has changed, and none of its times"


def _lost_time(seen: os.stat_result, there: os.stat_result) -> tuple[str, ...]:
    """What a file system with a coarse clock cannot keep; others have the time that we gave."""
    return () if seen.st_mtime_ns == there.st_mtime_ns else ("exact time",)


def _rotten(case: _Case, known: Known, action: str, what: str) -> Settled:
    """Contents that changed by themselves are read again by every run, until somebody has mended them."""
    return Settled(case.name, action, what, known=known._replace(flags=known.flags | SUSPECT))


def failure(error: OSError) -> str:
    """What went wrong, without a name: the entry's stands beside it."""
    return error.strerror or str(error)
