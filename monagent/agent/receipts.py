"""Remember that a command which must not be repeated was done, until the journal has its outcome for sure.

Such a command leaves its mark in the world (a sensor is swapped) a moment before the journal hears of it. A crash in
between would do it twice; the receipt, written with the mark, tells the next start that it is done.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from monagent.durable import write_whole
from monagent.models import Job, Outcome, Ticket

RECEIPTS_FILE = "receipts.json"
KEPT_SECONDS = 86400.0
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
    """A small file. Updates take turns among processes, so that nobody else writes it at the same time."""

    def __init__(self, path: Path, clock: Callable[[], float] = time.time) -> None:
        self._path = path
        self._clock = clock
        self._lock = threading.Lock()

    def load(self) -> dict[str, Outcome]:
        """The outcomes by token; none when the file is not there or not ours."""
        return {token: outcome for token, (_, outcome) in self._load().items()}

    def keep(self, token: str, outcome: Outcome) -> None:
        """Write one down; it is on disk when this returns."""
        if not token:
            return
        with self._lock:
            stored = self._load()
            stored.pop(token, None)
            stored[token] = (self._clock(), outcome)
            last = list(stored.items())[-KEPT:]
            write_whole(self._path, json.dumps({key: {"kept": when, "outcome": kept} for key, (when, kept) in last}))

    def _load(self) -> dict[str, tuple[float, Outcome]]:
        try:
            stored: Any = json.loads(self._path.read_text("utf-8"))
        except (OSError, ValueError):
            return {}
        found: dict[str, tuple[float, Outcome]] = {}
        for token, one in stored.items() if isinstance(stored, dict) else ():
            match one:
                # Those that a start may still need are of the last seconds before a crash.
                case {"kept": float(kept), "outcome": dict(outcome)} if abs(self._clock() - kept) < KEPT_SECONDS:
                    found[token] = (kept, outcome)
        return found
