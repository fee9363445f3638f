"""The memory sensor against free(1) and /proc/meminfo as Python reads it."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from .runner import CLEAN_ENVIRONMENT, Sensor, bracketed, missing

# Other programs take and give back memory between two looks at it.
DRIFT_BYTES = 64 * 1024 * 1024

MODERN = """\
MemTotal:       16000000 kB
MemFree:         1000000 kB
MemAvailable:    4000000 kB
Buffers:          500000 kB
Cached:          6000000 kB
SwapCached:       100000 kB
Shmem:            700000 kB
SReclaimable:     900000 kB
SwapTotal:       3000000 kB
SwapFree:        1000000 kB
HugePages_Total:       0
"""


def meminfo() -> dict[str, int]:
    """Return what the kernel tells of memory, in bytes."""
    lines = Path("/proc/meminfo").read_text().splitlines()
    return {line.split(":")[0]: int(line.split()[1]) * 1024 for line in lines if line.endswith("kB")}


def with_meminfo(sensor: Sensor, directory: Path, text: str) -> Sensor:
    """Return the sensor on a machine with this /proc/meminfo."""
    (directory / "meminfo").write_text(text)
    return sensor.altered(directory / "check", "/proc/meminfo", f"{directory}/meminfo")


def without(text: str, *fields: str) -> str:
    """Return the text without the lines of the fields."""
    return "".join(line for line in text.splitlines(keepends=True) if line.split(":")[0] not in fields)


def test_free_and_used_are_those_of_the_kernel(shell_sensor: Sensor) -> None:
    """On this machine free is MemAvailable, and used is the rest of the total."""
    total = meminfo()["MemTotal"]

    bracketed(lambda: meminfo()["MemAvailable"], lambda: shell_sensor.number("free"), DRIFT_BYTES)
    bracketed(lambda: total - meminfo()["MemAvailable"], lambda: shell_sensor.number("used"), DRIFT_BYTES)


def test_free_is_the_available_column_of_free(sensor: Sensor) -> None:
    """Operators who compare with free(1) find the same bytes."""
    if shutil.which("free", path=CLEAN_ENVIRONMENT["PATH"]) is None:
        missing("free")

    def available() -> int:
        table = subprocess.run(
            ["free", "-b"], env=CLEAN_ENVIRONMENT, capture_output=True, text=True, check=True
        ).stdout.splitlines()
        headings, numbers = table[0].split(), table[1].split()[1:]
        return int(dict(zip(headings, numbers, strict=True))["available"])

    bracketed(available, lambda: sensor.number("free"), DRIFT_BYTES)


def test_the_percentages_are_those_of_the_bytes(shell_sensor: Sensor) -> None:
    """On this machine free_pct and used_pct are the share of MemAvailable and of the rest."""
    total = meminfo()["MemTotal"]
    drift = 100 * DRIFT_BYTES / total + 0.01

    bracketed(lambda: 100 * meminfo()["MemAvailable"] / total, lambda: shell_sensor.number("free_pct"), drift)
    bracketed(lambda: 100 - 100 * meminfo()["MemAvailable"] / total, lambda: shell_sensor.number("used_pct"), drift)


def test_used_swap_is_what_the_kernel_lists(sensor: Sensor) -> None:
    """On this machine swap_used_pct is the used column of /proc/swaps in percent of its size column."""

    def used() -> float:
        rows = [row.split() for row in Path("/proc/swaps").read_text().splitlines()[1:]]
        size = sum(int(row[-3]) for row in rows)
        return 100 * sum(int(row[-2]) for row in rows) / size if size else 0.0

    bracketed(used, lambda: sensor.number("swap_used_pct"), tolerance=1.0)


@pytest.mark.parametrize(
    ("metric", "value"),
    [
        ("free", 4000000 * 1024),
        ("used", 12000000 * 1024),
        ("free_pct", 25.0),
        ("used_pct", 75.0),
        ("swap_used_pct", 66.67),
    ],
)
def test_each_metric_is_exact(shell_sensor: Sensor, tmp_path: Path, metric: str, value: float) -> None:
    """With known numbers every metric is known to its last digit."""
    assert value == with_meminfo(shell_sensor, tmp_path, MODERN).number(metric)


def test_an_old_kernel_gets_an_estimate(shell_sensor: Sensor, tmp_path: Path) -> None:
    """Without MemAvailable free is what is unused plus the caches that can be given back."""
    old = with_meminfo(shell_sensor, tmp_path, without(MODERN, "MemAvailable"))

    assert old.number("free") == (1000000 + 500000 + 6000000 + 900000 - 700000) * 1024


def test_a_very_old_kernel_gets_an_estimate_too(shell_sensor: Sensor, tmp_path: Path) -> None:
    """Fields that kernel does not tell count as nothing."""
    text = without(MODERN, "MemAvailable", "SReclaimable", "Shmem")

    assert with_meminfo(shell_sensor, tmp_path, text).number("free") == (1000000 + 500000 + 6000000) * 1024


def test_terabytes_do_not_overflow(shell_sensor: Sensor, tmp_path: Path) -> None:
    """64 TiB, the most that common machines can hold, are told to the byte and in percent."""
    huge = with_meminfo(
        shell_sensor, tmp_path, "MemTotal: 68719476736 kB\nMemFree: 1 kB\nMemAvailable: 17179869185 kB\n"
    )

    assert huge.run("free").stdout == "17592186045440\n"
    assert huge.run("used").stdout == "52776558132224\n"
    assert huge.run("used_pct").stdout == "75.00\n"


@pytest.mark.parametrize(
    ("free", "share"),
    [(1, "0.00\n"), (6, "0.01\n"), (905, "0.91\n"), (99994, "99.99\n"), (100000, "100.00\n")],
)
def test_percentages_are_rounded_to_hundredths(shell_sensor: Sensor, tmp_path: Path, free: int, share: str) -> None:
    """Small shares keep their leading zero."""
    text = f"MemTotal: 100000 kB\nMemFree: 1 kB\nMemAvailable: {free} kB\n"

    assert share == with_meminfo(shell_sensor, tmp_path, text).run("free_pct").stdout


def test_a_container_never_has_negative_memory_in_use(shell_sensor: Sensor, tmp_path: Path) -> None:
    """Where more is available than there is at all, what is unused counts as free."""
    text = "MemTotal: 1000 kB\nMemFree: 400 kB\nMemAvailable: 9000 kB\n"

    assert with_meminfo(shell_sensor, tmp_path, text).number("used") == 600 * 1024


@pytest.mark.parametrize("text", [without(MODERN, "SwapTotal", "SwapFree"), MODERN + "SwapTotal: 0 kB\n"])
def test_without_swap_none_of_it_is_used(shell_sensor: Sensor, tmp_path: Path, text: str) -> None:
    """No swap is no error, and no division by zero."""
    assert with_meminfo(shell_sensor, tmp_path, text).number("swap_used_pct") == 0


@pytest.mark.parametrize("text", ["", "MemTotal: nan kB\n", without(MODERN, "MemTotal")])
def test_without_a_total_there_is_no_reading(shell_sensor: Sensor, tmp_path: Path, text: str) -> None:
    """A file without numbers gives a message instead of a reading."""
    assert with_meminfo(shell_sensor, tmp_path, text).run("used_pct").is_unavailable()


def test_a_machine_without_the_file_gives_no_reading(shell_sensor: Sensor, tmp_path: Path) -> None:
    """Where /proc is not mounted the sensor says so."""
    altered = shell_sensor.altered(tmp_path / "check", "/proc/meminfo", f"{tmp_path}/meminfo")

    assert altered.run("free").is_unavailable()


@pytest.mark.parametrize("arguments", [(), ("",), ("total",), ("free", "used"), ("options", "free"), ("Free",)])
def test_wrong_arguments_are_refused(shell_sensor: Sensor, arguments: tuple[str, ...]) -> None:
    """The refusal names the words that would do."""
    outcome = shell_sensor.run(*arguments)

    assert outcome.is_refusal()
    assert "free|used|free_pct|used_pct|swap_used_pct" in outcome.stderr
