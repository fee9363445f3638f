"""Read the sensor packages that the operator keeps in one directory for the agents."""

from __future__ import annotations

import logging
import os
import stat
from dataclasses import dataclass
from pathlib import Path

from monagent.errors import BadArguments
from monagent.models import is_sensor_name
from monagent.protocol import PACKAGE_LIMIT

log = logging.getLogger(__name__)

ENDINGS = (".tar.bz2", ".tar.gz", ".tar.xz")
"""Of the files, in the order in which they are looked for."""


@dataclass(frozen=True, slots=True)
class PackageRequest:
    """A host asks for the package of a sensor; `peer` is the address that it asks from."""

    sensor: str
    peer: str


class Packages:
    """The packages in one directory, which need not exist. Every call looks afresh; any thread may call."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def has(self, sensor: str) -> bool:
        """Whether there is one of that sensor to be seen, readable or not."""
        return is_sensor_name(sensor) and any(map(os.path.lexists, self._candidates(sensor)))

    def read(self, sensor: str) -> bytes:
        """The package of a sensor, whole. Symbolic links are followed: operators put them there on purpose.

        Raises:
            BadArguments: there is none, or none that can be sent. The sentence is fit for the caller: it names no path.
        """
        if not is_sensor_name(sensor):
            raise BadArguments("that is not the name of a sensor")
        for path in self._candidates(sensor):
            try:
                return _read(path)
            except OSError as error:
                # A link that leads nowhere is a mistake to be told: an older package behind it would be a surprise.
                if isinstance(error, FileNotFoundError) and not os.path.islink(path):
                    continue
                log.error("package unreadable path=%s reason=%s", path, error.strerror)  # noqa: TRY400 - a state, not a bug
                raise BadArguments(
                    "the package of that sensor cannot be read here; the server's log says why"
                ) from error
        raise BadArguments("there is no package of that sensor here")

    def _candidates(self, sensor: str) -> list[Path]:
        return [self._directory / f"{sensor}{ending}" for ending in ENDINGS]


def _read(path: Path) -> bytes:
    # Without O_NONBLOCK a FIFO would hold the thread until somebody writes to it.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise BadArguments("the package of that sensor is not a regular file")
        if status.st_size > PACKAGE_LIMIT:
            raise BadArguments(f"the package of that sensor is larger than {PACKAGE_LIMIT // 1024**2} MiB")
        with open(descriptor, "rb", closefd=False) as file:
            content = file.read(status.st_size + 1)
    finally:
        os.close(descriptor)
    if len(content) != status.st_size:
        raise BadArguments("the package of that sensor changed while it was read; try again")
    return content
