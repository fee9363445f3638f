"""Everything of an entry but its content: owner, mode, times, extended attributes and ACLs.

What could not be kept is said, in words that name it, and never stops the copy.
"""

from __future__ import annotations

import errno
import os
import stat
from dataclasses import dataclass

_OWNERS = 1 << 0 | 1 << 3
"""CAP_CHOWN and CAP_FOWNER (capabilities(7))."""
_NAMED = 8
"""Attributes that are named one by one where they could not be kept."""
_SET_ID = stat.S_ISUID | stat.S_ISGID
_ACLS = "system.posix_acl_"
_FOR_EVERYBODY = ("user.", _ACLS)
_NOT_OURS = "security.selinux"
"""The kernel's own label of every file; a policy gives it."""
_NONE_THERE = (errno.ENOTSUP, errno.ENODATA, errno.EPERM, errno.EACCES)


@dataclass(frozen=True, slots=True)
class Rights:
    """What this process may give to a copy."""

    root: bool
    """Whether any owner can be given: as root, or by capabilities that the service was given."""
    groups: frozenset[int]
    ids: tuple[int, int]

    @classmethod
    def ours(cls) -> Rights:
        """Of the process that asks."""
        return cls(_may_give_away(), frozenset([os.getegid(), *os.getgroups()]), (os.geteuid(), os.getegid()))


def _may_give_away() -> bool:
    if os.geteuid() == 0:
        return True
    try:
        with open("/proc/self/status", "rb") as file:
            effective = next(int(line.split()[1], 16) for line in file if line.startswith(b"CapEff:"))
    except (OSError, StopIteration, ValueError):
        return False
    return effective & _OWNERS == _OWNERS


def attributes(descriptor: int | str, rights: Rights) -> dict[str, bytes]:
    """The extended attributes that we copy: those of users and ACLs, and as root also the trusted and security ones.

    Args:
        descriptor: of an open file or directory, or the path of a link by `/proc/self/fd`.
        rights: ours.
    """
    try:
        names = os.listxattr(descriptor)
    except OSError as error:
        if error.errno in _NONE_THERE:
            return {}
        raise
    found = {}
    for name in names:
        if name != _NOT_OURS and (rights.root or name.startswith(_FOR_EVERYBODY)):
            try:
                found[name] = os.getxattr(descriptor, name)
            except OSError as error:
                if error.errno not in _NONE_THERE:
                    raise
    return found


def owner_for(status: os.stat_result, rights: Rights, ours: os.stat_result) -> tuple[int, int]:
    """Owner and group that a copy of `status` can have: its own as root, otherwise what we may give."""
    if rights.root:
        return status.st_uid, status.st_gid
    return ours.st_uid, status.st_gid if status.st_gid in rights.groups else ours.st_gid


def mode_for(status: os.stat_result, owner: tuple[int, int]) -> int:
    """The mode of a copy that belongs to `owner`: set-id bits are for the original's owner alone."""
    mode = stat.S_IMODE(status.st_mode)
    if owner[0] != status.st_uid:
        mode &= ~_SET_ID
    if owner[1] != status.st_gid:
        mode &= ~stat.S_ISGID
    return mode


def differences(
    source: os.stat_result, target: os.stat_result, rights: Rights, theirs: dict[str, bytes], has: dict[str, bytes]
) -> list[str]:
    """What of the metadata is not as it should be and could be.

    Args:
        source: the status of the original.
        target: that of the copy.
        rights: ours.
        theirs: extended attributes of the original.
        has: those of the copy.
    """
    owner = owner_for(source, rights, target)
    found = []
    if (target.st_uid, target.st_gid) != owner:
        found.append("owner")
    if not stat.S_ISLNK(source.st_mode) and stat.S_IMODE(target.st_mode) != mode_for(source, owner):
        found.append("mode")
    if source.st_mtime_ns != target.st_mtime_ns:
        found.append("time")
    if theirs != has:
        found.append("attributes")
    return found


def give(
    descriptor: int, source: os.stat_result, rights: Rights, theirs: dict[str, bytes], has: dict[str, bytes]
) -> list[str]:
    """Make an open file or directory of ours like the source.

    The owner goes first: a change of it takes set-id bits and capabilities away. Times go last.

    Returns:
        What could not be kept.
    """
    ours = os.fstat(descriptor)
    owner = owner_for(source, rights, ours)
    lost = [] if owner[0] == source.st_uid else ["owner"]
    if owner[1] != source.st_gid:
        lost.append("group")
    if (ours.st_uid, ours.st_gid) != owner and not _done(os.fchown, descriptor, *owner):
        owner = (ours.st_uid, ours.st_gid)
        lost.append("owner and group")
    mode = mode_for(source, owner)
    if mode != stat.S_IMODE(source.st_mode):
        lost.append("set-id bits")
    if stat.S_IMODE(ours.st_mode) != mode and not _done(os.fchmod, descriptor, mode):
        lost.append("mode")
    if theirs or has:
        lost += _give_attributes(descriptor, theirs, has)
    os.utime(descriptor, ns=(source.st_atime_ns, source.st_mtime_ns))
    return lost


def is_plain(directory: int) -> bool:
    """Whether a new file in a directory is ours, with our group and without attributes, and has an exact time."""
    try:
        status = os.fstat(directory)
        is_coarse = status.st_ctime_ns % 1_000_000_000 == 0
        return not is_coarse and not status.st_mode & stat.S_ISGID and not os.listxattr(directory)
    except OSError:
        return False


def give_new(descriptor: int, source: os.stat_result, rights: Rights) -> tuple[str, ...]:
    """`give()` for a file that we have just made, with the mode 0600, in a plain directory; no set-id bits, no attributes."""
    owner, mode = (source.st_uid, source.st_gid), source.st_mode & 0o777
    if owner != rights.ids:
        if not rights.root:
            return tuple(give(descriptor, source, rights, {}, {}))
        os.fchown(descriptor, *owner)
    if mode != 0o600:
        os.fchmod(descriptor, mode)
    os.utime(descriptor, ns=(source.st_atime_ns, source.st_mtime_ns))
    return ()


def _give_attributes(descriptor: int, theirs: dict[str, bytes], has: dict[str, bytes]) -> list[str]:
    lost = []
    for name, value in theirs.items():
        if has.get(name) != value and not _done(os.setxattr, descriptor, name, value):
            lost.append(f"attribute {name}")
    gone = [name for name in has if name not in theirs and not _done(os.removexattr, descriptor, name)]
    lost += [f"absence of attribute {name}" for name in gone]
    return lost if len(lost) <= _NAMED else [*lost[:_NAMED], f"{len(lost) - _NAMED} more attributes"]


def _done(change: object, *arguments: object) -> bool:
    """Whether a change was allowed. That the disk is full or broken is another matter."""
    try:
        change(*arguments)  # type: ignore[operator]
    except OSError as error:
        if error.errno in (
            errno.EPERM,
            errno.EACCES,
            errno.ENOTSUP,
            errno.EINVAL,
            errno.ERANGE,
            errno.E2BIG,
            errno.ENOSPC,
        ):
            return False
        raise
    return True
