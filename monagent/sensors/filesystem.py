"""What the kernel offers for changing directories safely and Python does not: exchange, sync of a file system, locks."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import time
from pathlib import Path

from monagent.durable import sync_file_system

_AT_FDCWD = -100
_RENAME_NOREPLACE, _RENAME_EXCHANGE = 1, 2
_libc = ctypes.CDLL(None, use_errno=True)
_POLL_SECONDS = 0.01


def exchange(one: Path, other: Path) -> None:
    """Let two directories on one file system swap names, at once: nobody ever sees one of the names missing.

    Raises:
        OSError: EINVAL, ENOSYS or EXDEV where the file system cannot do that (renameat2(2), RENAME_EXCHANGE).
    """
    _rename(one, other, _RENAME_EXCHANGE)


def move(source: Path, target: Path) -> None:
    """Rename a directory to a name that is free.

    Raises:
        FileExistsError: it is not free.
        OSError: with EXDEV when the target is on another file system.
    """
    try:
        _rename(source, target, _RENAME_NOREPLACE)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOSYS):
            raise
        if target.exists():
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(target)) from None
        source.rename(target)


def _rename(source: Path, target: Path, flags: int) -> None:
    if _libc.renameat2(_AT_FDCWD, os.fsencode(source), _AT_FDCWD, os.fsencode(target), flags) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), str(source), None, str(target))


def sync_all(path: Path) -> None:
    """Wait until everything written to the file system of `path` is on its disk."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        sync_file_system(descriptor)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error
    finally:
        os.close(descriptor)


def lock_directory(path: Path, seconds: float) -> int | None:
    """Lock a directory for ourselves, against other threads and processes that do the same.

    Returns:
        A descriptor; closing it frees the lock. None when somebody else kept it for so many seconds.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    until = time.monotonic() + seconds
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= until:
                os.close(descriptor)
                return None
            time.sleep(_POLL_SECONDS)
        except OSError:
            # Network file systems may have no locks for directories; one agent a directory needs none.
            return descriptor
        else:
            return descriptor
