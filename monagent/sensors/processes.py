"""Other processes: end them with all that came of them, and bound what they take. The standard library alone.

A program that leaves its group (setsid, double fork) becomes a child of the nearest subreaper above it (prctl(2),
PR_SET_CHILD_SUBREAPER), which is us. Such a stray is known by the mark that its run left in its environment.
"""

from __future__ import annotations

import contextlib
import ctypes
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
_ENVIRON_MAX = 1 << 20
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


def children_of(thread: int) -> list[int]:
    """The children of one of our threads; orphans become children of the main thread, whose number is the process's.

    Empty on a kernel without CONFIG_PROC_CHILDREN.
    """
    try:
        with open(f"/proc/self/task/{thread}/children", "rb", buffering=0) as file:
            return [int(word) for word in (file.read(_ENVIRON_MAX) or b"").split()]
    except OSError:
        return []


def mark_of(pid: int) -> str:
    """The mark that a process inherited; empty when it has none, or hides it."""
    try:
        with open(f"/proc/{pid}/environ", "rb", buffering=0) as file:
            environment = file.read(_ENVIRON_MAX) or b""
    except OSError:
        return ""
    prefix = f"{MARK}=".encode()
    for entry in environment.split(b"\0"):
        if entry.startswith(prefix):
            return entry[len(prefix) :].decode("ascii", "replace")
    return ""


def restrict(pid: int, limits: Sequence[int], nice: int, io: int) -> None:
    """Bound a program that has just begun; it, and all that it starts from now on, cannot take more.

    Args:
        pid: of the program.
        limits: memory, processes, files, CPU seconds, file size; negative for none.
        nice: added to 0.
        io: class and level of ioprio_set(2), or -1.
    """
    with contextlib.suppress(ProcessLookupError, PermissionError):
        for kind, limit in zip(_LIMITS, limits, strict=True):
            if limit >= 0:
                hard = resource.prlimit(pid, kind)[1]
                most = limit if hard == resource.RLIM_INFINITY else min(limit, hard)
                resource.prlimit(pid, kind, (most, most))
        if nice:
            os.setpriority(os.PRIO_PROCESS, pid, nice)
        if io >= 0:
            number = _SYS_IOPRIO_SET.get(os.uname().machine)
            if number is not None:
                _libc.syscall(number, _PRIO, pid, io)


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
