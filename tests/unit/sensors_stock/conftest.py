"""The interpreters that the sensors must run under."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from .runner import CLEAN_ENVIRONMENT, SENSORS, Sensor, missing

# All that a sensor in shell may need besides the shell.
SHELL_SENSORS_NEED = ("cat", "sleep")


@pytest.fixture(scope="session")
def busybox_path(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return a PATH with busybox alone, as on the smallest systems."""
    busybox = shutil.which("busybox")
    if busybox is None:
        missing("busybox")
    directory = tmp_path_factory.mktemp("busybox")
    for name in ("busybox", *SHELL_SENSORS_NEED):
        (directory / name).symlink_to(busybox)
    return str(directory)


@pytest.fixture
def sensor(request: pytest.FixtureRequest) -> Sensor:
    """Return the sensor that the module tests, found by the name of the module."""
    name = Path(request.path).stem.removeprefix("test_")
    return Sensor(program=SENSORS / name / "check")


@pytest.fixture(params=["as shipped", "busybox ash", "bash"])
def shell_sensor(sensor: Sensor, request: pytest.FixtureRequest) -> Sensor:
    """Return the sensor that the module tests, once for each shell it may meet as /bin/sh."""
    if request.param == "busybox ash":
        path: str = request.getfixturevalue("busybox_path")
        interpreter = (f"{path}/busybox", "ash")
        return Sensor(program=sensor.program, interpreter=interpreter, environment={"PATH": path})
    if request.param == "bash":
        bash = shutil.which("bash", path=CLEAN_ENVIRONMENT["PATH"])
        if bash is None:
            missing("bash")
        return Sensor(program=sensor.program, interpreter=(bash, "--posix"))
    return sensor
