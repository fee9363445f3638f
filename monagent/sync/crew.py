"""Settle files in batches: by ourselves while there are few, and in two processes beside us when there are many.

Threads would wait for each other's interpreter; processes do not. Results come back through `on_done`, in the process
and thread that called `do()` or `finish()`.
"""

from __future__ import annotations

import gc
import mmap
import multiprocessing
import os
import signal
from collections.abc import Callable
from multiprocessing.connection import Connection, wait
from typing import NamedTuple

from monagent.errors import SyncStopped
from monagent.priority import end_with_parent
from monagent.sync.content import SMALL, Bandwidth
from monagent.sync.files import Files
from monagent.sync.manifest import Known
from monagent.sync.paths import open_below
from monagent.sync.settled import FAILED, Settled

WORKERS = 2
ALONE_FILES, ALONE_BYTES = 200_000, 64 * 1024 * 1024
"""What is settled before others are called: files, and bytes of large ones. Two more processes save time, and cost a fifth
more CPU where files are small: a backup is work in the background, so that they are for what would take long."""
_ENDED = "a worker of the sync has ended: was it killed, for want of memory?"
_END_SECONDS = 5.0
"""For a worker that was killed. One that a disk keeps in the kernel ends when that lets it go."""


class Wanted(NamedTuple):
    """A file to be settled, see `Files.settle()`."""

    name: str
    size: int
    known: Known | None = None
    look: bool = False
    fresh: bool = False


class Meter:
    """Bytes moved so far by all processes, each of which counts in a place of its own; keeps each within its bandwidth."""

    def __init__(self, bandwidth: int) -> None:
        self._counts = memoryview(mmap.mmap(-1, mmap.PAGESIZE)).cast("Q")
        self._place = 0
        self._rate = bandwidth
        self._bandwidth = Bandwidth(bandwidth) if bandwidth else None

    def spend(self, count: int) -> None:
        """Count, and wait where that is more than we may move."""
        self._counts[self._place] += count
        if self._bandwidth is not None:
            self._bandwidth.spend(count)

    def become(self, number: int) -> None:
        """Count for a worker from now on."""
        self._place = number
        if self._rate:
            self._bandwidth = Bandwidth(self._rate / WORKERS)

    @property
    def total(self) -> int:
        """Bytes moved by all."""
        return sum(self._counts[: WORKERS + 1])


class Crew:
    """Not for several threads."""

    def __init__(
        self, roots: tuple[int, int], files: Files, meter: Meter, on_done: Callable[[str, list[Settled]], None]
    ) -> None:
        """
        Args:
            roots: both, open.
            files: settles one.
            meter: shared by all of us.
            on_done: takes the path and what became of its files.
        """
        self._roots = roots
        self._files = files
        self._meter = meter
        self._on_done = on_done
        self._alone = [ALONE_FILES, ALONE_BYTES]
        self._workers: dict[Connection, multiprocessing.process.BaseProcess] = {}
        self._idle: list[Connection] = []
        self._busy: set[Connection] = set()

    def do(self, path: str, source: int, target: int, wanted: list[Wanted]) -> None:
        """Settle files of one directory, now or before long."""
        if not self._workers and self._is_little(wanted):
            self._files.enter(target)
            self._on_done(path, [_settled(self._files, source, target, path, one) for one in wanted])
            return
        if not self._workers:
            self._call_workers()
        while not self._idle:
            self._take()
        # Only to one that reads: two that write to each other would wait for ever.
        worker = self._idle.pop()
        self._busy.add(worker)
        try:
            worker.send((path, wanted))
        except OSError as error:
            raise SyncStopped(_ENDED) from error

    def finish(self) -> None:
        """Wait for everything that is under way."""
        while self._busy:
            self._take()

    def close(self) -> None:
        """Send the workers home; whatever they do is cut off."""
        for connection, process in self._workers.items():
            connection.close()
            process.kill()
            process.join(_END_SECONDS)
        self._workers, self._idle, self._busy = {}, [], set()

    def _is_little(self, wanted: list[Wanted]) -> bool:
        self._alone[0] -= len(wanted)
        self._alone[1] -= sum(one.size for one in wanted if one.size > SMALL)
        return min(self._alone) >= 0

    def _call_workers(self) -> None:
        context = multiprocessing.get_context("fork")
        for number in range(1, WORKERS + 1):
            ours, theirs = context.Pipe()
            process = context.Process(target=self._work, args=(theirs, ours, number), name=f"sync-{number}")
            process.start()
            theirs.close()
            self._workers[ours] = process
            self._idle.append(ours)

    def _take(self) -> None:
        """Take what is done, and wait until something is. Whoever called us looks whether we get on, see `progress`."""
        for ready in wait(list(self._busy)):
            assert isinstance(ready, Connection)
            try:
                path, done = ready.recv()
            except (EOFError, OSError) as error:
                raise SyncStopped(_ENDED) from error
            self._busy.remove(ready)
            self._idle.append(ready)
            self._on_done(path, done)

    # -- in the worker ------------------------------------------------------------------------------------------

    def _work(self, connection: Connection, other_end: Connection, number: int) -> None:
        end_with_parent()
        gc.disable()  # nothing here goes in circles
        other_end.close()
        for held in self._workers:
            held.close()
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # a Ctrl-C is for the one who called us
        self._meter.become(number)
        self._files.renew()
        while True:
            try:
                path, wanted = connection.recv()
                connection.send((path, self._settle_below(path, wanted)))
            except (EOFError, OSError):
                return

    def _settle_below(self, path: str, wanted: list[Wanted]) -> list[Settled]:
        descriptors: list[int] = []
        try:
            descriptors.append(open_below(self._roots[0], path))
            descriptors.append(open_below(self._roots[1], path))
        except OSError as error:
            return [Settled(one.name, FAILED, error.strerror or str(error)) for one in wanted]
        else:
            source, target = descriptors
            self._files.enter(target)
            return [_settled(self._files, source, target, path, one) for one in wanted]
        finally:
            for descriptor in descriptors:
                os.close(descriptor)


def _settled(files: Files, source: int, target: int, path: str, one: Wanted) -> Settled:
    if one.fresh:
        return files.fresh(source, target, path, one.name)
    return files.settle(source, target, path, one.name, one.known, look=one.look)
