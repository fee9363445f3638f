"""Watch the first runs of a freshly installed sensor: when none of the first three can even start, it is taken back.

The entries are kept in a small file, so that a restart does not end the watch, and an installation beside a running
agent is seen by it. The file is read again only when a run could not start: runs that start cost nothing.
"""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from monagent.durable import write_whole

log = logging.getLogger(__name__)

STARTS = 3
"""Runs in a row that could not start, from the first one on."""


class Probation:
    """The sensors whose newest version has not proved itself. Any thread may call it."""

    def __init__(self, path: Path, clock: Callable[[], float] = time.time) -> None:
        """
        Args:
            path: of the file.
            clock: seconds since the epoch.
        """
        self._path = path
        self._clock = clock
        self._lock = threading.Lock()
        self._started: dict[str, float] = {}
        self._watched = frozenset(self._load())

    def watch(self, name: str) -> None:
        """A new version of this sensor was installed."""
        with self._lock:
            self._save(self._load() | {name: {"since": self._clock(), "failures": 0}})

    def forget(self, name: str) -> None:
        """Another version stands there now, one that has run before."""
        with self._lock:
            entries = self._load()
            if entries.pop(name, None) is not None:
                self._save(entries)

    def started(self, name: str) -> None:
        """A production run of this sensor has started."""
        self._started[name] = self._clock()
        if name in self._watched:
            self.forget(name)

    def could_not_start(self, name: str) -> bool:
        """A production run of this sensor could not even start; True when that was the third of the first three."""
        with self._lock:
            entries = self._load()
            entry = entries.get(name)
            if entry is None or self._started.get(name, 0.0) > entry["since"]:
                return False
            entry["failures"] += 1
            self._save(entries)
            return bool(entry["failures"] == STARTS)

    def _load(self) -> dict[str, Any]:
        try:
            stored: Any = json.loads(self._path.read_text("utf-8"))
            return {
                str(name): {"since": float(e["since"]), "failures": int(e["failures"])} for name, e in stored.items()
            }
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
            log.warning("%s cannot be read: %s", self._path, error)
            return {}

    def _save(self, entries: dict[str, Any]) -> None:
        self._watched = frozenset(entries)
        if not self._path.parent.is_dir():  # no agent has run here yet, whose runs could be watched
            return
        try:
            write_whole(self._path, json.dumps(entries))
        except OSError as error:
            log.warning("%s cannot be written: %s", self._path, error.strerror)
