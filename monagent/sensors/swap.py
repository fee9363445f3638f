"""Put one directory in the place of another, so that a crash at any moment leaves the whole old or the whole new one.

Everything happens in a workshop beside the sensors, `.update-<name>/`:

    <name>/     the new version; after the exchange the old one
    .record     written before the exchange: what is going on, so that a start after a crash can finish it

The exchange is one step of the file system. It has happened when the new version, known by its inode, is not here any more.
"""

from __future__ import annotations

import errno
import json
import logging
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from monagent.durable import sync_directory
from monagent.errors import Refused
from monagent.models import Outcome, is_sensor_name
from monagent.sensors import tree
from monagent.sensors.filesystem import exchange, move, sync_all

log = logging.getLogger(__name__)

_PREFIX = ".update-"
_RECORD = ".record"
"""No sensor can have that name."""


@dataclass(frozen=True, slots=True)
class Record:
    """One change of a sensor.

    Attributes:
        name: the sensor.
        token: what the caller knows its command by; empty when nobody will ask.
        inode: of the new version's directory.
        backup: the name of the backup that the old version becomes; empty when there is none.
        consumes: a backup that is in place again with this change, and so is no backup any more; or empty.
        watch: whether the first runs of the new version decide if it stays.
        told: whether everybody who had to hear of it has.
        outcome: what the caller is told once it is done.
    """

    name: str
    token: str
    inode: int
    backup: str
    consumes: str = ""
    watch: bool = False
    told: bool = False
    outcome: Outcome = field(default_factory=dict)


class Workshop:
    """Where the new version of one sensor is made ready."""

    def __init__(self, sensors: Path, name: str) -> None:
        self._sensors = sensors
        self.name = name
        self.path = sensors / f"{_PREFIX}{name}"
        self.version = self.path / name
        """The version in here: the new one, or after the exchange the old one."""
        self.target = sensors / name
        """Where the sensor stands."""

    @classmethod
    def left_behind(cls, sensors: Path) -> Iterator[Workshop]:
        """Those that a crash left."""
        try:
            names = os.listdir(sensors)
        except OSError:  # no sensors, or not ours to read: nothing was ever changed here
            return
        for name in sorted(names):
            sensor = name.removeprefix(_PREFIX)
            if sensor != name and is_sensor_name(sensor):
                yield cls(sensors, sensor)

    def open(self) -> None:
        """Make it, empty."""
        self.clear()
        # Others may pass through: the test may run as another user.
        self.path.mkdir(0o711)
        self.path.chmod(0o711)

    def clear(self) -> None:
        """Remove it with all that is in it."""
        if self.path.is_dir() and not self.path.is_symlink():
            # The record goes first: without it, what is left is rubbish whenever a crash comes.
            (self.path / _RECORD).unlink(missing_ok=True)
            sync_directory(self.path)
        tree.remove(self.path)

    def write_record(self, record: Record) -> None:
        """Tell what is about to happen; on disk together with the new version when this returns."""
        beside = self.path / f"{_RECORD}.new"
        beside.write_text(json.dumps(asdict(record)), "utf-8")
        sync_all(self.path)
        beside.replace(self.path / _RECORD)
        sync_directory(self.path)

    def record(self) -> Record | None:
        """What was about to happen, or None when nothing was yet."""
        try:
            stored: dict[str, Any] = json.loads((self.path / _RECORD).read_text("utf-8"))
            return Record(**stored)
        except (OSError, ValueError, TypeError):  # none, or not of ours, or of another version of monagent
            return None

    def exchange(self) -> None:
        """The step itself.

        Raises:
            Refused: the file system cannot do it.
        """
        try:
            if os.path.lexists(self.target):
                exchange(self.version, self.target)
            else:
                move(self.version, self.target)
        except OSError as error:
            raise Refused(
                f"the file system of {self._sensors} cannot put a sensor in the place of another: {error.strerror}"
            ) from error
        try:
            sync_directory(self._sensors)
            sync_directory(self.path)
        except OSError as error:
            # It has happened, and that must be told; a crash now may undo it, and the record knows what then.
            log.error("the disk does not confirm that sensor %s was replaced: %s", self.name, error.strerror)  # noqa: TRY400

    def is_done(self, record: Record) -> bool:
        """Whether the exchange that the record announces has happened."""
        try:
            return self.version.lstat().st_ino != record.inode
        except FileNotFoundError:
            return True


def put_away(old: Path, target: Path) -> None:
    """Move the old version among the backups, which may be on another file system. Done again, it does nothing.

    Raises:
        OSError: there is no room, no permission, or something else of that name; the old version stays where it is.
    """
    if not os.path.lexists(old):
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    if old.is_symlink():
        # It was made to be read beside the sensors, where it stood.
        _carry_over(old.parent.parent / os.readlink(old), target)
        old.unlink()
        sync_directory(target.parent)
        return
    try:
        move(old, target)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        _carry_over(old, target)
    sync_directory(target.parent)


def _carry_over(old: Path, target: Path) -> None:
    """Move to another file system. A crash may leave both; then what arrived is the same, or it is somebody else's."""
    if os.path.lexists(target):
        if tree.content_of(old, copied=True) != tree.content_of(target):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(target))
        return
    partial = target.with_name(f".{target.name}.partial")
    tree.remove(partial)
    try:
        tree.copy(old, partial)
        sync_all(partial)
        move(partial, target)
    except BaseException:
        tree.remove(partial)
        raise
