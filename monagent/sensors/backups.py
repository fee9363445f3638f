"""The replaced versions of sensors: `<sensor>_<YYYY-mm-ddTHH:MM:SS>` (UTC) in one directory, newest last by name."""

from __future__ import annotations

import logging
import os
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

from monagent.errors import Refused
from monagent.sensors import tree

log = logging.getLogger(__name__)

FAILED = ".failed"
"""Ends the name of a version that was taken back because it could not start; it is never restored by itself."""
_FORM = "%Y-%m-%dT%H:%M:%S"
_NAME = re.compile(r"(.+)_([0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2})(\.failed)?")


class Backups:
    """The directory of the backups."""

    def __init__(self, path: Path, keep: int) -> None:
        """
        Args:
            path: made when the first backup comes.
            keep: how many of each sensor stay.
        """
        self.path = path
        self._keep = keep

    def of(self, sensor: str) -> list[Path]:
        """All of one sensor, oldest first."""
        try:
            names = os.listdir(self.path)
        except FileNotFoundError:
            return []
        matches = [
            match for match in map(_NAME.fullmatch, names) if match and match[1] == sensor and _is_time(match[2])
        ]
        return [self.path / match[0] for match in sorted(matches, key=lambda match: match[2])]

    def newest(self, sensor: str) -> Path | None:
        """The one that a restore puts back."""
        usable = [path for path in self.of(sensor) if not path.name.endswith(FAILED)]
        return usable[-1] if usable else None

    def next(self, sensor: str, now: float) -> str:
        """The name for a new one: the time, or as much later as it takes to be the newest.

        Args:
            sensor: whose.
            now: seconds since the epoch.
        """
        when = datetime.fromtimestamp(now, UTC).replace(microsecond=0)
        for path in self.of(sensor)[-1:]:
            match = _NAME.fullmatch(path.name)
            if match and match[2] >= when.strftime(_FORM):
                when = _time(match[2]) + timedelta(seconds=1)
        return f"{sensor}_{when.strftime(_FORM)}"

    def require_room(self) -> None:
        """Make sure that a backup can be put here.

        Raises:
            Refused: it cannot.
        """
        place = next(path for path in (self.path, *self.path.absolute().parents) if os.path.lexists(path))
        if not place.is_dir():
            raise Refused(f"the directory of backups {self.path} cannot be made: {place} is no directory")
        if not os.access(place, os.R_OK | os.W_OK | os.X_OK):
            raise Refused(f"the directory of backups {self.path} cannot be written")

    def prune(self, sensor: str, at_least: int = 0) -> None:
        """Remove the oldest of a sensor's backups beyond those that are kept."""
        backups = self.of(sensor)
        for path in backups[: max(0, len(backups) - max(self._keep, at_least))]:
            try:
                tree.remove(path)
            except OSError as error:
                log.warning("backup %s cannot be removed: %s", path.name, error.strerror)


def _time(text: str) -> datetime:
    return datetime.strptime(text, _FORM).replace(tzinfo=UTC)


def _is_time(text: str) -> bool:
    try:
        _time(text)
    except ValueError:  # such as the 30th of February
        return False
    return True
