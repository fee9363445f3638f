"""Log to stderr: a line a record, with the journal's priority prefixes where systemd reads along."""

from __future__ import annotations

import logging
import os
import sys

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


def set_up(level: str) -> None:
    """Send this process's log to stderr."""
    handler = logging.StreamHandler(sys.stderr)
    if "JOURNAL_STREAM" in os.environ:
        handler.setFormatter(_Journal("%(name)s: %(message)s"))
    else:
        handler.setFormatter(_OneLine("%(asctime)s %(levelname)-7s %(name)s: %(message)s"))
    logging.basicConfig(level=level, handlers=[handler])
    logging.getLogger("cherrypy").setLevel(logging.WARNING)
