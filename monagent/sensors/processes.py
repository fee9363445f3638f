"""Processes: end them with all that came of them, and bound what they take. The standard library alone.

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
from collections.abc import Callable, Collection, Mapping

from monagent.priority import give_way

MARK = "MONAGENT_RUN"
"""The environment variable that tells to which run a process belongs: a token of its starter, a dot, a number."""

REAP_SECONDS = 2.0
"""After KILL. What is still there then sits in the kernel, and nobody waits for it any longer."""

_PR_SET_CHILD_SUBREAPER = 36
LIMITS = (
    resource.RLIMIT_DATA,
    resource.RLIMIT_NPROC,
    resource.RLIMIT_NOFILE,
    resource.RLIMIT_CPU,
    resource.RLIMIT_FSIZE,
)
_LARGEST = 2**63 - 1
_CHUNK = 1 << 16
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
    try:  # noqa: SIM105 - each run ends with this, and suppress() takes twice as long
        os.killpg(pid, number)
    except (ProcessLookupError, PermissionError):
        pass


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
        while chunk := os.read(descriptor, _CHUNK):
            content += chunk
            if len(chunk) < _SHORT:
                break
    except OSError:
        pass
    finally:
        os.close(descriptor)
    return content


def bound_ourselves(limits: tuple[int, ...], nice: int, io: int) -> None:
    """Bound this process and all that it starts from now on.

    Args:
        limits: memory, processes, files, CPU seconds, file size; negative for none.
        nice: added to 0.
        io: class and level of ioprio_set(2), or -1.
    """
    for kind, value in values_of(limits, of_root=os.geteuid() == 0):
        resource.setrlimit(kind, value)
    give_way(nice, io)


@functools.lru_cache(maxsize=64)
def values_of(limits: tuple[int, ...], *, of_root: bool) -> tuple[tuple[int, tuple[int, int]], ...]:
    """What setrlimit(2) takes: each limit that there is with its soft and hard value, never more than we ourselves may have.

    Args:
        limits: see `bound_ourselves()`.
        of_root: whether what they are for runs as root, whose processes the kernel does not count.
    """
    values = []
    for kind, limit in zip(LIMITS, limits, strict=True):
        if limit >= 0 and not (kind == resource.RLIMIT_NPROC and of_root):
            hard = resource.getrlimit(kind)[1]
            most = min(limit, _LARGEST if hard == resource.RLIM_INFINITY else hard)
            # One second between XCPU, which tells what has happened, and KILL, which does not.
            last = most + 1 if kind == resource.RLIMIT_CPU and most not in (hard, _LARGEST) else most
            values.append((kind, (most, last)))
    return tuple(values)


class Strays:
    """The orphans that we adopted: who must go, and when.

    A stray with the mark of a run that goes on stays. One without a mark stays as long as a run goes on that was
    there when it was first seen: it might belong to that one.
    """

    def __init__(self, children: Callable[[], Collection[int]]) -> None:
        """
        Args:
            children: our children that are not the leaders of runs.
        """
        self._children = children
        self._unmarked: dict[int, int] = {}
        self._killed: dict[int, float] = {}  # when first
        self.there = False
        """Whether the last sweep left any."""

    def signal(self, mark: str, number: int) -> None:
        """Send a signal to the strays of one run."""
        for pid in self._children():
            if mark_of(pid) == mark:
                kill(pid, number)

    def sweep(self, running: Mapping[str, int], newest: int) -> bool:
        """Kill those who must go, reap those who have gone.

        Args:
            running: the marks of the runs that go on, each with the number of its run.
            newest: the number of the newest run that there ever was.

        Returns:
            Whether somebody is still on the way out, so that sweeping again soon is worth it.
        """
        strays = {pid: mark_of(pid) for pid in self._children()}
        seen = len(strays)
        # What shows the mark of a run that goes on may be its leader, just started; its end is not for us to take.
        strays = {pid: mark for pid, mark in strays.items() if mark in running or not reaped(pid)}
        self._unmarked = {pid: seen for pid, seen in self._unmarked.items() if pid in strays}
        self._killed = {pid: since for pid, since in self._killed.items() if pid in strays}
        self.there = bool(strays)
        if strays:
            self._kill(strays, dict(running), newest)
        # The children of one that was just reaped are ours now, and were not there to be seen. And what is still there
        # after a while cannot be killed, by us or by anybody.
        until = time.monotonic() - REAP_SECONDS
        return len(strays) < seen or any(since > until for since in self._killed.values())

    def _kill(self, strays: Mapping[int, str], running: Mapping[str, int], newest: int) -> None:
        oldest = min(running.values(), default=newest + 1)
        for pid, mark in strays.items():
            if mark in running or (not mark and oldest <= self._unmarked.setdefault(pid, newest)):
                continue
            kill(pid, signal.SIGKILL)
            self._killed.setdefault(pid, time.monotonic())
