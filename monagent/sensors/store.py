"""Know which sensors are installed, and what each one's program and limits are."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from monagent.models import NAGIOS, NUMBER, UNBOUNDED, Bounds, Sensor, is_sensor_name
from monagent.sensors.inventory import UNKNOWN, Installed, installed


@dataclass(frozen=True, slots=True)
class SensorDefaults:
    """What holds for every sensor that has no section of its own. `timeout` in seconds, `output_limit` in bytes."""

    path: Path
    executable: str = "check"
    timeout: float = 30.0
    output_limit: int = 65536
    user: str = ""
    help_argument: str = "options"
    bounds: Bounds = UNBOUNDED


@dataclass(frozen=True, slots=True)
class SensorOverride:
    """A `[sensor:NAME]` section: what is not None replaces the default; `command` is a program with its arguments."""

    command: tuple[str, ...] | None = None
    timeout: float | None = None
    output_limit: int | None = None
    user: str | None = None
    format: str = NUMBER
    bounds: Bounds | None = None
    overlap: bool = False


class SensorStore:
    """The sensors of one agent. Looking one up costs one stat, so that an installed one is found at once."""

    def __init__(self, defaults: SensorDefaults, overrides: Mapping[str, SensorOverride]) -> None:
        self._defaults = defaults
        self._prefix = os.path.join(defaults.path, "")
        self._overrides = dict(overrides)

    def find(self, name: str) -> Sensor | None:
        """The sensor of that name, or None when neither a directory nor a section has it.

        A directory is enough: a sensor whose program is missing exists, and its run says what is wrong with it.
        """
        if not is_sensor_name(name):
            return None
        override = self._overrides.get(name, _NO_OVERRIDE)
        folder = self.directory(name)
        if override.command is None and not os.path.isdir(folder):
            return None
        return self._sensor(name, override, folder)

    def at(self, name: str, folder: Path) -> Sensor:
        """That sensor as it would be if its directory were `folder`: the same limits, another program."""
        return self._sensor(name, self._overrides.get(name, _NO_OVERRIDE), os.fspath(folder))

    def _sensor(self, name: str, override: SensorOverride, folder: str) -> Sensor:
        command = override.command or (os.path.join(folder, self._defaults.executable),)
        return Sensor(
            name=name,
            command=command,
            timeout=self._defaults.timeout if override.timeout is None else override.timeout,
            output_limit=self._defaults.output_limit if override.output_limit is None else override.output_limit,
            user=self._defaults.user if override.user is None else override.user,
            format=override.format,
            # Plug-ins in the style of Nagios have one of their own.
            help_argument="--help" if override.format == NAGIOS else self._defaults.help_argument,
            bounds=override.bounds or self._defaults.bounds,
            overlap=override.overlap,
        )

    @property
    def path(self) -> Path:
        """The directory of the sensors."""
        return self._defaults.path

    def directory(self, name: str) -> str:
        """Where a sensor of that name stands, or would stand."""
        return f"{self._prefix}{name}"

    def overlaps(self, name: str) -> bool:
        """Whether two runs of it with the same arguments may overlap."""
        return self._overrides.get(name, _NO_OVERRIDE).overlap

    def surroundings(self) -> set[tuple[str, Bounds]]:
        """Each user that sensors run as, empty for ourselves, and the bounds they have."""
        default = self._defaults
        return {(default.user, default.bounds)} | {
            (default.user if override.user is None else override.user, override.bounds or default.bounds)
            for override in self._overrides.values()
        }

    def is_elsewhere(self, name: str) -> bool:
        """Whether a section names a program of its own for it, so that its directory is not used."""
        return self._overrides.get(name, _NO_OVERRIDE).command is not None

    def installed(self, name: str) -> Installed:
        """What version of a sensor stands here; `UNKNOWN` where that cannot be told. Runs nothing."""
        return UNKNOWN if self.is_elsewhere(name) else installed(self.directory(name))

    def names(self) -> list[str]:
        """Every sensor there is, sorted."""
        try:
            folders = {entry.name for entry in os.scandir(self._defaults.path) if entry.is_dir()}
        except OSError:  # not there, or not ours to read: no sensor of it could be run either
            folders = set()
        configured = {name for name, override in self._overrides.items() if override.command is not None}
        return sorted(name for name in folders | configured if is_sensor_name(name))


_NO_OVERRIDE = SensorOverride()
