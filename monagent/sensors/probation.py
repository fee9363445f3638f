"""Watch the first runs of a freshly installed sensor: when none of the first three can even start, it is taken back.

The entries are kept in a small file, so that a restart does not end the watch, and an installation beside a running
agent (`monagent sensor install`) is seen by it.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import threading
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from monagent.durable import write_whole
from monagent.sensors.filesystem import lock_directory

log = logging.getLogger(__name__)

STARTS = 3
"""Runs in a row that could not start, from the first one on."""
_LOCK_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class _Entry:
    """A version that has not proved itself: its digest, and how many of its runs could not start."""

    digest: str
    failures: int = 0


class Probation:
    """The sensors whose newest version has not proved itself. Any thread may call it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._seen: tuple[int, int] | None = None
        self._entries: dict[str, _Entry] = {}
        self._refresh()

    def watch(self, name: str, digest: str) -> None:
        """A new version of this sensor was installed."""
        with self._changing():
            self._entries[name] = _Entry(digest)

    def forget(self, name: str) -> None:
        """Another version stands there now, one that has run before."""
        self._look()
        if name in self._entries:
            with self._changing():
                self._entries.pop(name, None)

    def started(self, name: str) -> None:
        """A production run of this sensor has started."""
        self.forget(name)

    def could_not_start(self, name: str) -> str:
        """A production run of this sensor could not even start.

        Returns:
            The digest of the version, when that was the third of its first three runs; otherwise nothing.
        """
        self._look()
        if name not in self._entries:
            return ""
        with self._changing():
            entry = self._entries.get(name)
            if entry is None:
                return ""
            if entry.failures + 1 < STARTS:
                # In one step: whoever looks meanwhile without the lock must find an entry.
                self._entries[name] = _Entry(entry.digest, entry.failures + 1)
                return ""
            del self._entries[name]
            return entry.digest

    @contextlib.contextmanager
    def _changing(self) -> Iterator[None]:
        """Read, change and write as one step, among threads and processes."""
        with self._lock:
            if not self._path.parent.is_dir():  # no agent has run here yet, whose runs could be watched
                yield
                return
            descriptor = lock_directory(self._path.parent, _LOCK_SECONDS)
            try:
                self._refresh()
                yield
                self._save()
            finally:
                if descriptor is not None:
                    os.close(descriptor)

    def _look(self) -> None:
        """Read the file when it is another one than before; costs one stat when it is not."""
        if self._version() != self._seen:
            with self._lock:
                self._refresh()

    def _refresh(self) -> None:
        version = self._version()
        if version != self._seen:
            self._entries = self._load() if version else {}
            self._seen = version

    def _version(self) -> tuple[int, int] | None:
        """What tells the file from the one before. Its time alone goes in steps of milliseconds."""
        try:
            found = os.stat(self._path)
        except OSError:
            return None
        return found.st_ino, found.st_mtime_ns

    def _load(self) -> dict[str, _Entry]:
        try:
            stored: Any = json.loads(self._path.read_text("utf-8"))
            return {str(name): _Entry(str(one["digest"]), int(one["failures"])) for name, one in stored.items()}
        except (OSError, ValueError, TypeError, KeyError, AttributeError, OverflowError) as error:
            log.warning("%s cannot be read: %s", self._path, error)
            return {}

    def _save(self) -> None:
        try:
            write_whole(self._path, json.dumps({name: asdict(entry) for name, entry in self._entries.items()}))
            self._seen = self._version()
        except OSError as error:
            log.warning("%s cannot be written: %s", self._path, error.strerror)
