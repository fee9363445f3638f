"""What both sides looked like when they were last seen equal, and what became of past runs: one SQLite file a job.

What it says of an entry counts only as long as neither side's mark has moved. It is committed after the copies that it
tells of are on their disk, so that it never says more than is so.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import sqlite3
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

from monagent.errors import SyncStopped
from monagent.sync.scan import Mark, packed, unpacked

FILE = "sync.db"
NO_TAG = b"\0" * 16
KEPT_WHOLE, INCOMPLETE, SUSPECT, YOUNG, UNREAD = 0, 1, 2, 4, 8
"""Flags of an entry: nothing to say; some metadata could not be kept; its content was found changed though no mark had
moved; it was so young when it was read that it may have changed since; its content was never read, since size and time were trusted."""
READ_AGAIN = SUSPECT | YOUNG | UNREAD
"""Where contents are compared; elsewhere `UNREAD` is well."""
RUNS_KEPT = 1000
_NEWEST = "SELECT started, duration, mode, status, message, report FROM runs ORDER BY id DESC LIMIT ?"

_SCHEMA = """
CREATE TABLE IF NOT EXISTS facts (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS directories (
    path BLOB PRIMARY KEY, names BLOB NOT NULL, source BLOB NOT NULL, target BLOB NOT NULL,
    tags BLOB NOT NULL, flags BLOB NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS runs (
    id INTEGER PRIMARY KEY AUTOINCREMENT, started REAL NOT NULL, duration REAL NOT NULL, mode TEXT NOT NULL,
    status TEXT NOT NULL, message TEXT NOT NULL, report TEXT NOT NULL
);
PRAGMA user_version = 1;
"""


class Known(NamedTuple):
    """What is remembered of one entry: the marks of both sides, a tag of its content (or `NO_TAG`), flags."""

    source: Mark
    target: Mark
    tag: bytes = NO_TAG
    flags: int = KEPT_WHOLE


@dataclass(slots=True)
class Page:
    """What is remembered of one directory. The columns are as they are kept; `entries()` takes them apart."""

    names: bytes = b""
    source: bytes = b""
    target: bytes = b""
    tags: bytes = b""
    flags: bytes = b""

    def entries(self) -> dict[str, Known]:
        """By name."""
        tags = (self.tags[at : at + 16] for at in range(0, len(self.tags), 16))
        sides = zip(unpacked(self.source), unpacked(self.target), tags, self.flags, strict=True)
        return {name: Known(*known) for name, known in zip(self.name_list(), sides, strict=True)}

    def name_list(self) -> list[str]:
        """All names, sorted."""
        return os.fsdecode(self.names).split("\0") if self.names else []


def joined(names: list[str]) -> bytes:
    """The names of a directory in one piece."""
    return os.fsencode("\0".join(names))


@dataclass(slots=True)
class PastRun:
    """One run as it is remembered; `report` is the outcome without its items."""

    started: float
    duration: float
    mode: str
    status: str
    message: str
    report: dict[str, Any] = field(default_factory=dict)


def history(state: Path, limit: int) -> tuple[list[PastRun], dict[str, str]]:
    """The newest runs of a job, the newest first, and its facts; also while it runs.

    Raises:
        SyncStopped: they cannot be read.
    """
    try:
        if not (state / FILE).exists():
            return [], {}
        with contextlib.closing(sqlite3.connect(f"file:{quote(str(state / FILE))}?mode=ro", uri=True)) as database:
            if database.execute("PRAGMA user_version").fetchone() == (0,):  # it is just being made
                return [], {}
            facts = dict(database.execute("SELECT name, value FROM facts WHERE name <> 'key'").fetchall())
            rows = database.execute(_NEWEST, (limit,)).fetchall()
    except (OSError, sqlite3.Error) as error:
        raise SyncStopped(f"what is remembered of the job cannot be read: {state / FILE}: {error}") from error
    return [_past_run(*row) for row in rows], facts


def _past_run(started: float, duration: float, mode: str, status: str, message: str, report: str) -> PastRun:
    return PastRun(started, duration, mode, status, message, json.loads(report))


class Manifest:
    """One thread or process at a time; the job's lock sees to that."""

    def __init__(self, state: Path) -> None:
        """
        Raises:
            SyncStopped: the file cannot be used.
        """
        try:
            state.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._database = sqlite3.connect(state / FILE, isolation_level=None)
            (state / FILE).chmod(0o600)
            self._database.execute("PRAGMA journal_mode = WAL")  # whoever looks on during a run is not kept waiting
            self._database.execute("PRAGMA cache_size = -2000")
            self._database.execute("PRAGMA synchronous = FULL")
            self._database.executescript(_SCHEMA)
            self._database.execute("BEGIN IMMEDIATE")
        except (OSError, sqlite3.Error) as error:
            raise SyncStopped(f"what is remembered of the job cannot be used: {state / FILE}: {error}") from error

    def close(self) -> None:
        """Forget what was not committed."""
        self._database.close()

    def commit(self) -> None:
        """Keep what was put."""
        with self._explained():
            self._database.execute("COMMIT")
            self._database.execute("BEGIN IMMEDIATE")

    def forget_uncommitted(self) -> None:
        """Give up what was put since the last commit."""
        with self._explained():
            self._database.execute("ROLLBACK")
            self._database.execute("BEGIN IMMEDIATE")

    # -- directories --------------------------------------------------------------------------------------------

    def page(self, path: str) -> Page | None:
        """What is remembered of a directory."""
        with self._explained():
            row = self._database.execute(
                "SELECT names, source, target, tags, flags FROM directories WHERE path = ?", (os.fsencode(path),)
            ).fetchone()
        return None if row is None else Page(*row)

    def put(self, path: str, entries: dict[str, Known]) -> None:
        """Remember a directory as it is now."""
        known = entries.values()
        row = (
            os.fsencode(path),
            joined(list(entries)),
            packed(one.source for one in known),
            packed(one.target for one in known),
            b"".join([one.tag for one in known]),
            bytes([one.flags for one in known]),
        )
        with self._explained():
            self._database.execute("REPLACE INTO directories VALUES (?, ?, ?, ?, ?, ?)", row)

    def forget(self, path: str) -> None:
        """Forget a directory and all below it."""
        name = os.fsencode(path)
        with self._explained():
            self._database.execute(
                "DELETE FROM directories WHERE path = ? OR (path > ? AND path < ?)", (name, name + b"/", name + b"0")
            )

    # -- facts and runs -----------------------------------------------------------------------------------------

    def fact(self, name: str) -> str:
        """Something else that is remembered; empty when it is not."""
        with self._explained():
            row = self._database.execute("SELECT value FROM facts WHERE name = ?", (name,)).fetchone()
        return "" if row is None else str(row[0])

    def learn(self, name: str, value: str) -> None:
        """Remember it."""
        with self._explained():
            self._database.execute("REPLACE INTO facts VALUES (?, ?)", (name, value))

    @property
    def key(self) -> bytes:
        """32 secret bytes that the tags of this job's contents are made with."""
        text = self.fact("key")
        if not text:
            text = secrets.token_hex(32)
            self.learn("key", text)
        return bytes.fromhex(text)

    def record(self, run: PastRun) -> None:
        """Remember a run, and forget the oldest beyond `RUNS_KEPT`."""
        with self._explained():
            row = (run.started, run.duration, run.mode, run.status, run.message, json.dumps(run.report))
            self._database.execute(
                "INSERT INTO runs (started, duration, mode, status, message, report) VALUES (?, ?, ?, ?, ?, ?)", row
            )
            self._database.execute("DELETE FROM runs WHERE id <= (SELECT MAX(id) FROM runs) - ?", (RUNS_KEPT,))

    def last(self, what: str) -> float | None:
        """When a `success` or a `full-proof` was last reached, in seconds since the epoch."""
        text = self.fact(f"last-{what}")
        return float(text) if text else None

    def reached(self, what: str) -> None:
        """It was reached now."""
        self.learn(f"last-{what}", str(time.time()))

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise SyncStopped(f"what is remembered of the job cannot be used: {error}") from error
