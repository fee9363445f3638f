"""What of a directory concerns a job: not what is excluded, nor what we ourselves left there."""

from __future__ import annotations

import contextlib
import os
import re
import stat
from bisect import bisect_left
from collections.abc import Callable, Sequence

from monagent.sync.paths import open_child
from monagent.sync.scan import BIN_INSIDE, TEMPORARY, Excluded, Listing, join

LOST_AND_FOUND = "lost+found"
_LEFTOVER = re.compile(re.escape(TEMPORARY) + "[0-9a-f]+-[0-9a-f]+")


def exclusion(patterns: Sequence[str], own: str = "") -> Excluded | None:
    """Whether paths are excluded, by the rules of gitignore; None where nothing is.

    Args:
        patterns: one a line.
        own: one more path, taken as it is; or nothing.

    Raises:
        ValueError: a pattern cannot be understood.
    """
    if not patterns:
        return (lambda path, _directory: path == own) if own else None
    from pathspec import GitIgnoreSpec  # noqa: PLC0415 - most jobs exclude nothing

    spec = GitIgnoreSpec.from_lines(patterns)
    return lambda path, directory: path == own or bool(spec.match_file(f"{path}/" if directory else path))


class View:
    """The same eyes for both sides."""

    def __init__(self, excluded: Excluded | None, *, clean: bool, mounted: bool) -> None:
        """
        Args:
            excluded: see `exclusion()`.
            clean: whether copies that were not finished are removed from the target.
            mounted: whether a root is a mount point, whose `lost+found` is its file system's.
        """
        self._excluded = excluded
        self._clean = clean
        self._ours = {BIN_INSIDE, LOST_AND_FOUND} if mounted else {BIN_INSIDE}

    def of(self, path: str, there: Listing, here: Listing, target: int) -> tuple[Listing, Listing]:
        """Source and target of one directory without what does not concern us; leftovers in the target are removed."""
        if _has_leftovers(here.names):
            for name in filter(_is_leftover, here.names) if self._clean else ():
                with contextlib.suppress(OSError):  # what cannot be removed is in nobody's way
                    os.unlink(name, dir_fd=target)
            here = here.filtered(_is_no_leftover)
        if _has_leftovers(there.names):
            there = there.filtered(_is_no_leftover)
        if not path:
            here = here.filtered(lambda name, _: name not in self._ours)
            there = there.filtered(lambda name, _: name not in self._ours)
        excluded = self._excluded
        if excluded is None:
            return there, here

        def concerns_us(name: str, status: os.stat_result) -> bool:
            return not excluded(join(path, name), stat.S_ISDIR(status.st_mode))

        there, here = there.filtered(concerns_us), here.filtered(concerns_us)
        for listing in (there, here):  # of what cannot be looked at it is not known what it is
            listing.failed = tuple(
                one
                for one in listing.failed
                if not excluded(join(path, one[0]), False) and not excluded(join(path, one[0]), True)  # noqa: FBT003
            )
        return there, here

    def holds_excluded(self, directory: int, path: str, name: str, status: os.stat_result) -> bool:
        """Whether an entry of the target holds, at any depth, something that is excluded and so must stay."""
        if self._excluded is None or not stat.S_ISDIR(status.st_mode):
            return False
        counts = []
        for excluded in (True, False):
            try:
                below = open_child(directory, name)
            except OSError:
                return True
            counts.append(self.count(below, join(path, name), excluded=excluded))
        return counts[0] != counts[1]

    def count_below(self, directory: int, name: str, status: os.stat_result) -> int:
        """How many entries an entry holds, at any depth; as far as it can be read."""
        if not stat.S_ISDIR(status.st_mode):
            return 0
        try:
            below = open_child(directory, name)
        except OSError:
            return 0
        return self.count(below, name, excluded=False)

    def count(
        self,
        directory: int,
        path: str = "",
        *,
        excluded: bool = True,
        look: Callable[[str, list[str], int], None] = lambda _path, _names, _descriptor: None,
    ) -> int:
        """How many entries stand below an open directory, which is closed.

        Args:
            directory: the descriptor.
            path: of it.
            excluded: whether what is excluded is left out.
            look: is given the path, the names and the descriptor of each directory.
        """
        judge = self._excluded if excluded else None
        count = 0
        stack = [(directory, path, self._kinds(directory, path, judge))]
        look(path, [name for name, _ in stack[0][2]], directory)
        try:
            while stack:
                here, path, names = stack[-1]
                following = None
                while following is None and names:
                    name, is_directory = names.pop()
                    count += 1
                    if is_directory:
                        following = name
                if following is None:
                    os.close(stack.pop()[0])
                    continue
                with contextlib.suppress(OSError):
                    below = open_child(here, following)
                    names = self._kinds(below, join(path, following), judge)
                    look(join(path, following), [name for name, _ in names], below)
                    stack.append((below, join(path, following), names))
        finally:
            for here, _, _ in stack:
                os.close(here)
        return count

    def _kinds(self, directory: int, path: str, judge: Excluded | None) -> list[tuple[str, bool]]:
        """The names in a directory, and which are directories; nothing of one that cannot be read."""
        found = []
        with contextlib.suppress(OSError), os.scandir(directory) as entries:
            for entry in entries:
                is_directory = entry.is_dir(follow_symlinks=False)
                if judge is None or not judge(join(path, entry.name), is_directory):
                    found.append((entry.name, is_directory))
        return found


def _has_leftovers(names: list[str]) -> bool:
    at = bisect_left(names, TEMPORARY)  # they are sorted
    return at < len(names) and names[at].startswith(TEMPORARY)


def _is_leftover(name: str) -> bool:
    return name.startswith(TEMPORARY) and _LEFTOVER.fullmatch(name) is not None


def _is_no_leftover(name: str, _status: os.stat_result) -> bool:
    return not _is_leftover(name)
