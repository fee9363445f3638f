"""The cpu sensor against /proc/stat as Python reads it, and against programs that keep processors busy."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from .runner import Sensor

FIELDS = ("user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal")

# Takes turns in a program and in the kernel, so that user, system and idle are all well above nothing.
BUSY = """
import os, time
file = os.open("/dev/zero", os.O_RDONLY)
while True:
    start = time.monotonic()
    while time.monotonic() - start < 0.02:
        pass
    for _ in range(8):
        os.read(file, 4_000_000)
"""


def counters() -> dict[str, int]:
    """Return the counters of all processors together."""
    first = Path("/proc/stat").read_text().splitlines()[0].split()
    return dict(zip(FIELDS, map(int, first[1:]), strict=False))


def shares(before: dict[str, int], after: dict[str, int]) -> dict[str, float]:
    """Return what each metric should be for the time between two looks at the counters."""
    grown = {field: max(0, after[field] - before[field]) for field in FIELDS}
    total = sum(grown.values())
    parts = {
        "used": total - grown["idle"] - grown["iowait"],
        "idle": grown["idle"],
        "user": grown["user"] + grown["nice"],
        "system": grown["system"] + grown["irq"] + grown["softirq"],
        "iowait": grown["iowait"],
    }
    return {metric: 100 * part / total for metric, part in parts.items()}


def between(sensor: Sensor, directory: Path, first: str, second: str) -> Sensor:
    """Return the sensor on a machine whose /proc/stat changes from one text to the other in the sample.

    A sleep of our own makes the change, so it comes neither too early nor too late.
    """
    (directory / "stat").write_text(first)
    (directory / "later").write_text(second)
    sleep = directory / "sleep"
    sleep.write_text(f"#!/bin/sh\n/bin/mv {directory}/later {directory}/stat\n")
    sleep.chmod(0o755)
    environment = {**sensor.environment, "PATH": f"{directory}:{sensor.environment['PATH']}"}
    altered = sensor.altered(directory / "check", "/proc/stat", f"{directory}/stat")
    return dataclasses.replace(altered, environment=environment)


@pytest.fixture
def busy_program() -> Iterator[None]:
    """Keep one processor busy, partly in the kernel."""
    with subprocess.Popen([sys.executable, "-c", BUSY]) as program:
        yield
        program.kill()


@pytest.mark.usefixtures("busy_program")
@pytest.mark.parametrize("metric", ["used", "idle", "user", "system", "iowait"])
def test_the_share_is_the_one_the_kernel_counts(sensor: Sensor, metric: str) -> None:
    """On this machine, with work to do, the reading is what Python finds over the same time.

    The two samples do not begin and end at the very same moment: a try may miss, five may not.
    """
    misses = []
    for _ in range(5):
        before = counters()
        reading = sensor.number(metric, "0.5")
        expected = shares(before, counters())[metric]
        if abs(reading - expected) <= 8:
            return
        misses.append((expected, reading))
    pytest.fail(f"the kernel counted otherwise (expected, reading): {misses}")


@pytest.mark.usefixtures("busy_program")
def test_a_busy_program_shows(shell_sensor: Sensor) -> None:
    """While a program computes, used is not nothing, whatever the shell."""
    assert any(shell_sensor.number("used", "0.2") > 0 for _ in range(10))


def test_a_sample_takes_a_second(sensor: Sensor) -> None:
    """One second is the sample if no other is asked for."""
    outcome = sensor.run("idle")

    assert outcome.status == 0
    assert outcome.seconds >= 1


@pytest.mark.parametrize("seconds", ["0.1", "0.25", "1.2"])
def test_a_sample_takes_the_time_asked_for(shell_sensor: Sensor, seconds: str) -> None:
    """Parts of a second are fine, also where busybox is all there is."""
    start = time.monotonic()
    reading = shell_sensor.number("idle", seconds)

    assert 0 <= reading <= 100
    assert time.monotonic() - start >= float(seconds)


#         user nice system idle iowait irq softirq steal guest guest_nice
BEFORE = "cpu  1000 100 500 9000 300 20 30 40 0 0\ncpu0 1 2 3 4 5 6 7 8 9 10\n"
AFTER = "cpu  1200 150 600 9500 375 25 50 90 77 33\ncpu0 9 9 9 9 9 9 9 9 9 99\n"


@pytest.mark.parametrize(
    ("metric", "value"), [("used", 42.5), ("idle", 50.0), ("user", 25.0), ("system", 12.5), ("iowait", 7.5)]
)
def test_each_metric_is_exact(shell_sensor: Sensor, tmp_path: Path, metric: str, value: float) -> None:
    """With known counters every share is known: steal counts as used, guests are in user already."""
    assert value == between(shell_sensor, tmp_path, BEFORE, AFTER).number(metric)


@pytest.mark.parametrize(
    ("metric", "value"), [("used", 40.0), ("idle", 60.0), ("user", 30.0), ("system", 10.0), ("iowait", 0.0)]
)
def test_an_old_kernel_has_fewer_counters(shell_sensor: Sensor, tmp_path: Path, metric: str, value: float) -> None:
    """Counters the kernel does not tell count as nothing."""
    altered = between(shell_sensor, tmp_path, "cpu 100 10 50 900\n", "cpu 120 20 60 960\n")

    assert value == altered.number(metric)


def test_a_counter_that_steps_back_has_not_grown(shell_sensor: Sensor, tmp_path: Path) -> None:
    """The kernel may take back idle and iowait time; no share goes below 0 or above 100 for it."""
    first, second = "cpu 100 0 0 900 500 0 0 0\n", "cpu 150 0 0 950 400 0 0 0\n"

    assert between(shell_sensor, tmp_path, first, second).number("used") == 50
    assert between(shell_sensor, tmp_path, first, second).number("iowait") == 0


def test_years_on_a_thousand_processors_do_not_overflow(shell_sensor: Sensor, tmp_path: Path) -> None:
    """Counters of 15 digits give the same shares as small ones."""
    first = "cpu 0 0 0 0 0 0 0 0\n"
    second = "cpu 250000000000000 0 0 750000000000000 0 0 0 0\n"

    assert between(shell_sensor, tmp_path, first, second).run("user").stdout == "25.00\n"


@pytest.mark.parametrize(
    ("busy", "share"),
    [(1, "0.00\n"), (1000, "0.10\n"), (60000, "6.00\n"), (666666, "66.67\n"), (1000000, "100.00\n")],
)
def test_shares_are_rounded_to_hundredths(shell_sensor: Sensor, tmp_path: Path, busy: int, share: str) -> None:
    """Small shares keep their leading zero."""
    second = f"cpu {busy} 0 0 {1_000_000 - busy} 0 0 0 0\n"

    assert share == between(shell_sensor, tmp_path, "cpu 0 0 0 0 0 0 0 0\n", second).run("used").stdout


def test_a_sample_in_which_no_time_passed_gives_no_reading(shell_sensor: Sensor, tmp_path: Path) -> None:
    """Nothing out of nothing is no percentage."""
    assert between(shell_sensor, tmp_path, BEFORE, BEFORE).run("used").is_unavailable()


@pytest.mark.parametrize("text", ["", "cpu\n", "intr 1 2 3\n", "cpu a b c d\n", "cpu0 1 2 3 4\n", "cpu 1 2 3 -4\n"])
def test_what_is_no_counter_gives_no_reading(shell_sensor: Sensor, tmp_path: Path, text: str) -> None:
    """A file that holds no counters gives a message instead of a reading."""
    assert between(shell_sensor, tmp_path, text, AFTER).run("used").is_unavailable()


def test_a_machine_without_the_file_gives_no_reading(shell_sensor: Sensor, tmp_path: Path) -> None:
    """Where /proc is not mounted the sensor says so."""
    altered = shell_sensor.altered(tmp_path / "check", "/proc/stat", f"{tmp_path}/stat")

    assert altered.run("used", "0.1").is_unavailable()


@pytest.mark.parametrize(
    "seconds",
    [
        "",
        "0",
        "0.0",
        "0.09",
        "21",
        "20.1",
        "100",
        "-1",
        "1e1",
        "nan",
        "inf",
        ".5",
        "5.",
        "1.2.3",
        "1 2",
        "1s",
        "0x5",
    ],
)
def test_a_sample_of_unreasonable_length_is_refused(shell_sensor: Sensor, seconds: str) -> None:
    """The refusal comes at once and names the bounds."""
    outcome = shell_sensor.run("used", seconds)

    assert outcome.is_refusal()
    assert "from 0.1 to 20" in outcome.stderr


@pytest.mark.parametrize("seconds", ["0.1", "1", "9.99", "19.999", "20", "20.0"])
def test_a_sample_within_the_bounds_is_taken(shell_sensor: Sensor, tmp_path: Path, seconds: str) -> None:
    """The bounds themselves are within."""
    assert between(shell_sensor, tmp_path, BEFORE, AFTER).number("used", seconds) == 42.5


@pytest.mark.parametrize(
    "arguments", [(), ("",), ("nice",), ("used", "1", "1"), ("options", "1"), ("1",), ("idle", "used")]
)
def test_wrong_arguments_are_refused(shell_sensor: Sensor, arguments: tuple[str, ...]) -> None:
    """Whatever is wrong, nothing is sampled."""
    assert shell_sensor.run(*arguments).is_refusal()
