"""The load sensor against /proc/loadavg as Python reads it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from .runner import Sensor, bracketed


@pytest.mark.parametrize(("metric", "position"), [("load1", 0), ("load5", 1), ("load15", 2)])
def test_a_load_average_is_the_one_the_kernel_tells(shell_sensor: Sensor, metric: str, position: int) -> None:
    """Each metric is the average of getloadavg(3), which rounds differently at most."""
    bracketed(lambda: os.getloadavg()[position], lambda: shell_sensor.number(metric), tolerance=0.011)


@pytest.mark.parametrize(("metric", "average"), [("load1", 120.5), ("load5", 7.04), ("load15", 0.25)])
def test_each_metric_takes_its_own_column(shell_sensor: Sensor, tmp_path: Path, metric: str, average: float) -> None:
    """The three averages are never mixed up, however much they differ."""
    (tmp_path / "loadavg").write_text("120.50 7.04 0.25 3/812 40001\n")
    altered = shell_sensor.altered(tmp_path / "check", "/proc/loadavg", f"{tmp_path}/loadavg")

    assert average == altered.number(metric)


@pytest.mark.parametrize("text", ["", "\n", "nan nan nan 1/2 3\n", "busy\n"])
def test_what_is_no_number_is_never_printed(shell_sensor: Sensor, tmp_path: Path, text: str) -> None:
    """A file that holds no averages gives a message instead of a reading."""
    (tmp_path / "loadavg").write_text(text)
    altered = shell_sensor.altered(tmp_path / "check", "/proc/loadavg", f"{tmp_path}/loadavg")

    assert altered.run("load1").is_unavailable()


def test_a_machine_without_the_file_gives_no_reading(shell_sensor: Sensor, tmp_path: Path) -> None:
    """Where /proc is not mounted the sensor says so."""
    altered = shell_sensor.altered(tmp_path / "check", "/proc/loadavg", f"{tmp_path}/loadavg")

    assert altered.run("load15").is_unavailable()


@pytest.mark.parametrize("arguments", [(), ("",), ("load",), ("load1", "load5"), ("options", "load1"), ("LOAD1",)])
def test_wrong_arguments_are_refused(shell_sensor: Sensor, arguments: tuple[str, ...]) -> None:
    """The refusal names the words that would do."""
    outcome = shell_sensor.run(*arguments)

    assert outcome.is_refusal()
    assert "load1|load5|load15" in outcome.stderr
