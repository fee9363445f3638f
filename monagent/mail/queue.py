"""Keep mails on disk until a mail server has taken them, in the order in which they were made."""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any
from urllib.parse import quote

from monagent.errors import Busy, JournalError

LIMIT, LIMIT_BYTES = 10_000, 256 * 1024 * 1024
"""Waiting mails, and what they take together."""
ORDER_SECONDS = 300.0
"""How long a recipient's later mails wait for one that was put off; those of one incident always do."""
KEPT_SECONDS = 7 * 86_400.0
THREAD_SECONDS = 90 * 86_400.0
FAR_SECONDS = 2 * 86_400.0
WAITING, TAKEN, REFUSED, GIVEN_UP = "waiting", "taken", "refused", "given up"


@dataclass(frozen=True, slots=True)
class Mail:
    """A mail that was made and is to be sent. `key` names the job that waits for its fate, "" where none does."""

    report: str
    subject: str
    message_id: str
    sender: str
    recipients: Sequence[str]
    whole: bytes
    lean: bytes | None
    incidents: Sequence[str] = ()
    key: str = ""


@dataclass(frozen=True, slots=True)
class Due:
    """A mail whose turn it is, for those recipients that may have it now."""

    id: int
    report: str
    sender: str
    recipients: tuple[str, ...]
    data: bytes
    has_lean: bool
    attempts: int
    made: float


@dataclass(frozen=True, slots=True)
class Fate:
    """What became of a mail: state and the server's reply for each recipient. `settled` None: some wait still."""

    id: int
    key: str
    report: str
    subject: str
    message_id: str
    made: float
    attempts: int
    next_try: float
    settled: float | None
    recipients: Mapping[str, tuple[str, str]]


class Queue:
    """One SQLite file. Any thread may call it; each call is on disk when it returns.

    Every method raises `JournalError` when the file cannot be used.
    """

    def __init__(self, path: Path, clock: Callable[[], float] = time.time, *, read_only: bool = False) -> None:
        """
        Args:
            path: of the file; made where it is not there.
            clock: seconds since the epoch.
            read_only: look at what somebody else keeps.
        """
        self._path = path
        self._clock = clock
        self._lock = threading.RLock()
        try:
            if read_only:
                self._db = sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True, timeout=10.0)
                return
            with contextlib.suppress(FileExistsError):  # mails are nobody else's business
                os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
            self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=10.0)
            self._db.execute("pragma journal_mode = wal")
            self._db.execute("pragma synchronous = full")
            self._db.executescript(resources.files(__package__).joinpath("schema.sql").read_text("utf-8"))
        except (OSError, sqlite3.Error) as error:
            raise JournalError(f"{path}: cannot be opened as a queue of mails: {error}") from error

    def close(self) -> None:
        """Nothing may be called after this."""
        with self._lock:
            self._db.close()

    @contextlib.contextmanager
    def _change(self) -> Iterator[sqlite3.Connection]:
        try:
            with self._lock:
                self._db.execute("begin immediate")
                try:
                    yield self._db
                    self._db.execute("commit")
                except BaseException:
                    if self._db.in_transaction:
                        self._db.execute("rollback")
                    raise
        except sqlite3.Error as error:
            raise JournalError(f"{self._path}: cannot be written: {error}") from error

    def _all(self, statement: str, values: Sequence[Any] | Mapping[str, Any] = ()) -> list[Any]:
        try:
            with self._lock:
                return self._db.execute(statement, values).fetchall()
        except sqlite3.Error as error:
            raise JournalError(f"{self._path}: cannot be read: {error}") from error

    # -- in -----------------------------------------------------------------------------------------------------

    def put(self, mails: Sequence[Mail], memory: Mapping[str, Any] | None = None) -> None:
        """Take mails, unless their job brought them before, and change what is remembered, all or nothing.

        Raises:
            Busy: there is no room for them.
        """
        now = self._clock()
        with self._change() as db:
            (count, size) = db.execute(
                "select count(*), coalesce(sum(length(whole) + coalesce(length(lean), 0)), 0) from mail where settled is null"
            ).fetchone()
            size += sum(len(mail.whole) + len(mail.lean or b"") for mail in mails)
            if mails and (count + len(mails) > LIMIT or size > LIMIT_BYTES):
                raise Busy(
                    f"{count} mails of {size} bytes wait already; none is taken until the mail server takes some"
                )
            for mail in mails:
                _insert(db, mail, now)
            for name, value in (memory or {}).items():
                if value is None:
                    db.execute("delete from memory where name = ?", (name,))
                else:
                    db.execute("insert or replace into memory values (?, ?)", (name, json.dumps(value)))

    def remembered(self) -> dict[str, Any]:
        """What `put` was given to remember, by name."""
        return {name: json.loads(value) for name, value in self._all("select name, value from memory")}

    def thread(self, incidents: Sequence[str]) -> list[str]:
        """The message ids of mails about these incidents, the oldest first."""
        rows = self._all(
            "select message_id, min(made) from thread where incident in (select value from json_each(?))"
            " group by message_id order by min(made)",
            (json.dumps(list(incidents)),),
        )
        return [row[0] for row in rows]

    # -- out ----------------------------------------------------------------------------------------------------

    def next_due(self) -> tuple[Due | None, float | None]:
        """The oldest mail that may go now, for those of its recipients who do not wait for an earlier one.

        Returns:
            That mail; or None, and when to look again (seconds since the epoch; None: when there is a new one).
        """
        held = _Held(self._clock())
        try:
            with self._lock:
                for number, rows in groupby(self._db.execute(_WAITING_MAILS), itemgetter(0)):
                    free = held.free(list(rows))
                    if free:
                        return self._due(number, free), None
        except sqlite3.Error as error:
            raise JournalError(f"{self._path}: cannot be read: {error}") from error
        return None, held.until

    def _due(self, number: int, addresses: Sequence[str]) -> Due:
        ((report, sender, whole, lean, too_large, attempts, made),) = self._all(
            "select report, sender, whole, lean, too_large, attempts, made from mail where id = ?", (number,)
        )
        data = lean if too_large and lean is not None else whole
        has_lean = lean is not None and not too_large
        return Due(number, report, sender, tuple(addresses), data, has_lean, attempts, made)

    def settle(self, number: int, verdicts: Mapping[str, tuple[str, str]], *, until: float | None = None) -> Fate:
        """Note what became of recipients: a state and the server's reply; those that wait are tried again at `until`."""
        with self._change() as db:
            for address, (state, reply) in verdicts.items():
                db.execute(
                    "update recipient set state = ?, reply = ? where mail = ? and address = ? and state = 'waiting'",
                    (state, reply, number, address),
                )
            db.execute("update mail set attempts = attempts + 1, next_try = ? where id = ?", (until or 0.0, number))
            if not db.execute(_WAITING_RECIPIENTS, (number,)).fetchone():
                db.execute(
                    "update mail set settled = ?, whole = null, lean = null where id = ?", (self._clock(), number)
                )
        return self._fates("where id = ?", (number,))[0]

    def shrink(self, number: int) -> None:
        """From now on only the mail without its attachments is tried, at once."""
        with self._change() as db:
            db.execute("update mail set too_large = 1, whole = null, next_try = 0 where id = ?", (number,))

    def hurry(self, but: int = 0) -> None:
        """The mail server is well again: what was put off is tried at once, but for one mail."""
        with self._change() as db:
            db.execute("update mail set next_try = 0 where settled is null and id <> ?", (but,))

    # -- looking ------------------------------------------------------------------------------------------------

    def fate(self, key: str) -> Fate | None:
        """What became of the mail that a job brought; None when it brought none."""
        found = self._fates("where key = ?", (key,))
        return found[0] if found else None

    def waiting(self, limit: int = LIMIT) -> list[Fate]:
        """The mails that are not settled, the oldest first."""
        return self._fates("where settled is null order by id limit ?", (limit,))

    def old(self, before: float) -> list[Fate]:
        """Those of them that were made before that time."""
        return self._fates("where settled is null and made < ? order by id", (before,))

    def count(self) -> int:
        """How many mails wait."""
        return int(self._all("select count(*) from mail where settled is null")[0][0])

    def _fates(self, where: str, values: Sequence[Any]) -> list[Fate]:
        rows = self._all(
            f"select id, key, report, subject, message_id, made, attempts, next_try, settled from mail {where}",  # noqa: S608
            values,
        )
        return [
            Fate(row[0], row[1] or "", row[2], row[3], row[4], row[5], row[6], row[7], row[8], self._verdicts(row[0]))
            for row in rows
        ]

    def _verdicts(self, number: int) -> dict[str, tuple[str, str]]:
        return {address: (state, reply) for address, state, reply in self._all(_RECIPIENTS, (number,))}

    def tidy(self) -> None:
        """Forget what was settled long ago."""
        now = self._clock()
        with self._change() as db:
            old = "select id from mail where settled < ? limit 5000"
            db.execute(f"delete from recipient where mail in ({old})", (now - KEPT_SECONDS,))  # noqa: S608
            db.execute(f"delete from mail where id in ({old})", (now - KEPT_SECONDS,))  # noqa: S608
            db.execute("delete from thread where made < ?", (now - THREAD_SECONDS,))


_WAITING_MAILS = """
select m.id, m.made, m.next_try, m.incidents, r.address from mail m join recipient r on r.mail = m.id and r.state = 'waiting'
where m.settled is null order by m.id, r.address
"""
_WAITING_RECIPIENTS = "select address from recipient where mail = ? and state = 'waiting' order by address"
_RECIPIENTS = "select address, state, reply from recipient where mail = ? order by address"


def _insert(db: sqlite3.Connection, mail: Mail, now: float) -> None:
    cursor = db.execute(
        "insert into mail (key, report, subject, message_id, sender, incidents, made, whole, lean)"
        " values (?, ?, ?, ?, ?, ?, ?, ?, ?) on conflict (key) do nothing",
        (
            mail.key or None, mail.report, mail.subject, mail.message_id, mail.sender, json.dumps(list(mail.incidents)),
            now, mail.whole, mail.lean,
        ),
    )  # fmt: skip
    if cursor.rowcount != 1:
        return
    for address in dict.fromkeys(mail.recipients):
        db.execute("insert into recipient (mail, address) values (?, ?)", (cursor.lastrowid, address))
    for incident in mail.incidents:
        db.execute("insert or ignore into thread values (?, ?, ?)", (incident, mail.message_id, now))


class _Held:
    """Goes through the waiting mails, the oldest first, and remembers who waits for which."""

    def __init__(self, now: float) -> None:
        self._now = now
        self._young: set[str] = set()
        self._incidents: set[tuple[str, str]] = set()
        self.until: float | None = None

    def free(self, rows: Sequence[tuple[int, float, float, str, str]]) -> list[str]:
        """The recipients of the next mail that may have it now."""
        _, made, next_try, incidents_text, _ = rows[0]
        incidents: list[str] = json.loads(incidents_text)
        addresses = [row[4] for row in rows]
        free = [one for one in addresses if one not in self._young and not self._holds(one, incidents)]
        # A time far ahead was set by a clock that has stepped back since.
        if free and not self._now < next_try <= self._now + FAR_SECONDS:
            return free
        if free:
            self._look_again(next_try)
        if 0 <= self._now - made < ORDER_SECONDS:
            self._young.update(addresses)
            self._look_again(made + ORDER_SECONDS)
        self._incidents.update((one, incident) for one in addresses for incident in incidents)
        return []

    def _holds(self, address: str, incidents: Sequence[str]) -> bool:
        return any((address, incident) in self._incidents for incident in incidents)

    def _look_again(self, when: float) -> None:
        self.until = when if self.until is None else min(self.until, when)
