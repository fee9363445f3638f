"""Write small files so that a crash at any moment leaves the whole old one or the whole new one."""

from __future__ import annotations

import ctypes
import os
from pathlib import Path

_libc = ctypes.CDLL(None, use_errno=True)


def write_whole(path: Path, text: str) -> None:
    """Write a file beside its place, then put it there; on disk when this returns.

    Raises:
        OSError: it cannot be written; the old one is untouched.
    """
    beside = path.with_name(f".{path.name}.{os.getpid()}.new")
    try:
        with beside.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise
    sync_directory(path.parent)


def sync_directory(path: Path) -> None:
    """Wait until the names in a directory are on disk."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_file_system(descriptor: int) -> None:
    """Wait until everything written to the file system of an open file is on its disk (syncfs(2)).

    For many small files this takes one wait where fsync takes one for each. Since Linux 5.8 it also tells of writes that
    failed in the meantime.
    """
    if _libc.syncfs(descriptor) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
