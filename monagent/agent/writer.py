"""Write to one SQLite file from one thread, so that everybody who waits shares a sync of the disk.

The thread takes whatever waits, commits once, and then releases all who wait. There is no added delay when idle.
"""

from __future__ import annotations

import logging
import sqlite3
import threading
from collections.abc import Callable
from enum import Enum, auto
from queue import Empty, SimpleQueue
from typing import Any

log = logging.getLogger(__name__)

BATCH = 512
"""Pieces of work in one commit, the gathered ones aside."""
GATHER_SECONDS = 0.008
RETRY_SECONDS = 1.0
PASSING = (sqlite3.SQLITE_FULL, sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
"""Errors that pass. After any other one the file must not be trusted again: what a failed sync lost stays lost."""

Write = Callable[[sqlite3.Connection], Any]


class _Signal(Enum):
    """What the writer is told beside its work."""

    GATHER = auto()  # something nobody waits for has come; more is on its way
    COMMIT = auto()  # no more is: write what there is
    STOP = auto()


class Work:
    """One piece of work. `result` or `error` is set before whoever waits is released."""

    __slots__ = ("done", "error", "patient", "result", "write")

    def __init__(self, write: Write, *, patient: bool, awaited: bool) -> None:
        self.write = write
        self.patient = patient
        self.result: Any = None
        self.error: Exception | None = None
        self.done = threading.Lock() if awaited else None
        if self.done:
            self.done.acquire()

    def wait(self) -> None:
        """Block until it is on disk, or has failed."""
        if self.done:
            self.done.acquire()

    def release(self, error: Exception | None = None) -> None:
        """It is over."""
        self.error = error
        if self.done:
            self.done.release()


class Writer:
    """The one thread that writes. Any thread may hand it work."""

    def __init__(
        self,
        *,
        more_coming: Callable[[], bool] = lambda: False,
        on_committed: Callable[[], None] = lambda: None,
        on_gathered: Callable[[], None] = lambda: None,
        on_broken: Callable[[str], None] = lambda _reason: None,
    ) -> None:
        """
        Args:
            more_coming: whether more will be gathered within milliseconds, so that waiting for it pays.
            on_committed: called by the writer after each commit, or attempt at one.
            on_gathered: called by the writer after work that nobody waits for was committed.
            on_broken: called once when the disk failed in a way that no retry on this file can mend.
        """
        self._more_coming = more_coming
        self._on_committed = on_committed
        self._on_gathered = on_gathered
        self._on_broken = on_broken
        self._queue: SimpleQueue[Work | _Signal] = SimpleQueue()
        self._gathered: list[Work] = []
        self._gathered_lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self.broken = ""

    def start(self, connection: sqlite3.Connection) -> None:
        """Start writing through this connection."""
        self._connection = connection
        self._thread = threading.Thread(target=self._run, name="journal")
        self._thread.start()

    def stop(self) -> None:
        """Commit what waits, then end. A disk that is full now is not waited for."""
        self._queue.put(_Signal.STOP)
        if self._thread:
            self._thread.join()

    def submit(self, write: Write, *, patient: bool = False) -> Work:
        """Hand work in and wait until it is on disk, or has failed; patient work is tried again while that can help."""
        work = Work(write, patient=patient, awaited=True)
        self._queue.put(work)
        work.wait()
        return work

    def ailing(self, seconds: float) -> str:
        """Ask for a sign of life; what is wrong when there is none within so many seconds."""
        if self.broken:
            return self.broken
        work = Work(lambda _db: None, patient=False, awaited=True)
        self._queue.put(work)
        assert work.done is not None
        return "" if work.done.acquire(timeout=seconds) else f"nothing was written for {seconds:.0f} s"

    def gather(self, write: Write) -> None:
        """Hand patient work in and return at once. It may wait a little for company while more is coming."""
        with self._gathered_lock:
            self._gathered.append(Work(write, patient=True, awaited=False))
            first = len(self._gathered) == 1
        if not self._more_coming():
            self._queue.put(_Signal.COMMIT)
        elif first:
            self._queue.put(_Signal.GATHER)

    def _run(self) -> None:
        held: list[Work] = []  # patient work that the disk has no room for now
        stopping = False
        while not stopping:
            batch, stopping = self._collect(RETRY_SECONDS if held else None)
            try:
                held = self._write(held + batch)
                self._on_committed()
            except Exception as error:  # the top of the thread: all who wait must hear of it
                log.exception("the journal's writer failed")
                self._give_up(str(error))
        for work in held:
            work.release(_Stopped())

    def _collect(self, seconds: float | None) -> tuple[list[Work], bool]:
        """Whatever waits, up to a full batch; True with it when the end was among it."""
        item = self._next(seconds)
        if item is _Signal.GATHER:
            item = self._next(GATHER_SECONDS)
        batch: list[Work] = []
        while item is not _Signal.STOP:
            if isinstance(item, Work):
                batch.append(item)
            if len(batch) >= BATCH or self._queue.empty():
                break
            item = self._queue.get_nowait()
        with self._gathered_lock:
            batch += self._gathered
            self._gathered = []
        return batch, item is _Signal.STOP

    def _next(self, seconds: float | None) -> Work | _Signal:
        try:
            return self._queue.get(timeout=seconds)
        except Empty:
            return _Signal.COMMIT

    def _write(self, batch: list[Work]) -> list[Work]:
        """Write a batch; returns the patient work that must be tried again, having released all others."""
        while batch and not self.broken:
            failure = self._try(batch)
            if failure is None:
                _release(batch)
                if any(work.done is None for work in batch):
                    self._on_gathered()
                return []
            culprit, error = failure
            if culprit is None:
                self._note(error)
                _release([work for work in batch if not work.patient], error)
                batch = [work for work in batch if work.patient]
                if not self.broken:
                    return batch
            else:
                log.error("a piece of work cannot be written", exc_info=error)
                culprit.release(error)
                batch = [work for work in batch if work is not culprit]
        _release(batch, sqlite3.OperationalError(self.broken))
        return []

    def _try(self, batch: list[Work]) -> tuple[Work | None, Exception] | None:
        """One transaction; on failure the error, with the piece of work whose own fault it is."""
        db, work = self._connection, None
        try:
            db.execute("begin immediate")
            for work in batch:
                work.result = work.write(db)
            work = None
            db.execute("commit")
        except sqlite3.Error as error:
            self._roll_back()
            return None, error
        except Exception as error:  # noqa: BLE001 - one caller's bug must not end the thread that all depend on
            self._roll_back()
            return work, error
        return None

    def _roll_back(self) -> None:
        if self._connection.in_transaction:
            try:
                self._connection.execute("rollback")
            except sqlite3.Error:
                log.debug("rollback failed", exc_info=True)

    def _note(self, error: Exception) -> None:
        log.error("the journal cannot be written: %s", error)
        if (getattr(error, "sqlite_errorcode", 0) & 0xFF) not in PASSING:
            self._give_up(str(error))

    def _give_up(self, reason: str) -> None:
        if not self.broken:
            self.broken = reason or "unknown error"
            self._on_broken(self.broken)


class _Stopped(Exception):
    """The writer ended before the disk had room."""


def _release(batch: list[Work], error: Exception | None = None) -> None:
    for work in batch:
        work.release(error)
