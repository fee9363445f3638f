"""Other processes: end them with all that came of them, and bound what they take. The standard library alone.

A program that leaves its group (setsid, double fork) becomes a child of the nearest subreaper above it (prctl(2),
PR_SET_CHILD_SUBREAPER), which is us. Such a stray is known by the mark that its run left in its environment.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import os
import resource
import signal
import time
from collections.abc import Callable, Collection, Sequence

MARK = "MONAGENT_RUN"
"""The environment variable that tells to which run a process belongs: a token of its starter, a dot, a number."""

_PR_SET_CHILD_SUBREAPER = 36
_PRIO = 1  # IOPRIO_WHO_PROCESS
_SYS_IOPRIO_SET = {"x86_64": 251, "aarch64": 30, "armv7l": 314, "i686": 289}
_LIMITS = (
    resource.RLIMIT_DATA,
    resource.RLIMIT_NPROC,
    resource.RLIMIT_NOFILE,
    resource.RLIMIT_CPU,
    resource.RLIMIT_FSIZE,
)
_CONTENT_MAX = 1 << 20
_SHORT = 2048
"""Bytes. Some files of the kernel's come a page at a time; after less than that there is no more."""
_libc = ctypes.CDLL(None, use_errno=True)


def become_subreaper() -> None:
    """Adopt every orphan among our descendants."""
    _libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def kill(pid: int, number: int) -> None:
    """Send a signal; a process that is gone, or is not ours to signal, is left alone."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, number)


def kill_group(pid: int, number: int) -> None:
    """Send a signal to a process group, as `kill()` does."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, number)


def group_exists(pid: int) -> bool:
    """Whether anybody is left in a process group."""
    try:
        os.killpg(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def reaped(pid: int) -> bool:
    """Reap a child if it has ended; True when it is gone."""
    try:
        return os.waitpid(pid, os.WNOHANG)[0] == pid
    except ChildProcessError:
        return True


def children_of(process: int) -> list[int]:
    """The children of a process's first thread: also every orphan that came to it, and all where it has no other.

    Empty on a kernel without CONFIG_PROC_CHILDREN.
    """
    return [int(word) for word in _content(f"/proc/{process}/task/{process}/children").split()]


def mark_of(pid: int) -> str:
    """The mark that a process inherited; empty when it has none, or hides it."""
    prefix = f"{MARK}=".encode()
    for entry in _content(f"/proc/{pid}/environ").split(b"\0"):
        if entry.startswith(prefix):
            return entry[len(prefix) :].decode("ascii", "replace")
    return ""


def _content(path: str) -> bytes:
    """Of a file of the kernel's; empty when it is gone, or not for us."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return b""
    content = b""
    try:
        while chunk := os.read(descriptor, _CONTENT_MAX):
            content += chunk
            if len(chunk) < _SHORT:
                break
    except OSError:
        pass
    finally:
        os.close(descriptor)
    return content


def restrict(pid: int, limits: Sequence[int], nice: int, io: int) -> None:
    """Bound a program that has just begun, the leader of its group, and all that comes of it.

    It has been running for a moment: what it has started meanwhile is stopped, bounded as well, and let go on. Or the
    first processes of a fork bomb, which come within microseconds, would never be bounded.

    Args:
        pid: of the program.
        limits: memory, processes, files, CPU seconds, file size; negative for none.
        nice: added to 0.
        io: class and level of ioprio_set(2), or -1.
    """
    values = _values(tuple(limits))
    _restrict(pid, values, nice, io)
    if not _family(pid):
        return
    kill_group(pid, signal.SIGSTOP)
    try:
        orphans = [child for child in children_of(os.getpid()) if _group_of(child) == pid]
        for process in {*_family(pid), *(one for orphan in orphans for one in (orphan, *_family(orphan)))}:
            _restrict(process, values, nice, io)
    finally:
        kill_group(pid, signal.SIGCONT)


@functools.lru_cache(maxsize=64)
def _values(limits: tuple[int, ...]) -> list[tuple[int, tuple[int, int]]]:
    """What prlimit(2) takes for each limit, and never more than this process itself may have."""
    values = []
    for kind, limit in zip(_LIMITS, limits, strict=True):
        if limit >= 0:
            hard = resource.getrlimit(kind)[1]
            most = limit if hard == resource.RLIM_INFINITY else min(limit, hard)
            # One second between XCPU, which tells what has happened, and KILL, which does not.
            last = most + 1 if kind == resource.RLIMIT_CPU and most != hard else most
            values.append((kind, (most, last)))
    return values


def _restrict(pid: int, values: Sequence[tuple[int, tuple[int, int]]], nice: int, io: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        for kind, value in values:
            resource.prlimit(pid, kind, value)
        if nice:
            os.setpriority(os.PRIO_PROCESS, pid, nice)
        if io >= 0:
            number = _SYS_IOPRIO_SET.get(os.uname().machine)
            if number is not None:
                _libc.syscall(number, _PRIO, pid, io)


def _family(pid: int) -> list[int]:
    """All descendants of a process, whichever of their threads started them."""
    try:
        threads = os.listdir(f"/proc/{pid}/task")
    except OSError:
        return []
    children = [int(word) for thread in threads for word in _content(f"/proc/{pid}/task/{thread}/children").split()]
    return children + [one for child in children for one in _family(child)]


def _group_of(pid: int) -> int:
    try:
        return os.getpgid(pid)
    except ProcessLookupError:
        return -1


class Strays:
    """The orphans that we adopted, and the groups whose leader has ended: who must go, and when.

    A stray with the mark of a run that goes on stays. One without a mark stays as long as a run goes on that was
    there when it was first seen: it might belong to that one.
    """

    def __init__(self, children: Callable[[], Collection[int]], only: str = "") -> None:
        """
        Args:
            children: our children that are neither the leaders of runs nor helpers of ours.
            only: the token of our marks, where this process may have other children that are none of our business;
                then only strays with such a mark are touched.
        """
        self._children = children
        self._only = only
        self._groups: set[int] = set()
        self._unmarked: dict[int, int] = {}
        self._killed: set[int] = set()

    def leave_group(self, pid: int) -> None:
        """The leader of this group has ended and was reaped, and all others in it were killed."""
        if group_exists(pid):
            self._groups.add(pid)

    def signal(self, mark: str, number: int) -> None:
        """Send a signal to the strays of one run."""
        for pid in self._children():
            if mark_of(pid) == mark:
                kill(pid, number)

    def sweep(self, running: Collection[str], oldest: int, newest: int) -> bool:
        """Kill those who must go, reap those who have gone.

        Args:
            running: the marks of the runs that go on.
            oldest: the number of the oldest of them; larger than `newest` when there is none.
            newest: the number of the newest run that there ever was.

        Returns:
            Whether somebody is still on the way out, so that sweeping again soon is worth it.
        """
        strays = {pid: mark_of(pid) for pid in self._children()}
        if self._only:
            strays = {pid: mark for pid, mark in strays.items() if self._is_ours(pid, mark)}
        strays = {pid: mark for pid, mark in strays.items() if not reaped(pid)}
        self._groups = {group for group in self._groups if group_exists(group)}
        self._unmarked = {pid: seen for pid, seen in self._unmarked.items() if pid in strays}
        self._killed &= strays.keys()
        killed = False
        for pid, mark in strays.items():
            if mark in running or (not mark and oldest <= self._unmarked.setdefault(pid, newest)):
                continue
            kill(pid, signal.SIGKILL)
            self._killed.add(pid)
            killed = True
        return killed or bool(self._groups)

    def _is_ours(self, pid: int, mark: str) -> bool:
        """A process that has ended shows no mark any more, until it is reaped."""
        if pid in self._killed or mark.startswith(f"{self._only}."):
            return True
        try:
            return os.getpgid(pid) in self._groups
        except ProcessLookupError:
            return False


def end_marked(token: str, seconds: float) -> None:
    """Kill every process on this host that carries a mark with this token, for at most so many seconds."""
    until = time.monotonic() + seconds
    prefix = f"{token}."
    while True:
        found = [int(name) for name in os.listdir("/proc") if name.isdigit() and mark_of(int(name)).startswith(prefix)]
        for pid in found:
            kill(pid, signal.SIGKILL)
        if not found or time.monotonic() > until:
            return
        time.sleep(0.02)
