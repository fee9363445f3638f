"""Which sensors there are, and under which limits each runs."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from monagent.models import NAGIOS, NUMBER, is_sensor_name
from monagent.sensors.store import SensorDefaults, SensorOverride, SensorStore


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A directory with two sensors."""
    for name in ("disk", "load"):
        program = tmp_path / name / "check"
        program.parent.mkdir()
        program.touch(0o755)
    return tmp_path


def store(folder: Path, **overrides: SensorOverride) -> SensorStore:
    """A store with limits of its own, so that defaults show."""
    return SensorStore(SensorDefaults(folder, "check", 7.0, 77, "daemon"), overrides)


def test_a_directory_is_a_sensor(folder: Path) -> None:
    """Its program and limits come from the defaults."""
    found = store(folder).find("disk")

    assert found is not None
    assert found.command == (str(folder / "disk" / "check"),)
    assert (found.name, found.timeout, found.output_limit, found.user) == ("disk", 7.0, 77, "daemon")


def test_a_section_changes_only_what_it_gives(folder: Path) -> None:
    """Each option stands for itself, and an empty user means nobody else."""
    found = store(folder, disk=SensorOverride(timeout=1.5), load=SensorOverride(user="", output_limit=5))
    disk, load = found.find("disk"), found.find("load")

    assert disk is not None
    assert load is not None
    assert (disk.timeout, disk.output_limit, disk.user) == (1.5, 77, "daemon")
    assert (load.timeout, load.output_limit, load.user) == (7.0, 5, "")


def test_a_section_with_a_command_needs_no_directory(folder: Path) -> None:
    """It is found and listed, with its own arguments first."""
    plugin = store(folder, plugin=SensorOverride(command=("/usr/lib/plugin", "-x")))
    found = plugin.find("plugin")

    assert found is not None
    assert found.command == ("/usr/lib/plugin", "-x")
    assert plugin.names() == ["disk", "load", "plugin"]


def test_a_section_says_how_the_output_is_read(folder: Path) -> None:
    """Of a program elsewhere and of a directory alike; one number when it does not say."""
    plugin = SensorOverride(command=("/usr/lib/plugin",), format=NAGIOS)
    formats = store(folder, plugin=plugin, disk=SensorOverride(format=NAGIOS), load=SensorOverride(timeout=1.0))
    found = [formats.find(name) for name in ("plugin", "disk", "load")]

    assert [one.format for one in found if one is not None] == [NAGIOS, NAGIOS, NUMBER]


def test_a_section_without_a_command_is_no_sensor_by_itself(folder: Path) -> None:
    """Limits for a sensor that is not installed make none."""
    limits_only = store(folder, ghost=SensorOverride(timeout=1.0))

    assert limits_only.find("ghost") is None
    assert limits_only.names() == ["disk", "load"]


def test_a_sensor_whose_program_is_missing_still_exists(folder: Path) -> None:
    """Its run says what is wrong with it."""
    (folder / "empty").mkdir()

    assert store(folder).find("empty") is not None
    assert "empty" in store(folder).names()


def test_a_sensor_is_found_as_soon_as_it_is_installed_and_gone_when_it_is_removed(folder: Path) -> None:
    """Nothing is cached."""
    watched = store(folder)

    assert watched.find("new") is None
    (folder / "new").mkdir()
    assert watched.find("new") is not None
    (folder / "new").rmdir()
    assert watched.find("new") is None


def test_a_link_to_a_directory_is_a_sensor(folder: Path) -> None:
    """An update may swap one link for another."""
    (folder / "linked").symlink_to("disk")

    assert store(folder).find("linked") is not None
    assert "linked" in store(folder).names()


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".",
        "..",
        "../disk",
        "disk/",
        "/disk",
        "disk/../load",
        ".hidden",
        "-rf",
        "a b",
        "disk\n",
        "dísk",
        "a\0b",
        "x" * 65,
    ],
)
def test_a_name_that_is_none_finds_nothing(folder: Path, name: str) -> None:
    """No name leads out of the directory, whatever lies there."""
    assert not is_sensor_name(name)
    assert store(folder, **{name: SensorOverride(command=("/bin/true",))}).find(name) is None


@pytest.mark.parametrize("name", ["a", "9", "_x", "disk-usage_2.old", "x" * 64])
def test_a_name_may_hold_letters_digits_and_three_marks(folder: Path, name: str) -> None:
    """Up to 64 characters."""
    (folder / name).mkdir()

    assert store(folder).find(name) is not None


def test_what_is_no_sensor_is_not_listed(folder: Path) -> None:
    """Files, hidden directories and names that none can have are passed over."""
    (folder / "README").touch()
    (folder / ".git").mkdir()
    (folder / "with blank").mkdir()
    os.mkdir(os.fsencode(folder) + b"/\xff\xfe")

    assert store(folder).names() == ["disk", "load"]


def test_a_missing_directory_holds_no_sensors(tmp_path: Path) -> None:
    """That is no error: it may come later."""
    assert store(tmp_path / "nowhere").names() == []
    assert store(tmp_path / "nowhere").find("disk") is None
