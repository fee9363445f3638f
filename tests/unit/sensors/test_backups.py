"""The replaced versions of sensors, and their names."""

from __future__ import annotations

import logging
import os
import subprocess
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monagent.errors import Refused
from monagent.sensors import tree
from monagent.sensors.backups import Backups
from tests.unit.sensors.packages import lay, small_disk, snapshot

NOON = datetime(2026, 11, 22, 12, 0, 0, tzinfo=UTC).timestamp()


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Where backups go."""
    return tmp_path / "sensors_backup"


def names(paths: list[Path]) -> list[str]:
    """Without their directory."""
    return [path.name for path in paths]


# -- names ----------------------------------------------------------------------------------------------------------


def test_a_backup_is_named_by_its_sensor_and_the_time(place: Path) -> None:
    """To the second, cut and not rounded."""
    assert Backups(place, 5).next("load", NOON) == "load_2026-11-22T12:00:00"
    assert Backups(place, 5).next("disk-usage_2.old", NOON + 59.999) == "disk-usage_2.old_2026-11-22T12:00:59"


def test_the_time_is_the_same_in_every_time_zone(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """UTC, so that no hour comes twice in a year."""
    monkeypatch.setenv("TZ", "Pacific/Kiritimati")
    time.tzset()
    try:
        assert Backups(place, 5).next("load", NOON) == "load_2026-11-22T12:00:00"
    finally:
        monkeypatch.undo()
        time.tzset()


def test_many_backups_in_one_second_never_collide(place: Path) -> None:
    """Each is a second later than the one before, so that the newest is the last by name."""
    backups, made = Backups(place, 100), []
    for _ in range(70):
        made.append(backups.next("load", NOON + 0.5))
        lay(place / made[-1], {})

    assert made == sorted(set(made))
    assert made[-1] == "load_2026-11-22T12:01:09"
    assert names(backups.of("load")) == made


@given(st.lists(st.integers(-(10**5), 10**5), min_size=1, max_size=8))
def test_however_the_clock_jumps_the_newest_comes_last(jumps: list[int]) -> None:
    """Backwards, too."""
    with tempfile.TemporaryDirectory() as work:
        backups, made = Backups(Path(work), 100), []
        for jump in jumps:
            made.append(backups.next("load", NOON + jump))
            (Path(work) / made[-1]).mkdir()

        assert names(backups.of("load")) == made == sorted(set(made))


def test_a_failed_version_counts_for_the_next_name(place: Path) -> None:
    """So that no two share a second, not even with different endings."""
    lay(place / "load_2026-11-22T12:00:00.failed", {})

    assert Backups(place, 5).next("load", NOON) == "load_2026-11-22T12:00:01"


@pytest.mark.parametrize("stray", ["load_9999-99-99T99:99:99", "load_2027-02-30T00:00:00"])
def test_a_name_that_is_no_time_is_nobodys_backup(place: Path, stray: str) -> None:
    """Somebody made it by hand; the next backup gets a name all the same."""
    lay(place / stray, {})

    assert Backups(place, 5).next("load", NOON).startswith("load_20")


# -- which there are ------------------------------------------------------------------------------------------------


def test_the_backups_of_one_sensor_are_no_other_ones(place: Path) -> None:
    """However alike their names are; and nothing else counts."""
    for name in (
        "load_2026-01-02T00:00:00", "load_2026-01-01T00:00:00", "load_2_2026-01-03T00:00:00",
        "lo_2026-01-04T00:00:00", "load_2026-01-05T00:00:00.failed", ".load_2026-01-06T00:00:00.partial",
        "load", "load_", "load_2026-01-07", "load_2026-01-08T00:00:00.old", "load_2026-01-09T00:00:00Z",
        "xload_2026-01-10T00:00:00", "load.2026-01-11T00:00:00", "load_2026-01-12T00:00:00_2026-01-13T00:00:00",
    ):  # fmt: skip
        lay(place / name, {})
    backups = Backups(place, 5)

    assert names(backups.of("load")) == [
        "load_2026-01-01T00:00:00",
        "load_2026-01-02T00:00:00",
        "load_2026-01-05T00:00:00.failed",
    ]
    assert names(backups.of("load_2")) == ["load_2_2026-01-03T00:00:00"]
    assert backups.of("oad") == []


def test_the_newest_is_never_one_that_failed(place: Path) -> None:
    """It is for people to look at."""
    lay(place / "load_2026-01-01T00:00:00", {})
    lay(place / "load_2026-01-02T00:00:00.failed", {})
    lay(place / "disk_2026-01-02T00:00:00.failed", {})
    backups = Backups(place, 5)

    assert backups.newest("load") == place / "load_2026-01-01T00:00:00"
    assert backups.newest("disk") is None


def test_where_nothing_was_ever_replaced_there_are_none(place: Path) -> None:
    """And looking makes nothing."""
    backups = Backups(place, 5)
    backups.prune("load")

    assert (backups.of("load"), backups.newest("load")) == ([], None)
    assert not place.exists()


# -- room -----------------------------------------------------------------------------------------------------------


def test_a_directory_that_can_be_made_is_room_enough(tmp_path: Path) -> None:
    """Asking makes nothing, neither it nor those above it."""
    Backups(tmp_path / "a" / "b", 5).require_room()
    (tmp_path / "a").mkdir()
    Backups(tmp_path / "a" / "b", 5).require_room()
    (tmp_path / "link").symlink_to("a")
    Backups(tmp_path / "link", 5).require_room()

    assert sorted(os.listdir(tmp_path)) == ["a", "link"]
    assert os.listdir(tmp_path / "a") == []


def test_what_cannot_be_a_directory_is_refused(tmp_path: Path) -> None:
    """A file in its place, or in the place of one above it, or a link that leads nowhere."""
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to("nowhere")
    before = snapshot(tmp_path)
    for path in (tmp_path / "file", tmp_path / "file" / "below", tmp_path / "link", tmp_path / "link" / "below"):
        with pytest.raises(Refused, match="cannot be made"):
            Backups(path, 5).require_room()

    assert snapshot(tmp_path) == before


def test_a_directory_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    """For root that takes a disk that is read-only."""
    with small_disk(tmp_path / "disk", "64k") as disk:
        subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
        for path in (disk, disk / "below"):
            with pytest.raises(Refused, match=f"{path} cannot be written"):
                Backups(path, 5).require_room()


# -- keeping --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("keep", "at_least", "stay"),
    [(5, 0, 4), (4, 0, 4), (3, 0, 3), (2, 0, 2), (1, 0, 1), (0, 0, 0), (0, 1, 1), (1, 1, 1), (2, 1, 2)],
)
def test_the_newest_are_kept(place: Path, keep: int, at_least: int, stay: int) -> None:
    """As many as are wanted, and of this sensor alone."""
    made = [f"load_2026-01-0{day}T00:00:00" for day in (1, 2, 3, 4)]
    for name in [*made, "disk_2025-01-01T00:00:00", "load", "load_2025"]:
        lay(place / name, {"lib/a": "x"})
    backups = Backups(place, keep)
    backups.prune("load", at_least)

    assert names(backups.of("load")) == made[len(made) - stay :]
    assert {"disk_2025-01-01T00:00:00", "load", "load_2025"} <= set(os.listdir(place))


def test_a_link_among_the_backups_goes_without_what_it_leads_to(tmp_path: Path, place: Path) -> None:
    """A sensor that was a link has a backup that is one."""
    outside = lay(tmp_path / "outside", {"a": "x"})
    place.mkdir()
    (place / "load_2026-01-01T00:00:00").symlink_to(outside)
    Backups(place, 0).prune("load")

    assert os.listdir(place) == []
    assert (outside / "a").exists()


def test_one_that_cannot_be_removed_is_told_and_keeps_no_other(
    place: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The update that came before it is done all the same."""
    for day in (1, 2, 3):
        lay(place / f"load_2026-01-0{day}T00:00:00", {"a": "x"})
    real = tree.remove

    def remove(path: Path) -> None:
        if "01-02" in path.name:
            raise PermissionError(1, "Operation not permitted", str(path))
        real(path)

    monkeypatch.setattr(tree, "remove", remove)
    with caplog.at_level(logging.WARNING):
        Backups(place, 1).prune("load")

    assert sorted(os.listdir(place)) == ["load_2026-01-02T00:00:00", "load_2026-01-03T00:00:00"]
    assert "load_2026-01-02T00:00:00 cannot be removed: Operation not permitted" in caplog.text
