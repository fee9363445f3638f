"""What must be so before a sync may change anything. Each refusal says what it saw and what would do."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from monagent.errors import SyncStopped
from monagent.sync.job import SyncJob, is_more
from monagent.sync.manifest import Manifest
from monagent.sync.paths import NEW_DIRECTORY, open_root

IO, BUSY, PERMISSION, CONFIG = 74, 75, 77, 78
"""Exit codes."""
LOCK_FILE = "lock"
ACCEPT = "if that is as it should be, run once: monagent sync {name} --accept"
_UUIDS = Path("/dev/disk/by-uuid")
_FSTAB, _MOUNTS = Path("/etc/fstab"), Path("/proc/self/mountinfo")


@contextlib.contextmanager
def locked(state: Path) -> Iterator[None]:
    """One run at a time.

    Raises:
        SyncStopped: there is another one.
    """
    descriptor = _lock_file(state)
    try:
        _lock(descriptor, "another run of this job is under way")
        yield
    finally:
        os.close(descriptor)


def _lock_file(state: Path) -> int:
    try:
        state.mkdir(mode=0o700, parents=True, exist_ok=True)
        return os.open(state / LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except PermissionError as error:
        raise SyncStopped(
            f"{error.filename}, where the job is remembered, may not be written by uid {os.geteuid()} (for two "
            "directories it is below $XDG_STATE_HOME or ~/.local/state)",
            PERMISSION,
        ) from error
    except OSError as error:
        raise SyncStopped(f"{error.filename}: {error.strerror}") from error


def _lock(descriptor: int, problem: str) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise SyncStopped(problem, BUSY) from None
    except OSError:
        return  # a network file system without locks for directories; the job's own lock holds


@contextlib.contextmanager
def opened(job: SyncJob, manifest: Manifest, *, make: bool, accept: bool) -> Iterator[tuple[int, int]]:
    """Open both roots once they are what they should be, and keep others from the target.

    Args:
        job: which roots.
        manifest: what they were last time.
        make: whether a target that was never there is made.
        accept: whether other devices than last time will do.

    Raises:
        SyncStopped: they are not.
    """
    with contextlib.ExitStack() as stack:
        source = _open(job.source, "source")
        stack.callback(os.close, source)
        _refuse_unmounted(job.source, "source")
        _refuse_unmounted(job.target, "target")
        if not os.listdir(source):
            raise SyncStopped(f"the source {job.source} is empty: is it mounted? An empty source is never copied")
        _refuse_other_device(job, source, "source", manifest, accept=accept)
        _refuse_nested(job)
        target = _open_target(job, manifest, make=make, accept=accept)
        stack.callback(os.close, target)
        _refuse_other_device(job, target, "target", manifest, accept=accept)
        _refuse_nested(job)
        _lock(target, f"another sync works on {job.target}")
        yield source, target


def _open(path: Path, what: str) -> int:
    try:
        return open_root(path)
    except OSError as error:
        reasons = {errno.ENOENT: "is not there: is it mounted?", errno.ENOTDIR: "is no directory"}
        reason = reasons.get(error.errno or 0, f"cannot be opened: {error.strerror}")
        code = PERMISSION if isinstance(error, PermissionError) else IO
        raise SyncStopped(f"the {what} {path} {reason}", code) from error


def _open_target(job: SyncJob, manifest: Manifest, *, make: bool, accept: bool) -> int:
    if make and not os.path.lexists(job.target):
        if manifest.fact("target-device") and not accept:
            again = ACCEPT.format(name=job.name)
            raise SyncStopped(f"the target {job.target} was there last time and is gone: is it mounted? {again}")
        try:
            job.target.mkdir(mode=NEW_DIRECTORY)
        except OSError as error:
            code = PERMISSION if isinstance(error, PermissionError) else IO
            raise SyncStopped(f"the target {job.target} cannot be made: {error.strerror}", code) from error
    return _open(job.target, "target")


def _refuse_unmounted(path: Path, what: str) -> None:
    """A file system that belongs on the way to a root must be there."""
    try:
        entries = [line.split() for line in _FSTAB.read_text(encoding="utf-8", errors="replace").splitlines()]
        mounted = {line.split()[4] for line in _MOUNTS.read_text(encoding="utf-8", errors="replace").splitlines()}
    except OSError:
        return
    real = os.path.realpath(path)
    for entry in entries:
        if len(entry) < 3 or entry[0].startswith("#") or not entry[1].startswith("/") or entry[1] == "/":
            continue
        point = entry[1].rstrip("/")
        if (real == point or real.startswith(f"{point}/")) and point not in mounted:
            raise SyncStopped(f"the {what} {path} is not mounted: /etc/fstab has a file system for {point}")


def device_of(descriptor: int) -> str:
    """What a file system is known by: its UUID where that is known, its id, or its number, which changes with a restart."""
    number = os.fstat(descriptor).st_dev
    for path in _UUIDS.glob("*"):
        with contextlib.suppress(OSError):
            if path.stat().st_rdev == number:
                return f"uuid {path.name}"
    identity = os.fstatvfs(descriptor).f_fsid
    return f"id {identity:x}" if identity else f"device {number:x}"


def _refuse_other_device(job: SyncJob, descriptor: int, what: str, manifest: Manifest, *, accept: bool) -> None:
    former = manifest.fact(f"{what}-device")
    if former and former != device_of(descriptor) and not accept:
        path = getattr(job, what)
        raise SyncStopped(
            f"the {what} {path} is on another file system than last time: is the right one mounted? "
            f"{ACCEPT.format(name=job.name)}"
        )


def _refuse_nested(job: SyncJob) -> None:
    """Neither root may be the other or stand in it, by whatever name."""
    source, target = Path(os.path.realpath(job.source)), Path(os.path.realpath(job.target))
    if _is_same(source, target):
        raise SyncStopped(f"source and target are the same directory: {source}", CONFIG)
    if any(_is_same(source, parent) for parent in target.parents):
        raise SyncStopped(f"the target {job.target} is inside the source {job.source}", CONFIG)
    if any(_is_same(target, parent) for parent in source.parents):
        raise SyncStopped(f"the source {job.source} is inside the target {job.target}", CONFIG)


def refuse_bin_inside(place: Path, job: SyncJob) -> None:
    """A bin in the source would be copied with it, and one in the target be taken for a part of the backup."""
    real = Path(os.path.realpath(place))
    roots = [Path(os.path.realpath(root)) for root in ((job.source,) if job.bin is None else (job.source, job.target))]
    if any(_is_same(root, parent) for root in roots for parent in (real, *real.parents)):
        raise SyncStopped(f"the bin {place} is inside the source or the target", CONFIG)


def _is_same(one: Path, other: Path) -> bool:
    try:
        return one == other or one.samefile(other)
    except OSError:
        return False


def shrunk(job: SyncJob, gone: int, former: int) -> str:
    """A source that lost much since the last run is not copied: it may have been emptied, renamed, or be half mounted.

    Args:
        job: whose `max_shrink` counts.
        gone: entries that are not there any more under their names.
        former: entries of the last run.

    Returns:
        What is wrong; empty when nothing is.
    """
    if former and is_more(gone, job.max_shrink, former):
        return (
            f"of {former:,} entries that the source {job.source} had, {gone:,} are gone: more than max_shrink = "
            f"{job.max_shrink}; {ACCEPT.format(name=job.name)}"
        )
    return ""


def warnings(roots: tuple[int, int]) -> list[str]:
    """What does not stop a sync and should be known."""
    if os.fstat(roots[0]).st_dev == os.fstat(roots[1]).st_dev:
        return ["source and target are on one file system: when it is lost, both are"]
    return []


def may_share_blocks(descriptor: int) -> bool:
    """Whether copies made by the kernel may share their blocks with the original on this file system."""
    number = os.fstat(descriptor).st_dev
    device = f"{os.major(number)}:{os.minor(number)}"
    try:
        lines = _MOUNTS.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return True
    types = {line.partition(" - ")[2].split(" ")[0] for line in lines if line.split()[2] == device}
    return not types or not types <= _NEVER_SHARING


_NEVER_SHARING = {"ext2", "ext3", "ext4", "tmpfs", "vfat", "exfat", "ramfs"}
