"""Hold the state directory: one agent works in it at a time, however the last one ended."""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path

from monagent.errors import AlreadyRunning

PATIENCE_SECONDS = 1.0
"""An agent that was killed may hold the lock for a moment longer: by a program that it was just starting."""


LOCK_FILE = "agent.lock"


def holder(directory: Path) -> int | None:
    """The process that works in a state directory now; None when nobody does, whatever the file says.

    Raises:
        PermissionError: the directory is not ours to look into.
    """
    try:
        descriptor = os.open(directory / LOCK_FILE, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return _pid_in(descriptor)
    finally:
        os.close(descriptor)
    return None


def _pid_in(descriptor: int) -> int | None:
    """It is written a moment after the lock was taken."""
    until = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < until:
        if written := os.pread(descriptor, 32, 0).strip():
            return int(written)
        time.sleep(0.01)
    return None


class StateLock:
    """A file held by flock. The kernel lets go of it when the process ends, so that a stale one never blocks."""

    def __init__(self, directory: Path) -> None:
        self._path = directory / LOCK_FILE
        self._descriptor = -1

    def acquire(self) -> None:
        """Take the lock, making the directory where it is missing.

        Raises:
            AlreadyRunning: another process holds it; the message says which.
            OSError: the directory cannot be made or written.
        """
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        until = time.monotonic() + PATIENCE_SECONDS
        while not self._try():
            if time.monotonic() > until:
                holder = os.read(self._descriptor, 32).decode("ascii", "replace").strip() or "unknown"
                self.release()
                raise AlreadyRunning(f"an agent with pid {holder} works in {self._path.parent} already")
            time.sleep(0.02)
        os.ftruncate(self._descriptor, 0)
        os.pwrite(self._descriptor, f"{os.getpid()}\n".encode(), 0)

    def _try(self) -> bool:
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def release(self) -> None:
        """Let go."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
