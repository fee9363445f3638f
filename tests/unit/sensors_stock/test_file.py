"""The file sensor against os.stat and the clock."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

import pytest

from .runner import CLEAN_ENVIRONMENT, Sensor, bracketed


@pytest.mark.parametrize("age", [0.0, 0.25, 90.5, 86_400.0, 1e9])
def test_the_age_is_the_time_since_the_last_change(sensor: Sensor, tmp_path: Path, age: float) -> None:
    """A file last changed so long ago is at least that old, and no older than the test."""
    file = tmp_path / "file"
    file.touch()
    changed = time.time() - age
    os.utime(file, (time.time(), changed))

    bracketed(lambda: time.time() - changed, lambda: sensor.number("age", str(file)), tolerance=0.001)


def test_the_age_is_not_that_of_the_last_look(sensor: Sensor, tmp_path: Path) -> None:
    """Reading a file or changing its mode does not make it younger."""
    file = tmp_path / "file"
    file.touch()
    os.utime(file, (time.time(), time.time() - 1000))
    file.chmod(0o600)

    assert sensor.number("age", str(file)) >= 1000


def test_the_age_agrees_with_the_clock_of_date(sensor: Sensor, tmp_path: Path) -> None:
    """The program date, asked for the time and for the file's, finds the same difference."""
    file = tmp_path / "file"
    file.touch()
    os.utime(file, (0, 1_000_000_000))

    def date(*arguments: str) -> int:
        done = subprocess.run(
            ["date", *arguments, "+%s"], env=CLEAN_ENVIRONMENT, capture_output=True, text=True, check=True
        )
        return int(done.stdout)

    bracketed(lambda: date() - date("-r", str(file)), lambda: sensor.number("age", str(file)), tolerance=1.001)


def test_a_change_in_the_future_is_a_negative_age(sensor: Sensor, tmp_path: Path) -> None:
    """A wrong clock is told honestly instead of hidden behind a 0."""
    file = tmp_path / "file"
    file.touch()
    os.utime(file, (0, time.time() + 500))

    assert -500 <= sensor.number("age", str(file)) < -400


@pytest.mark.parametrize("size", [0, 1, 4097, 5_000_000_000])
def test_the_size_is_in_bytes(sensor: Sensor, tmp_path: Path, size: int) -> None:
    """Every byte counts, also those in holes and those beyond 32 bits."""
    file = tmp_path / "file"
    file.touch()
    os.truncate(file, size)

    assert f"{size}\n" == sensor.run("size", str(file)).stdout


def test_a_link_is_followed(sensor: Sensor, tmp_path: Path) -> None:
    """A link tells of the file behind it."""
    (tmp_path / "file").write_bytes(bytes(12_345))
    (tmp_path / "link").symlink_to("file")

    assert sensor.number("size", str(tmp_path / "link")) == 12_345


def test_a_directory_has_an_age(sensor: Sensor, tmp_path: Path) -> None:
    """A directory gets younger when an entry is added."""
    os.utime(tmp_path, (0, 1_000_000_000))
    assert sensor.number("age", str(tmp_path)) > 100_000_000

    (tmp_path / "entry").touch()
    assert sensor.number("age", str(tmp_path)) < 1000


@pytest.mark.parametrize("name", ["-l", "--help", "two words", " ", "line\nend", "options", "$(id)", "*", "été", "%s"])
def test_an_odd_name_is_a_name(sensor: Sensor, tmp_path: Path, name: str) -> None:
    """A path is taken letter by letter, also one that looks like an option."""
    (tmp_path / name).write_bytes(bytes(77))

    assert sensor.started_in(tmp_path).number("size", name) == 77


def test_a_name_that_is_not_utf8_is_a_name(sensor: Sensor, tmp_path: Path) -> None:
    """Any bytes that the file system takes are fine."""
    name = os.fsdecode(b"caf\xe9")
    (tmp_path / name).write_bytes(bytes(77))

    assert sensor.started_in(tmp_path).number("size", name) == 77


@pytest.mark.parametrize("metric", ["age", "size"])
@pytest.mark.parametrize("path", ["missing", "file/below", "dangling", "circle", "", "\udcff"])
def test_a_file_that_is_not_there_gives_no_reading(sensor: Sensor, tmp_path: Path, metric: str, path: str) -> None:
    """There is a message and exit status 1, never a number."""
    (tmp_path / "file").touch()
    (tmp_path / "dangling").symlink_to("missing")
    (tmp_path / "circle").symlink_to("circle")

    assert sensor.started_in(tmp_path).run(metric, path).is_unavailable()


@pytest.mark.parametrize(
    "arguments", [(), ("",), ("age",), ("/",), ("mtime", "/"), ("age", "/", "/"), ("options", "/"), ("-h",)]
)
def test_wrong_arguments_are_refused(sensor: Sensor, arguments: tuple[str, ...]) -> None:
    """The refusal shows what would do."""
    outcome = sensor.run(*arguments)

    assert outcome.is_refusal()
    assert "age|size PATH" in outcome.stderr
