"""Look into the journal from beside the agent, and put rejected results back or away."""

from __future__ import annotations

import json
import sqlite3
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from monagent.agent import journal
from monagent.errors import JournalError, TicketClash

JOURNAL_FILE = "journal.db"
LIST_LIMIT = 10_000


@dataclass(frozen=True, slots=True)
class SpoolEntry:
    """One command as an operator sees it. Times are seconds since the epoch."""

    ticket: int | str
    state: str
    method: str
    arguments: list[Any]
    received: float
    finished: float | None
    outcome: dict[str, Any] | None
    attempts: int
    next_try: float
    refusal: str | None


class Spool(AbstractContextManager["Spool"]):
    """The journal in a state directory, opened for a moment. The agent may be running."""

    def __init__(self, state: Path) -> None:
        """
        Raises:
            JournalError: there is no journal, or it cannot be opened.
        """
        path = state / JOURNAL_FILE
        if not path.exists():
            raise JournalError(f"{path}: there is no journal; has the agent been started with this configuration?")
        self._db = journal.connect(path)

    def __exit__(self, *_: object) -> None:
        self._db.close()

    def entries(self) -> list[SpoolEntry]:
        """What is not done with: accepted, finished or rejected, oldest first (at most 10,000)."""
        return self._entries("state in ('accepted', 'finished', 'rejected') and ticket is not null", ())

    def find(self, ticket: str) -> list[SpoolEntry]:
        """All that is known of a ticket; several where a plain server used it again."""
        return self._entries("ticket = ?", (ticket,))

    def retry(self, ticket: str) -> int:
        """Put the rejected result of a ticket back into the queue; returns how many there were.

        Raises:
            TicketClash: the server has used the ticket for another command since.
        """
        return self._change(
            "update command set state = 'finished', attempts = 0, next_try = 0, closed = null, remembered = 1"
            " where ticket = ? and state = 'rejected'",
            ticket,
        )

    def drop(self, ticket: str) -> int:
        """Give the rejected result of a ticket up; returns how many there were."""
        return self._change("update command set state = 'closed' where ticket = ? and state = 'rejected'", ticket)

    def _entries(self, where: str, values: tuple[Any, ...]) -> list[SpoolEntry]:
        rows = self._db.execute(
            "select ticket, ticket_is_int, state, method, arguments, received, finished, outcome, attempts,"
            f" next_try, refusal from command where {where} order by id limit {LIST_LIMIT}",
            values,
        )
        return [_entry(row) for row in rows]

    def _change(self, statement: str, ticket: str) -> int:
        try:
            return self._db.execute(statement, (ticket,)).rowcount
        except sqlite3.IntegrityError:
            raise TicketClash(
                f"ticket {ticket!r} is in use again for another command; it can only be dropped"
            ) from None
        except sqlite3.Error as error:
            raise JournalError(f"the journal cannot be written: {error}") from error


def _entry(row: tuple[Any, ...]) -> SpoolEntry:
    ticket, is_int, state, method, arguments, received, finished, outcome, attempts, next_try, refusal = row
    return SpoolEntry(
        ticket=int(ticket) if is_int else ticket,
        state=state,
        method=method,
        arguments=json.loads(arguments or "[]"),
        received=received,
        finished=finished,
        outcome=json.loads(outcome) if outcome else None,
        attempts=attempts,
        next_try=next_try,
        refusal=refusal,
    )
