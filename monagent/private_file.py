"""Read files that may hold a secret, and say who else can."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from monagent.errors import Refused

PASSWORD_LIMIT = 4096
"""Bytes."""
_OF_ROOT = 0


def read_password(path: Path) -> str:
    """The first and only line of a file that nobody else can read.

    Raises:
        Refused: it cannot be read, others can read or change it, or it does not hold one line of text.
    """
    data, status = read_file(path, PASSWORD_LIMIT, "a password")
    if problem := exposure(path, status, "holds a password", "a new password"):
        raise Refused(problem)
    try:
        line = data.decode("utf-8").removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError:
        raise Refused(f"{path} holds something else than text") from None
    if not line or not line.isprintable():
        raise Refused(f"{path} must hold one line: the password")
    return line


def read_file(path: Path, limit: int, what: str) -> tuple[bytes, os.stat_result]:
    """What is in a file, with the mode and the owner that it had then.

    Raises:
        Refused: it cannot be read, or is too large for `what` it should hold.
    """
    try:
        with open(path, "rb", opener=_open_at_once) as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise Refused(f"{path} is no file")
            data = file.read(limit + 1)
    except FileNotFoundError:
        raise Refused(f"there is no file {path}") from None
    except (OSError, ValueError) as error:
        reason = (error.strerror or str(error)).lower() if isinstance(error, OSError) else str(error)
        raise Refused(f"{path} cannot be read by uid {os.geteuid()}: {reason}") from error
    if len(data) > limit:
        raise Refused(f"{path} is too large for {what}")
    return data, status


def exposure(path: Path, status: os.stat_result, holding: str, renewed: str, gid: int | None = None) -> str:
    """What others can do with a file that holds a secret; empty when nothing.

    Args:
        path: of the file.
        status: its mode and owner.
        holding: what it does, as in "holds a key".
        renewed: what to make once others could read it.
        gid: of the group that may read what belongs to root; left out, ours.
    """
    mode = stat.S_IMODE(status.st_mode)
    if mode & 0o022:
        return f"{path} {holding} and can be changed by others: chmod 600 {path}"
    # For what systemd hands to a service (LoadCredential), the group's bits show an ACL, and the group is root's own.
    groups = (_OF_ROOT, os.getegid() if gid is None else gid)
    for_us = status.st_uid == 0 and status.st_gid in groups
    if mode & 0o004 or (mode & 0o040 and not for_us):
        return f"{path} {holding} and can be read by others: chmod 600 {path} (and make {renewed})"
    return ""


def _open_at_once(path: str, flags: int) -> int:
    # Opening a named pipe would wait for somebody to write.
    return os.open(path, flags | os.O_NONBLOCK)
