"""Walk along descriptors: no step follows a link, none leaves the tree, none is too long for the kernel."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from monagent.sync.scan import DIRECTORY_FLAGS

NEW_DIRECTORY = 0o700


def open_root(path: Path) -> int:
    """Open a root; links on the way to it, and it itself being one, are the operator's.

    Raises:
        OSError: it is not there, is no directory, or may not be read.
    """
    return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)


def open_below(root: int, path: str, *, make: bool = False) -> int:
    """Open a directory by its path below a root, name by name.

    Args:
        root: an open directory.
        path: relative; empty for the root itself.
        make: whether to make what is missing.

    Raises:
        OSError: a part is missing, or is a link.
    """
    here = os.dup(root)
    try:
        for name in path.split("/") if path else ():
            following = open_child(here, name, make=make)
            os.close(here)
            here = following
    except BaseException:
        os.close(here)
        raise
    return here


def open_child(directory: int, name: str, *, make: bool = False) -> int:
    """Open a directory in a directory."""
    try:
        return os.open(name, DIRECTORY_FLAGS, dir_fd=directory)
    except FileNotFoundError:
        if not make:
            raise
    with contextlib.suppress(FileExistsError):  # the other worker was faster
        os.mkdir(name, NEW_DIRECTORY, dir_fd=directory)
    return os.open(name, DIRECTORY_FLAGS, dir_fd=directory)


@contextlib.contextmanager
def discarded_on_failure(directory: int, name: str) -> Iterator[None]:
    """Remove what was made under a name of ours when it does not come to its place."""
    try:
        yield
    except BaseException:
        with contextlib.suppress(OSError):  # what stays is removed by the next run
            os.unlink(name, dir_fd=directory)
        raise


def remove_tree(directory: int, name: str) -> None:
    """Remove an entry of a directory with all below it, however deep; nothing outside is touched.

    Raises:
        OSError: something cannot be removed; the rest may be gone.
    """
    try:
        os.unlink(name, dir_fd=directory)
        return
    except (IsADirectoryError, PermissionError):
        pass
    stack = [(os.dup(directory), name, open_child(directory, name))]
    try:
        while stack:
            parent, own_name, here = stack[-1]
            child = _empty(here)
            if child is None:
                os.rmdir(own_name, dir_fd=parent)
                stack.pop()
                os.close(here)
                os.close(parent)
            else:
                stack.append((os.dup(here), child, open_child(here, child)))
    finally:
        for parent, _, here in stack:
            os.close(here)
            os.close(parent)


def _empty(directory: int) -> str | None:
    """Remove what is no directory; the first directory that is in the way."""
    if os.fstat(directory).st_mode & 0o700 != 0o700:
        os.fchmod(directory, 0o700)
    for name in os.listdir(directory):
        try:
            os.unlink(name, dir_fd=directory)
        except IsADirectoryError:
            return name
    return None
