"""What all stock sensors have in common."""

from __future__ import annotations

import dataclasses
import os
import shutil
import stat
import subprocess
from pathlib import Path

import pytest

from .runner import SENSORS, Sensor, missing

METRICS = {
    "cpu": ("used", "idle", "user", "system", "iowait"),
    "disk": ("percent", "used", "free"),
    "file": ("age", "size"),
    "http": (),
    "load": ("load1", "load5", "load15"),
    "memory": ("free", "used", "free_pct", "used_pct", "swap_used_pct"),
    "network": ("rx", "tx"),
    "processes": ("running", "total", "zombies", "count NAME"),
    "tcp": (),
    "uptime": ("seconds",),
}

# What a metric needs besides its name.
MORE = {
    "cpu": ("0.1",),
    "disk": ("/",),
    "file": ("/",),
    "network": ("lo",),
}

IN_SHELL = ("cpu", "load", "memory", "network", "uptime")

every_sensor = pytest.mark.parametrize("name", METRICS)
every_shell_sensor = pytest.mark.parametrize("name", IN_SHELL)
every_metric = pytest.mark.parametrize(
    ("name", "metric"), [(name, metric) for name, metrics in METRICS.items() for metric in metrics]
)


def stock(name: str) -> Sensor:
    """Return the sensor of that name."""
    return Sensor(program=SENSORS / name / "check")


def example(name: str, metric: str) -> tuple[str, ...]:
    """Return arguments that give a reading on any machine."""
    return (*metric.replace("NAME", "init").split(), *MORE.get(name, ()))


def test_these_are_all_the_sensors() -> None:
    """No sensor is forgotten here."""
    assert set(METRICS) == {check.parent.name for check in SENSORS.glob("*/check")}


@every_sensor
def test_a_sensor_is_one_executable_file(name: str) -> None:
    """Its folder holds the program alone, which anybody may run and only its owner may change."""
    assert os.listdir(SENSORS / name) == ["check"]

    status = (SENSORS / name / "check").lstat()
    assert stat.S_ISREG(status.st_mode)
    assert stat.S_IMODE(status.st_mode) & 0o555 == 0o555


@every_sensor
def test_the_language_is_one_that_any_system_has(name: str) -> None:
    """The first line names sh or python3, and nothing else."""
    first = (SENSORS / name / "check").read_text().splitlines()[0]

    assert ("#!/bin/sh" if name in IN_SHELL else "#!/usr/bin/env python3") == first


@every_sensor
def test_the_help_is_free_text(name: str) -> None:
    """It comes on stdout with exit status 0 and begins with how to call the program."""
    outcome = stock(name).run("options")

    assert (outcome.status, outcome.stderr) == (0, "")
    assert outcome.stdout.startswith("check ")
    assert "\nExample: check " in outcome.stdout
    assert max(map(len, outcome.stdout.splitlines())) <= 100


@every_metric
def test_the_help_explains_every_metric(name: str, metric: str) -> None:
    """Each has a line of its own that begins with its name."""
    lines = stock(name).run("options").stdout.splitlines()

    assert any(line.startswith(f"  {metric}  ") for line in lines), lines


@every_shell_sensor
def test_the_help_is_the_same_under_busybox(name: str, busybox_path: str) -> None:
    """The smallest systems show it too."""
    small = Sensor(
        program=SENSORS / name / "check",
        interpreter=(f"{busybox_path}/busybox", "ash"),
        environment={"PATH": busybox_path},
    )

    assert stock(name).run("options").stdout == small.run("options").stdout


@every_metric
def test_every_metric_is_one_number(name: str, metric: str) -> None:
    """A reading is one finite number on a line of its own and nothing else."""
    stock(name).number(*example(name, metric))


@every_sensor
def test_a_wrong_metric_is_refused(name: str) -> None:
    """The message shows the right call and where to read more."""
    outcome = stock(name).run("nonsense", "/", "1", "1")

    assert outcome.is_refusal()
    assert "use: check " in outcome.stderr
    assert '"check options"' in outcome.stderr


@every_metric
def test_a_reading_that_cannot_be_delivered_is_a_failure(name: str, metric: str) -> None:
    """Where stdout takes nothing, the exit status tells."""
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            [SENSORS / name / "check", *example(name, metric)],
            env=dict(stock(name).environment),
            stdin=subprocess.DEVNULL,
            stdout=full,
            stderr=subprocess.DEVNULL,
            check=False,
        )

    assert done.returncode != 0


@every_metric
def test_the_language_of_the_user_changes_nothing(name: str, metric: str) -> None:
    """A locale with a decimal comma leaves the point where it is."""
    stock(name).within(LC_ALL="de_DE.UTF-8", LANG="de_DE.UTF-8").number(*example(name, metric))


@every_metric
def test_an_empty_environment_will_do(name: str, metric: str) -> None:
    """Besides PATH a sensor needs nothing of its environment."""
    sensor = stock(name)
    bare = dataclasses.replace(sensor, environment={"PATH": sensor.environment["PATH"]})

    bare.number(*example(name, metric))


@every_shell_sensor
@pytest.mark.parametrize("shell", ["dash", "bash --posix", "busybox ash"])
def test_the_grammar_is_that_of_any_shell(name: str, shell: str) -> None:
    """Every shell that may be /bin/sh can read the program."""
    interpreter, *flags = shell.split()
    if shutil.which(interpreter) is None:
        missing(interpreter)

    subprocess.run([interpreter, *flags, "-n", SENSORS / name / "check"], check=True)


@every_shell_sensor
def test_shellcheck_finds_nothing(name: str) -> None:
    """Not even a note on style."""
    if shutil.which("shellcheck") is None:
        missing("shellcheck")

    done = subprocess.run(
        ["shellcheck", "--shell=sh", SENSORS / name / "check"], capture_output=True, text=True, check=False
    )

    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.parametrize("name", sorted(set(METRICS) - set(IN_SHELL)))
def test_a_sensor_leaves_nothing_behind(name: str, tmp_path: Path) -> None:
    """Running it writes no compiled files beside it."""
    folder = tmp_path / name
    shutil.copytree(SENSORS / name, folder)
    Sensor(program=folder / "check").run("options")

    assert os.listdir(folder) == ["check"]
