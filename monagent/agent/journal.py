"""Keep every acknowledged command on disk, with its result, until the server has taken it.

One SQLite file in WAL mode with synchronous=FULL: what was committed survives kill -9 and power loss. One thread
writes (`writer.py`), so that a disk that manages 500 syncs a second carries thousands of commands. Readers use a
connection of their own.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from monagent.agent.rows import COMMAND, busy, command_of, find, insert, row_of, size_in_call, to_json
from monagent.agent.writer import Write, Writer
from monagent.errors import Busy, Fault, JournalError
from monagent.models import Command, Job, Outcome, Result, Ticket
from monagent.protocol import ticket_key

log = logging.getLogger(__name__)

MEASURE_SECONDS = 1.0
VERDICT_SECONDS = 2.0
"""How long a command waits for the fate of the last result under its ticket."""
LONGEST_PAUSE = 600.0
"""A result postponed for longer than anybody ever asks for was postponed by a clock that has stepped back since."""


def connect(path: Path) -> sqlite3.Connection:
    """Open a journal for reading, or for a short write beside a running agent.

    Raises:
        JournalError: it cannot be opened, or is no journal.
    """
    try:
        # Results may hold what is nobody else's business; SQLite gives its other files the mode of the first.
        # Only where there is none: closing any descriptor of a file drops all locks that this process has on it.
        with contextlib.suppress(FileExistsError):
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=10.0)
        connection.execute("pragma journal_mode = wal")
        connection.execute("pragma synchronous = full")
        connection.executescript(resources.files(__package__).joinpath("schema.sql").read_text("utf-8"))
    except (OSError, sqlite3.Error) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise JournalError(f"{path}: cannot be opened as a journal: {reason}") from error
    return connection


class Journal:
    """The agent's memory. Every method may be called from any thread."""

    def __init__(
        self,
        path: Path,
        limit: int,
        *,
        more_coming: Callable[[], bool] = lambda: False,
        on_finished: Callable[[], None] = lambda: None,
        on_broken: Callable[[str], None] = lambda _reason: None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """
        Args:
            path: the SQLite file; made when it is not there.
            limit: bytes. When the journal holds that much, new commands are refused.
            more_coming: whether more results will come within milliseconds, so that gathering them pays.
            on_finished: called by the writer after results were committed.
            on_broken: called once when the disk failed in a way that no retry on this file can mend.
            clock: seconds since the epoch.
        """
        self._path = path
        self._limit = limit
        self._clock = clock
        self._writer = Writer(
            more_coming=more_coming,
            on_committed=self._measure_now_and_then,
            on_gathered=on_finished,
            on_broken=on_broken,
        )
        self._measured = 0.0
        self._unmeasured = 0
        self._full = False
        self._completed = 0
        self._handing: set[str] = set()
        self._handing_changed = threading.Condition()

    # -- life ---------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Open the file and start the writer.

        Raises:
            JournalError: the file cannot be opened.
        """
        self._connection = connect(self._path)
        self._reader = connect(self._path)
        self._reader_lock = threading.Lock()
        (self._completed,) = self._one("select coalesce(max(completed), 0) from command")
        self._measure()
        self._writer.start(self._connection)

    def stop(self) -> None:
        """Commit what waits, then close the file. Nothing may be handed in after this.

        A disk that is full now is not waited for: a result that cannot be written is made again after the next start.
        """
        self._writer.stop()
        self._connection.close()
        self._reader.close()

    @property
    def has_room(self) -> bool:
        """Whether new commands are taken."""
        return not self._full

    @property
    def broken(self) -> str:
        """Why the journal cannot be written any more; empty while it can."""
        return self._writer.broken

    def ailing(self, seconds: float) -> str:
        """What is wrong, when nothing can be written within so many seconds."""
        return self._writer.ailing(seconds)

    # -- commands -----------------------------------------------------------------------------------------------

    def accept(self, commands: Sequence[Command], *, room: bool = True) -> Sequence[Job | None | Fault]:
        """Write commands down in one commit, and return when they are on disk.

        Args:
            commands: of one request.
            room: whether new ones can be taken; without it only repeats are acknowledged.

        Returns:
            For each command: the job to be done; None when its ticket has brought the same command before; or
            the fault to be answered (`TicketClash`, `Busy`).
        """
        if self.broken:
            return [busy()] * len(commands)
        if self._handing and not self._verdicts_came(commands):
            return [Busy("a result with this ticket is just being handed in; try again later")] * len(commands)
        now = self._clock()
        rows = [row_of(command, now) for command in commands]
        self._unmeasured += sum(len(row[5]) for row in rows)

        def write(db: sqlite3.Connection) -> list[Job | None | Fault]:
            # A repeat takes no room, and its sender must learn that the command is safe.
            take = insert if room and not self._full else find
            return [take(db, row, command) for row, command in zip(rows, commands, strict=True)]

        work = self._writer.submit(write)
        if work.error is not None:
            return [busy()] * len(commands)
        answers: list[Job | None | Fault] = work.result
        return answers

    def finish(self, job: Job, outcome: Outcome, finished: float) -> None:
        """Keep the result of a job. Returns at once; the relay is told when it is on disk."""
        text = to_json(outcome)

        def write(db: sqlite3.Connection) -> bool:
            self._completed += 1
            # A ticket is what a result is handed in under; without one there is nothing to deliver.
            db.execute(
                "update command set state = iif(ticket is null, 'closed', 'finished'), finished = ?, completed = ?,"
                " outcome = ?, closed = iif(ticket is null, ?, null) where id = ? and state = 'accepted'",
                (finished, self._completed, text, finished, job.id),
            )
            return True

        self._writer.gather(write)

    def settle(self) -> None:
        """Wait until all that was handed in is on disk, or cannot be written now."""
        self._writer.submit(lambda _db: True)

    def unfinished(self) -> list[Job]:
        """What was accepted and not finished, oldest first: the work of a process that was killed."""
        rows = self._all(f"select {COMMAND} from command where state = 'accepted' order by id")
        return [Job(row[0], command_of(row)) for row in rows]

    # -- results ------------------------------------------------------------------------------------------------

    def due(self, limit: int) -> list[Result]:
        """Results that may be tried now, in order of completion, at most `limit`."""
        now = self._clock()
        rows = self._all(
            f"select {COMMAND}, outcome, finished, attempts from command"
            " where state = 'finished' and (next_try <= ? or next_try > ?) order by completed limit ?",
            (now, now + LONGEST_PAUSE, limit),
        )
        return [
            Result(row[0], command_of(row), json.loads(row[5]), row[6], row[7], size_in_call(row[5])) for row in rows
        ]

    def next_due(self) -> float | None:
        """When the next result may be tried (seconds since the epoch), or None when none waits."""
        (when,) = self._one("select min(next_try) from command where state = 'finished'")
        return None if when is None else float(when)

    def delivered(self, results: Iterable[Result], *, remember: bool) -> None:
        """The server has taken these. With `remember` their tickets stay known."""
        self._settle(results, "delivered", remember=remember)

    def closed(self, results: Iterable[Result]) -> None:
        """These are of a kind that this server does not take: done with, kept as history."""
        self._settle(results, "closed", remember=False)

    def rejected(self, result: Result, refusal: str, *, remember: bool) -> None:
        """The server has refused this one for good: set aside, kept and counted."""
        self._settle([result], "rejected", remember=remember, refusal=refusal)

    def postpone(self, result: Result, until: float, refusal: str) -> None:
        """The server has refused this one; it is tried again at `until`."""
        self._require(
            lambda db: db.execute(
                "update command set attempts = attempts + 1, next_try = ?, refusal = ? where id = ?",
                (until, refusal, result.id),
            )
        )

    def amend(self, row: int, ticket: Ticket | None, outcome: Outcome) -> bool:
        """Replace the outcome of a command that no server has taken, and have it delivered again.

        Returns:
            Whether there was one.
        """
        key = None if ticket is None else ticket_key(ticket)

        def write(db: sqlite3.Connection) -> int:
            self._completed += 1
            return db.execute(
                "update command set state = 'finished', completed = ?, outcome = ?, attempts = 0, next_try = 0,"
                " refusal = null, closed = null where id = ? and ticket = ? and state in ('finished', 'rejected', 'closed')",
                (self._completed, to_json(outcome), row, key),
            ).rowcount

        work = self._writer.submit(write, patient=True)
        return work.error is None and work.result == 1

    def revive(self, since: float) -> None:
        """Offer again what was rejected since then (seconds since the epoch): another server may know those tickets."""
        self._require(
            lambda db: db.execute(
                "update command set state = 'finished', attempts = 0, next_try = 0, refusal = null, closed = null"
                " where state = 'rejected' and closed >= ?",
                (since,),
            )
        )

    def _settle(self, results: Iterable[Result], state: str, *, remember: bool, refusal: str | None = None) -> None:
        """Close results in one statement: in every step of one, the other threads may cut in."""
        values = (state, remember, refusal, self._clock(), to_json([result.id for result in results]))
        self._require(
            lambda db: db.execute(
                "update command set state = ?, remembered = remembered and ?, refusal = ?, closed = ?"
                " where id in (select value from json_each(?))",
                values,
            )
        )

    def _require(self, write: Write) -> None:
        """Write what must not be lost, however long the disk is full.

        Raises:
            JournalError: the journal was given up, or stopped.
        """
        work = self._writer.submit(write, patient=True)
        if work.error is not None:
            raise JournalError(f"{self._path}: cannot be written: {work.error}") from work.error

    @contextlib.contextmanager
    def handing_in(self, results: Sequence[Result]) -> Iterator[None]:
        """While a server that uses tickets again is being handed these: it may do so before we have noted its answer."""
        keys = {ticket_key(result.command.ticket) for result in results if result.command.ticket is not None}
        with self._handing_changed:
            self._handing |= keys
        try:
            yield
        finally:
            with self._handing_changed:
                self._handing -= keys
                self._handing_changed.notify_all()

    def _verdicts_came(self, commands: Sequence[Command]) -> bool:
        keys = {ticket_key(command.ticket) for command in commands if command.ticket is not None}
        with self._handing_changed:
            return self._handing_changed.wait_for(lambda: not self._handing & keys, VERDICT_SECONDS)

    # -- figures and housekeeping -------------------------------------------------------------------------------

    def counts(self) -> dict[str, int]:
        """How many commands are accepted, finished and rejected."""
        states = ("accepted", "finished", "rejected")
        return {state: self._one(f"select count(*) from command where state = '{state}'")[0] for state in states}

    def oldest_undelivered(self) -> float | None:
        """When the oldest result that waits was finished (seconds since the epoch)."""
        rows = self._all("select finished from command where state = 'finished' order by completed limit 1")
        return float(rows[0][0]) if rows else None

    def forget(self, before: float) -> int:
        """Drop what was delivered or closed before that time (seconds since the epoch), a bounded number of rows.

        Returns:
            How many rows went.
        """
        work = self._writer.submit(
            lambda db: (
                db.execute(
                    "delete from command where id in (select id from command"
                    " where closed < ? and state in ('delivered', 'closed') order by closed limit 5000)",
                    (before,),
                ).rowcount
            )
        )
        return 0 if work.error else int(work.result)

    def trim(self) -> int:
        """Make room: drop the oldest history, whole where no ticket is remembered, or else all but the ticket.

        Returns:
            How many rows were trimmed; a bounded number.
        """
        work = self._writer.submit(
            lambda db: (
                db.execute(
                    "delete from command where id in (select id from command where closed is not null and not remembered"
                    " and state in ('delivered', 'closed') order by closed limit 5000)"
                ).rowcount
            )
        )
        if work.error is None and work.result:
            return int(work.result)
        work = self._writer.submit(
            lambda db: (
                db.execute(
                    "update command set arguments = null, outcome = null where id in (select id from command"
                    " where closed is not null and outcome is not null and state in ('delivered', 'closed')"
                    " order by closed limit 5000)"
                ).rowcount
            )
        )
        return 0 if work.error else int(work.result)

    def used(self) -> int:
        """Bytes that the journal's rows take."""
        (pages,), (free,) = self._one("pragma page_count"), self._one("pragma freelist_count")
        (size,) = self._one("pragma page_size")
        return int((pages - free) * size)

    def _measure_now_and_then(self) -> None:
        if time.monotonic() - self._measured > MEASURE_SECONDS or self._unmeasured > self._limit // 64:
            try:
                self._measure()
            except JournalError as error:
                log.error("%s", error)  # noqa: TRY400 - the disk's fault, told by whoever writes next

    def _measure(self) -> None:
        self._measured = time.monotonic()
        self._unmeasured = 0
        used = self.used()
        full = used >= self._limit
        if full and not self._full:
            log.error(
                "journal %s holds %d bytes, its limit is %d: new commands are refused", self._path, used, self._limit
            )
        elif self._full and not full:
            log.warning("journal %s has room again", self._path)
        self._full = full

    # -- reading ------------------------------------------------------------------------------------------------

    def _all(self, statement: str, values: Sequence[Any] = ()) -> list[Any]:
        try:
            with self._reader_lock:
                return self._reader.execute(statement, values).fetchall()
        except sqlite3.Error as error:
            raise JournalError(f"{self._path}: cannot be read: {error}") from error

    def _one(self, statement: str) -> Any:
        return self._all(statement)[0]
