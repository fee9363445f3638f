"""Remember that a command which must not be repeated was done, until the journal has its outcome for sure.

Such a command leaves its mark in the world (a sensor is swapped) a moment before the journal hears of it. A crash in
between would do it twice; the receipt, written with the mark, tells the next start that it is done.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from monagent.durable import write_whole
from monagent.models import Job, Outcome, Ticket

RECEIPTS_FILE = "receipts.json"
KEPT = 4
"""At least as many as there are workers for long commands: only their last ones can be missing in the journal."""


def token_of(job: Job) -> str:
    """What a job is known by in records on disk. A row of the journal may get a number again, long after."""
    command = job.command
    return json.dumps([job.id, command.ticket, command.method, command.arguments])


def row_of_token(token: str) -> tuple[int, Ticket | None]:
    """The row in the journal and the ticket of the job that a token was made of; (0, None) for an empty one."""
    row, ticket, *_ = json.loads(token or "[0, null]")
    return int(row), ticket


class Receipts:
    """A small file. Not for use by several threads at once, but for `keep()`."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def load(self) -> dict[str, Outcome]:
        """The outcomes by token; none when the file is not there or not ours."""
        try:
            stored: Any = json.loads(self._path.read_text("utf-8"))
        except (OSError, ValueError):
            return {}
        return stored if isinstance(stored, dict) else {}

    def keep(self, token: str, outcome: Outcome) -> None:
        """Write one down; it is on disk when this returns."""
        if not token:
            return
        stored = self.load() | {token: outcome}
        write_whole(self._path, json.dumps(dict(list(stored.items())[-KEPT:])))

    def clear(self) -> None:
        """Forget all: the journal has them."""
        self._path.unlink(missing_ok=True)
