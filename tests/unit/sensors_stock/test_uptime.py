"""The uptime sensor against the kernel's own clock."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from .runner import Sensor, bracketed


@pytest.mark.parametrize("arguments", [(), ("seconds",)])
def test_the_uptime_is_the_time_since_boot(shell_sensor: Sensor, arguments: tuple[str, ...]) -> None:
    """The reading lies between two readings of CLOCK_BOOTTIME, to the hundredths it is told in.

    In a container with a clock of its own the kernel answers both ways alike.
    """
    bracketed(
        lambda: time.clock_gettime(time.CLOCK_BOOTTIME),
        lambda: shell_sensor.number(*arguments),
        tolerance=0.02,
    )


def test_years_of_uptime_are_told_in_full(shell_sensor: Sensor, tmp_path: Path) -> None:
    """A large number is printed digit by digit, never as a power of ten."""
    (tmp_path / "uptime").write_text("1234567890.12 99999999999.99\n")
    altered = shell_sensor.altered(tmp_path / "check", "/proc/uptime", f"{tmp_path}/uptime")

    assert altered.run().stdout == "1234567890.12\n"


@pytest.mark.parametrize("text", ["", "\n", "long 12\n", "nan 1\n"])
def test_what_is_no_number_is_never_printed(shell_sensor: Sensor, tmp_path: Path, text: str) -> None:
    """A file that holds no time gives a message instead of a reading."""
    (tmp_path / "uptime").write_text(text)
    altered = shell_sensor.altered(tmp_path / "check", "/proc/uptime", f"{tmp_path}/uptime")

    assert altered.run().is_unavailable()


def test_a_machine_without_the_file_gives_no_reading(shell_sensor: Sensor, tmp_path: Path) -> None:
    """Where /proc is not mounted the sensor says so."""
    altered = shell_sensor.altered(tmp_path / "check", "/proc/uptime", f"{tmp_path}/uptime")

    assert altered.run("seconds").is_unavailable()


@pytest.mark.parametrize("arguments", [("",), ("days",), ("seconds", "seconds"), ("options", "seconds")])
def test_wrong_arguments_are_refused(shell_sensor: Sensor, arguments: tuple[str, ...]) -> None:
    """The refusal shows what would do."""
    outcome = shell_sensor.run(*arguments)

    assert outcome.is_refusal()
    assert "check [seconds]" in outcome.stderr
