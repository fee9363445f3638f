"""The workshop: what is in it before and after the exchange, and how the old version gets out of it."""

from __future__ import annotations

import ctypes
import errno
import json
import os
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from monagent.errors import Refused
from monagent.sensors import filesystem, swap, tree
from monagent.sensors.swap import Record, Workshop, put_away
from tests.unit.sensors.packages import Calls, Files, cut_off, fill, lay, numbered, small_disk, snapshot, version
from tests.unit.sensors_stock.runner import missing

OLD: Files = version("old")
NEW: Files = version("new")


@pytest.fixture
def sensors(tmp_path: Path) -> Path:
    """The directory of the sensors, with one in it."""
    lay(tmp_path / "sensors" / "load", OLD)
    return tmp_path / "sensors"


@pytest.fixture
def workshop(sensors: Path) -> Workshop:
    """An open one with a new version in it."""
    return ready(sensors, "load")


@pytest.fixture
def elsewhere(tmp_path: Path) -> Iterator[Path]:
    """A directory on another file system."""
    shared = Path("/dev/shm")
    if not shared.is_dir() or shared.stat().st_dev == tmp_path.stat().st_dev:
        missing("a second file system")
    with tempfile.TemporaryDirectory(dir=shared) as directory:
        yield Path(directory)


def ready(sensors: Path, name: str) -> Workshop:
    """Open a workshop and put a version there."""
    made = Workshop(sensors, name)
    made.open()
    lay(made.version, NEW)
    return made


def record_of(workshop: Workshop) -> Record:
    """What the updater would write down."""
    inode = workshop.version.stat().st_ino
    return Record(workshop.name, "token", inode, "load_2026", "load_2025", watch=True, told=True, outcome={"a": [1]})


# -- the workshop ---------------------------------------------------------------------------------------------------


def test_others_may_pass_through_a_workshop_and_not_look_around(sensors: Path) -> None:
    """The test of a version may run as another user, who must get at its program. No umask changes that."""
    before = os.umask(0o077)
    try:
        Workshop(sensors, "load").open()
    finally:
        os.umask(before)

    assert stat.filemode((sensors / ".update-load").stat().st_mode) == "drwx--x--x"


def test_opening_clears_what_was_there(workshop: Workshop) -> None:
    """Even a record."""
    workshop.write_record(record_of(workshop))
    workshop.open()

    assert list(workshop.path.iterdir()) == []


def test_clearing_leaves_nothing(workshop: Workshop, sensors: Path) -> None:
    """And may be done twice."""
    workshop.write_record(record_of(workshop))
    workshop.clear()
    workshop.clear()

    assert os.listdir(sensors) == ["load"]


def test_the_record_goes_first(workshop: Workshop) -> None:
    """A clearing that is cut off anywhere leaves rubbish that nobody takes for an update."""
    sensors, point, ended = workshop.path.parent, 0, False
    while not ended:
        workshop = ready(sensors, "load")
        workshop.write_record(record_of(workshop))
        ended = cut_off(point, workshop.clear)

        if workshop.record() is not None:
            assert numbered(workshop.version) == "new"
        point += 1
    assert not workshop.path.exists()


def test_a_record_comes_back_as_it_was_written(workshop: Workshop) -> None:
    """With the outcome that the caller is told."""
    written = record_of(workshop)

    assert workshop.record() is None
    workshop.write_record(written)
    assert workshop.record() == written


def test_a_record_is_whole_or_not_there(workshop: Workshop) -> None:
    """Killed at each step of its writing."""
    written, point, ended = record_of(workshop), 0, False
    while not ended:
        (workshop.path / ".record").unlink(missing_ok=True)
        ended = cut_off(point, lambda: workshop.write_record(written))

        assert workshop.record() in (None, written)
        point += 1
    assert workshop.record() == written


def test_the_new_version_and_the_record_are_on_disk_before_the_record_counts(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a power loss a record must not speak of files that are not there."""
    written = record_of(workshop)
    calls = Calls(monkeypatch)
    workshop.write_record(written)

    (synced,) = calls.at("syncfs", workshop.path)
    (counts,) = calls.at("replace", workshop.path / ".record.new")
    (named,) = calls.at("fsync", workshop.path)
    assert synced < counts < named


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "5", "{}", '{"name": "load"}', '{"odd": 1}', "\0\0", "\udcff"])
def test_a_record_that_is_none_is_none(workshop: Workshop, text: str) -> None:
    """Whatever it holds."""
    (workshop.path / ".record").write_bytes(text.encode("utf-8", "surrogateescape"))

    assert workshop.record() is None


def test_a_workshop_that_is_not_there_has_no_record(sensors: Path) -> None:
    """Neither has one that somebody made a file of."""
    (sensors / ".update-file").touch()

    assert Workshop(sensors, "load").record() is None
    assert Workshop(sensors, "file").record() is None


@pytest.mark.parametrize("name", ["record", "record.new", "x.new", "load", "_", "x" * 64])
def test_every_name_of_a_sensor_has_a_workshop(sensors: Path, name: str) -> None:
    """None is in the way of what else is in there."""
    workshop = ready(sensors, name)
    written = record_of(workshop)
    workshop.write_record(written)

    assert workshop.record() == written
    workshop.exchange()
    assert numbered(sensors / name) == "new"
    assert workshop.is_done(written)


def test_those_left_behind_are_found_by_their_names(sensors: Path) -> None:
    """And nothing else is taken for one."""
    for name in (".update-load", ".update-a.b", ".update-", ".update-.hidden", ".update--x", "update-x", ".other"):
        (sensors / name).mkdir()

    assert [(one.name, one.path) for one in Workshop.left_behind(sensors)] == [
        ("a.b", sensors / ".update-a.b"),
        ("load", sensors / ".update-load"),
    ]
    assert list(Workshop.left_behind(sensors / "nowhere")) == []


# -- the exchange ---------------------------------------------------------------------------------------------------


def test_after_the_exchange_the_old_version_is_in_the_workshop(workshop: Workshop) -> None:
    """Both whole."""
    record = record_of(workshop)
    assert not workshop.is_done(record)
    workshop.exchange()

    assert (numbered(workshop.target), numbered(workshop.version)) == ("new", "old")
    assert workshop.is_done(record)


def test_a_new_sensor_has_nothing_to_exchange_with(sensors: Path) -> None:
    """It is simply there then."""
    workshop = ready(sensors, "disk")
    record = record_of(workshop)
    workshop.exchange()

    assert numbered(sensors / "disk") == "new"
    assert not workshop.version.exists()
    assert workshop.is_done(record)


def test_the_names_are_on_disk_when_the_exchange_returns(workshop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the sensors and of the workshop."""
    calls = Calls(monkeypatch)
    workshop.exchange()

    (exchanged,) = calls.at("exchange", workshop.target)
    assert calls.at("fsync", workshop.target.parent) > [exchanged]
    assert calls.at("fsync", workshop.path) > [exchanged]


@pytest.mark.parametrize("number", [errno.EINVAL, errno.ENOSYS, errno.EXDEV, errno.EPERM])
def test_a_file_system_that_cannot_exchange_is_a_refusal(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """It names the file system's directory and its reason, and both versions are where they were."""

    class Libc:
        def renameat2(self, *_arguments: object) -> int:
            ctypes.set_errno(number)
            return -1

    monkeypatch.setattr(filesystem, "_libc", Libc())
    record = record_of(workshop)

    with pytest.raises(Refused, match=f"file system of .*sensors.*: {os.strerror(number)}"):
        workshop.exchange()
    assert (numbered(workshop.target), numbered(workshop.version)) == ("old", "new")
    assert not workshop.is_done(record)


def test_whether_it_is_done_is_told_by_the_workshop_alone(workshop: Workshop, sensors: Path) -> None:
    """Whatever people do to the sensor meanwhile: the version before is in the workshop, or it is not."""
    record = record_of(workshop)
    (sensors / "load").rename(sensors / "by-hand")
    assert not workshop.is_done(record)
    lay(sensors / "load", NEW)
    assert not workshop.is_done(record)
    workshop.exchange()

    (sensors / "load").rename(sensors / "elsewhere")
    assert workshop.is_done(record)
    lay(sensors / "load", NEW)
    assert workshop.is_done(record)


def test_it_is_done_when_the_old_version_has_been_put_away_already(workshop: Workshop, tmp_path: Path) -> None:
    """What follows may have been cut off behind that."""
    record = record_of(workshop)
    workshop.exchange()
    put_away(workshop.version, tmp_path / "sensors_backup" / "load_2026")

    assert workshop.is_done(record)


# -- the old version ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("far", [False, True])
def test_the_old_version_is_put_away_as_it_is(tmp_path: Path, elsewhere: Path, far: bool) -> None:
    """With its links, its modes and its times; on this file system or on another."""
    old = lay(tmp_path / "old", OLD)
    (old / "link").symlink_to("../outside")
    (old / "lib").chmod(0o750)
    os.utime(old / "README", (1, 1))
    before = tree.content_of(old)
    target = (elsewhere if far else tmp_path) / "sensors_backup" / "load_2026"
    put_away(old, target)

    assert tree.content_of(target) == before
    assert os.readlink(target / "link") == "../outside"
    assert stat.S_IMODE((target / "lib").stat().st_mode) == 0o750
    assert (target / "README").stat().st_mtime == 1
    assert os.listdir(target.parent) == ["load_2026"]
    assert far == old.exists(), "what was copied is removed with the workshop, when its copy is on disk"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
@pytest.mark.parametrize("far", [False, True])
def test_the_old_version_keeps_its_owner(tmp_path: Path, elsewhere: Path, far: bool) -> None:
    """A file that only its owner may read must stay readable for a sensor that runs as that user."""
    old = lay(tmp_path / "old", OLD)
    os.chown(old / "README", 12345, 12346)
    (old / "README").chmod(0o600)
    target = (elsewhere if far else tmp_path) / "load_2026"
    put_away(old, target)

    assert ((target / "README").stat().st_uid, (target / "README").stat().st_gid) == (12345, 12346)


@pytest.mark.parametrize("far", [False, True])
def test_putting_away_may_be_cut_off_anywhere_and_done_again(tmp_path: Path, elsewhere: Path, far: bool) -> None:
    """At each step the old version is whole in its place or among the backups, where no half of one can be seen."""
    place, point, ended = (elsewhere if far else tmp_path) / "sensors_backup", 0, False
    while not ended:
        old, target = lay(tmp_path / f"old{point}", OLD), place / f"load_{point}"
        ended = cut_off(point, lambda old=old, target=target: put_away(old, target))  # type: ignore[misc]

        assert target.exists() or numbered(old) == "old"
        assert not target.exists() or numbered(target) == "old"
        put_away(old, target)
        assert numbered(target) == "old"
        put_away(old, target)
        point += 1
    assert [name for name in os.listdir(place) if name.startswith(".")] == []


def test_a_copy_is_on_disk_before_it_has_its_name(
    tmp_path: Path, elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And the name is before the old version may be removed."""
    old, target = lay(tmp_path / "old", OLD), elsewhere / "load_2026"
    calls = Calls(monkeypatch)
    put_away(old, target)

    (synced,) = calls.at("syncfs", elsewhere / ".load_2026.partial")
    named = calls.at("move", target)[-1]
    assert synced < named < calls.at("fsync", elsewhere)[-1]


@pytest.mark.parametrize("far", [False, True])
def test_a_backup_of_somebody_else_is_not_taken_for_ours(tmp_path: Path, elsewhere: Path, far: bool) -> None:
    """Two agents may share the directory of backups: the old version stays when its name is taken."""
    old = lay(tmp_path / "old", OLD)
    target = lay((elsewhere if far else tmp_path) / "load_2026", NEW)

    with pytest.raises(OSError, match="exists"):
        put_away(old, target)
    assert (numbered(old), numbered(target)) == ("old", "new")


def test_a_full_disk_leaves_the_old_version_in_its_place(tmp_path: Path) -> None:
    """Whole; and nothing of it among the backups takes the room that is left."""
    old = lay(tmp_path / "old", {**OLD, "big": bytes(500_000)})
    with small_disk(tmp_path / "disk", "256k") as disk:
        before = snapshot(old), os.listdir(disk)
        with pytest.raises(OSError, match="No space left"):
            put_away(old, disk / "load_2026")

        assert (snapshot(old), os.listdir(disk)) == before
        fill(disk).unlink()


def test_what_is_no_file_is_put_away_too(tmp_path: Path, elsewhere: Path) -> None:
    """A sensor that people installed may have made a FIFO for itself; an update must not stumble over it for ever."""
    old = lay(tmp_path / "old", OLD)
    os.mkfifo(old / "fifo")
    put_away(old, elsewhere / "load_2026")

    assert numbered_without(elsewhere / "load_2026", "fifo") == "old"


def test_what_is_no_file_is_put_away_by_the_second_try_as_well(tmp_path: Path, elsewhere: Path) -> None:
    """A crash after the copy leaves both; a FIFO, which is not copied, does not make them two versions."""
    old = lay(tmp_path / "old", OLD)
    os.mkfifo(old / "lib" / "fifo")
    for _ in range(2):
        put_away(old, elsewhere / "load_2026")

    assert numbered(elsewhere / "load_2026") == "old"
    assert os.listdir(elsewhere) == ["load_2026"]


def numbered_without(directory: Path, name: str) -> str:
    """Which version it is but for that file."""
    (directory / name).unlink(missing_ok=True)
    return numbered(directory)


def test_a_record_is_json_that_people_can_read(workshop: Workshop) -> None:
    """In an emergency somebody will look at it."""
    workshop.write_record(record_of(workshop))
    stored = json.loads((workshop.path / swap._RECORD).read_text())

    assert stored["name"] == "load"
    assert stored["backup"] == "load_2026"
