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
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self.broken = ""

    def start(self, connection: sqlite3.Connection) -> None:
        """Start writing through this connection."""
        self._connection = connection
        self._thread = threading.Thread(target=self._run, name="journal")
        self._thread.start()

    def stop(self) -> None:
        """Commit what waits, then end. A disk that is full now is not waited for."""
        self._stopping.set()
        self._queue.put(_Signal.STOP)
        if self._thread:
            self._thread.join()

    def submit(self, write: Write, *, patient: bool = False) -> Work:
        """Hand work in and wait until it is on disk, or has failed; patient work is tried again while that can help."""
        work = Work(write, patient=patient, awaited=True)
        self._queue.put(work)
        work.wait()
        return work

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
        stopping = False
        while not stopping:
            batch, stopping = self._collect(self._queue.get())
            if batch:
                self._commit(batch)
            self._on_committed()

    def _collect(self, item: Work | _Signal) -> tuple[list[Work], bool]:
        """Whatever waits, up to a full batch; True with it when the end was among it."""
        if item is _Signal.GATHER:
            try:
                item = self._queue.get(timeout=GATHER_SECONDS)
            except Empty:
                item = _Signal.COMMIT
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

    def _commit(self, batch: list[Work]) -> None:
        """Write a batch. Patient work is tried until it is on disk or the file is given up."""
        while batch and (failure := self._try(batch)) is not None:
            culprit, error = failure
            if culprit is not None:
                log.error("a piece of work cannot be written", exc_info=error)
                gone = [culprit]
            else:
                self._note(error)
                give_up = bool(self.broken) or self._stopping.is_set()
                gone = [work for work in batch if give_up or not work.patient]
            for work in gone:
                work.release(error)
            batch = [work for work in batch if work not in gone]
            if batch and culprit is None:
                self._stopping.wait(RETRY_SECONDS)
        for work in batch:
            work.release()
        if any(work.done is None for work in batch):
            self._on_gathered()

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
        if (getattr(error, "sqlite_errorcode", 0) & 0xFF) not in PASSING and not self.broken:
            self.broken = str(error)
            self._on_broken(self.broken)
