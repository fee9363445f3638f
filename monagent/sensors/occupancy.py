"""Who uses a sensor's directory: any number of runs at once, or one that changes it.

A run that is under way may still open files beside its program, so a swap waits for it; runs that come meanwhile
wait for the swap. Between processes (`monagent sensor install` beside a running agent) a lock on the directory does
the same, but for the order of arrival.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

from monagent.errors import Refused
from monagent.sensors.filesystem import lock_directory

ELSEWHERE_SECONDS = 5.0
"""How long a run waits for another process that swaps; that takes milliseconds, so then something else is wrong."""
TURN_SECONDS = 600.0
"""How long a run waits for a swap here, which itself waits for runs until their time-outs."""
_POLL_SECONDS = 0.005
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


class Occupancy:
    """Of the directories below one. Any thread may use it."""

    def __init__(self) -> None:
        self._changing: set[str] = set()
        self._changed = threading.Condition()

    def run_in(self, directory: str) -> _Use:
        """For `with`: nobody changes the directory meanwhile. One that is not there cannot be changed either."""
        return _Use(self, directory)

    @contextlib.contextmanager
    def alone(self, directory: Path, seconds: float) -> Iterator[None]:
        """For `with`: no run is under way in the directory. Waits for those that are, and keeps others waiting.

        Raises:
            Refused: there were runs under way for so many seconds.
        """
        key = os.fspath(directory)
        with self._changed:
            self._changing.add(key)
        descriptor = None
        try:
            if directory.exists():
                descriptor = lock_directory(directory, seconds)
                if descriptor is None:
                    raise Refused(f"{directory.name} was in use for {seconds:.0f} s without a break; try again later")
            yield
        finally:
            if descriptor is not None:
                os.close(descriptor)
            with self._changed:
                self._changing.discard(key)
                self._changed.notify_all()

    def enter(self, directory: str) -> int:
        """Begin a run; returns what `leave()` takes."""
        if directory in self._changing:
            with self._changed:
                self._changed.wait_for(lambda: directory not in self._changing, TURN_SECONDS)
        until = time.monotonic() + ELSEWHERE_SECONDS
        while True:
            try:
                descriptor = os.open(directory, _DIRECTORY)
            except OSError:
                return -1
            if _shared(descriptor) and _is_still(directory, descriptor):
                return descriptor
            if time.monotonic() > until:
                return descriptor
            os.close(descriptor)
            time.sleep(_POLL_SECONDS)

    def leave(self, descriptor: int) -> None:
        """End a run."""
        if descriptor >= 0:
            os.close(descriptor)


class _Use:
    """One run's use of a directory."""

    __slots__ = ("_descriptor", "_directory", "_occupancy")

    def __init__(self, occupancy: Occupancy, directory: str) -> None:
        self._occupancy = occupancy
        self._directory = directory
        self._descriptor = -1

    def __enter__(self) -> None:
        self._descriptor = self._occupancy.enter(self._directory)

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _at: TracebackType | None
    ) -> None:
        self._occupancy.leave(self._descriptor)


def _shared(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a file system without such locks: see lock_directory
        return True
    return True


def _is_still(directory: str, descriptor: int) -> bool:
    """Whether the name still leads to what was locked; a swap may have come in between."""
    try:
        return os.path.samestat(os.stat(directory), os.fstat(descriptor))
    except OSError:
        return False
