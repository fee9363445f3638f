"""Log to stderr or a file: a line a record, for people, for programs (JSON) or with the journal's priority prefixes."""

from __future__ import annotations

import json
import logging
import os
import re
import sys
import threading
import time
from collections.abc import Callable
from logging.handlers import WatchedFileHandler
from pathlib import Path
from typing import Any

BURST = 20
PERIOD_SECONDS = 60.0
"""So many warnings that differ only in their details are logged in so many seconds; more are counted."""

_PLACES = re.compile(r"(?:(\w+)=)?%[-+#0 ]*\d*(?:\.\d+)?[a-z]")
_PRIORITIES = {logging.DEBUG: 7, logging.INFO: 6, logging.WARNING: 4, logging.ERROR: 3, logging.CRITICAL: 2}


class _OneLine(logging.Formatter):
    """A record is one line whatever its arguments hold; only our own tracebacks take more."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's name
        if not record.message.isprintable():
            record.message = "".join(
                character if character.isprintable() else character.encode("unicode_escape").decode("ascii")
                for character in record.message
            )
        return super().formatMessage(record)


class _Journal(_OneLine):
    def format(self, record: logging.LogRecord) -> str:
        prefix = f"<{_PRIORITIES.get(record.levelno, 5)}>"
        return prefix + super().format(record).replace("\n", f"\n{prefix}")


class _Json(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        told: dict[str, Any] = {
            "time": round(record.created, 6),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if isinstance(record.args, tuple):  # "ticket=%s seconds=%.3f" has two fields
            for match, value in zip(_PLACES.finditer(str(record.msg)), record.args, strict=False):
                if match[1] and match[1] not in told:
                    told[match[1]] = value if isinstance(value, int | float | bool) else str(value)
        if record.exc_info:
            told["traceback"] = self.formatException(record.exc_info)
        return json.dumps(told)


class Restraint(logging.Filter):
    """Lets what is repeated through so often only, and tells later how often it was not."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock = clock
        self._seen: dict[tuple[str, str], tuple[float, int]] = {}  # since when, how often
        self._lock = threading.Lock()

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether a record is logged. Those below a warning tell of one command each, those of ours what a person asked for."""
        if record.levelno < logging.WARNING or record.exc_info or record.name.startswith("monagent.cli"):
            return True
        key, now = (record.name, str(record.msg)), self._clock()  # the text without its details
        with self._lock:
            since, count = self._seen.get(key, (now, 0))
            left_out = 0
            if now - since > PERIOD_SECONDS:
                since, left_out, count = now, max(count - BURST, 0), 0
            self._seen[key] = since, count + 1
        if left_out:
            record.msg, record.args = f"{record.getMessage()} (and {left_out} more like this before)", ()
        return count < BURST


def set_up(level: str, file: Path | None = None, form: str = "text") -> None:
    """Send this process's log to stderr, or to a file. A file that was moved away is made anew by the next record.

    Args:
        level: the least that is logged.
        file: None for stderr.
        form: text, or json.

    Raises:
        OSError: the file cannot be written.
    """
    handler = logging.StreamHandler(sys.stderr) if file is None else WatchedFileHandler(file, encoding="utf-8")
    if form == "json":
        handler.setFormatter(_Json())
    elif file is None and "JOURNAL_STREAM" in os.environ:
        handler.setFormatter(_Journal("%(name)s: %(message)s"))
    else:
        handler.setFormatter(_OneLine("%(asctime)s %(levelname)-7s %(name)s: %(message)s"))
    handler.addFilter(Restraint())
    logging.basicConfig(level=level, handlers=[handler])
    logging.getLogger("cherrypy").setLevel(logging.WARNING)
