"""Commands and results as rows of the journal."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from hashlib import blake2b
from typing import Any

from monagent.errors import Busy, Fault, TicketClash
from monagent.models import Command, Job
from monagent.protocol import ticket_key

COMMAND = "id, ticket, ticket_is_int, method, arguments"
"""The columns that `command_of()` reads."""


def command_of(row: Sequence[Any]) -> Command:
    """The command of a row that begins with `COMMAND`."""
    _, ticket, is_int, method, arguments = row[:5]
    return Command(int(ticket) if is_int else ticket, method, json.loads(arguments or "[]"))


def row_of(command: Command, now: float) -> tuple[Any, ...]:
    """The row that a new command becomes."""
    arguments = to_json(command.arguments)
    fingerprint = blake2b(f"{command.method} {arguments}".encode(), digest_size=16).digest()
    key = None if command.ticket is None else ticket_key(command.ticket)
    is_int = isinstance(command.ticket, int)
    return (key, is_int, key is not None, fingerprint, command.method, arguments, now)


def insert(db: sqlite3.Connection, row: tuple[Any, ...], command: Command) -> Job | None | Fault:
    """Write a new command down; the answer to it."""
    cursor = db.execute(
        "insert into command (ticket, ticket_is_int, remembered, fingerprint, method, arguments, state, received)"
        " values (?, ?, ?, ?, ?, ?, 'accepted', ?) on conflict do nothing",
        row,
    )
    if cursor.rowcount == 1:
        return Job(cursor.lastrowid or 0, command)
    return find(db, row, command)


def find(db: sqlite3.Connection, row: tuple[Any, ...], _command: Command) -> Job | None | Fault:
    """The answer to a command that is not taken because its ticket is known, or because there is no room."""
    known = db.execute("select fingerprint from command where ticket = ? and remembered", (row[0],)).fetchone()
    if known is None:
        return busy()
    return None if known[0] == row[3] else TicketClash("this ticket was already used for another command")


def busy() -> Busy:
    """The answer to a command for which there is no room."""
    return Busy("no new command can be taken now: the journal or the queue is full, or the agent is stopping")


def size_in_call(text: str) -> int:
    """At most what the outcome takes in a call: what JSON escapes is shorter there, what XML escapes is longer.

    A metric's seven short members take some 600 bytes of markup.
    """
    return (
        len(text)
        + 600 * text.count('"label":')
        + 4 * text.count("&")
        + 3 * (text.count("<") + text.count(">") + text.count("\\r"))
    )


def to_json(value: Any) -> str:
    """The text under which a value is kept."""
    # A lone surrogate cannot be stored as UTF-8; escaped as ASCII everything can.
    return _ENCODER.encode(value)


_ENCODER = json.JSONEncoder(separators=(",", ":"))
