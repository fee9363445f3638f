"""The disk sensor against df(1)."""

from __future__ import annotations

import math
import os
import subprocess
from pathlib import Path

import pytest

from .runner import CLEAN_ENVIRONMENT, Sensor, bracketed

VOLUMES = ["/", "/dev", "/proc/../tmp"]

# What df would make of a file system with these numbers of blocks: 1000 in all, 400 of them
# unused, 300 of them for ordinary users.
BLOCKS = "os.statvfs_result((4096, {size}, 1000, 400, 300, 0, 0, 0, 0, 255))"


def df(volume: str, column: int) -> float:
    """Return a number of df, which asks the kernel and rounds by itself."""
    table = subprocess.run(
        ["df", "-kP", "--", volume], env=CLEAN_ENVIRONMENT, capture_output=True, text=True, check=True
    )
    return float(table.stdout.split("\n")[1].split()[column].rstrip("%"))


@pytest.mark.parametrize("volume", VOLUMES)
@pytest.mark.parametrize(("metric", "column"), [("used", 2), ("free", 3)])
def test_kilobytes_are_those_of_df(sensor: Sensor, volume: str, metric: str, column: int) -> None:
    """Used and free are the columns Used and Available of df -k."""
    bracketed(lambda: df(volume, column), lambda: sensor.number(metric, volume))


@pytest.mark.parametrize("volume", VOLUMES)
def test_the_percentage_is_the_rest_of_what_df_calls_used(sensor: Sensor, volume: str) -> None:
    """100 - percent is the Use% of df, which rounds up."""
    bracketed(lambda: df(volume, 4), lambda: math.ceil(100 - sensor.number("percent", volume)))


@pytest.mark.parametrize("volume", VOLUMES)
def test_the_percentage_is_that_of_the_kilobytes_of_df(sensor: Sensor, volume: str) -> None:
    """To the hundredth, percent is Available / (Used + Available)."""

    def percent() -> float:
        used, free = df(volume, 2), df(volume, 3)
        return 100 * free / (used + free)

    bracketed(percent, lambda: sensor.number("percent", volume), tolerance=0.0051)


@pytest.mark.parametrize(
    ("metric", "size", "reading"),
    [
        ("percent", 4096, "33.33"),
        ("used", 4096, "2400"),
        ("free", 4096, "1200"),
        ("free", 512, "150"),
        ("used", 1, "1"),
    ],
)
def test_each_metric_is_exact(sensor: Sensor, tmp_path: Path, metric: str, size: int, reading: str) -> None:
    """Blocks kept for root count neither as free nor as used; a part of a KB counts as one."""
    altered = sensor.altered(tmp_path / "check", "os.statvfs(volume)", BLOCKS.format(size=size))

    assert f"{reading}\n" == altered.run(metric, "/").stdout


def test_any_path_on_the_volume_will_do(sensor: Sensor, tmp_path: Path) -> None:
    """A file deep below the mount point tells of the same file system."""
    file = tmp_path / "file"
    file.touch()

    bracketed(lambda: df(str(tmp_path), 2), lambda: sensor.number("used", str(file)))


@pytest.mark.parametrize("name", ["-k", "--help", "two words", " ", "line\nend", "options", "$(id)", "*", "été", "%s"])
def test_an_odd_name_is_a_name(sensor: Sensor, tmp_path: Path, name: str) -> None:
    """A path is taken letter by letter, also one that looks like an option."""
    (tmp_path / name).mkdir()

    assert sensor.started_in(tmp_path).number("free", name) > 0


def test_a_name_that_is_not_utf8_is_a_name(sensor: Sensor, tmp_path: Path) -> None:
    """Any bytes that the file system takes are fine."""
    name = os.fsdecode(b"caf\xe9")
    (tmp_path / name).mkdir()

    assert sensor.started_in(tmp_path).number("free", name) > 0


@pytest.mark.parametrize("metric", ["percent", "used", "free"])
@pytest.mark.parametrize("volume", ["/no/such/volume", "/etc/passwd/below", "", "\udcff"])
def test_a_volume_that_is_not_there_gives_no_reading(sensor: Sensor, metric: str, volume: str) -> None:
    """There is a message and exit status 1, never a number."""
    assert sensor.run(metric, volume).is_unavailable()


def test_a_file_system_without_blocks_has_no_percentage(sensor: Sensor) -> None:
    """Where nothing can be stored at all, there is no share of it."""
    assert sensor.run("percent", "/proc").is_unavailable()


@pytest.mark.parametrize(
    "arguments",
    [(), ("",), ("free",), ("/",), ("inodes", "/"), ("free", "/", "/"), ("options", "/"), ("-h",)],
)
def test_wrong_arguments_are_refused(sensor: Sensor, arguments: tuple[str, ...]) -> None:
    """The refusal shows what would do."""
    outcome = sensor.run(*arguments)

    assert outcome.is_refusal()
    assert "percent|used|free VOLUME" in outcome.stderr
