"""What stops a sync before anything is changed."""

from __future__ import annotations

import os
import shutil
import sqlite3
from pathlib import Path

import pytest

from monagent.errors import SyncStopped
from monagent.sync import guards
from monagent.sync.job import CHECK, DRY_RUN
from monagent.sync.manifest import Manifest
from tests.support.trees import look, write
from tests.unit.sync.conftest import Pair, settle


def stopped(pair: Pair, what: str, code: int = 74, **options: object) -> None:
    """A run does nothing, and says why."""
    before = look(pair.target) if pair.target.is_dir() else None
    report = pair.sync(**options)

    assert report.stopped
    assert what in report.message
    assert report.exit_code == code
    assert report.outcome()["status"] == "error"
    assert (look(pair.target) if pair.target.is_dir() else None) == before


def test_a_source_that_is_gone(pair: Pair) -> None:
    """Empties nothing."""
    pair.sync()
    pair.source.rename(pair.source.with_name("away"))
    stopped(pair, "is not there: is it mounted?", delete=True)


def test_a_source_that_is_empty(pair: Pair) -> None:
    """As an unmounted one is."""
    pair.sync()
    shutil.rmtree(pair.source)
    pair.source.mkdir()
    stopped(pair, "is empty: is it mounted?", delete=True, max_delete="100%", max_shrink="100%", accept=True)


def test_a_source_of_which_everything_is_excluded(pair: Pair) -> None:
    """Is as good as empty."""
    pair.sync()
    stopped(pair, "nothing of the source", delete=True, max_delete="100%", exclude=("*",), accept=True)


def test_a_source_that_is_a_file(pair: Pair) -> None:
    """Is no directory."""
    shutil.rmtree(pair.source)
    pair.source.write_text("x")
    stopped(pair, "is no directory")


def test_a_source_that_shrank(pair: Pair) -> None:
    """By more than is allowed, as a share or as a number; `accept` takes it as it is."""
    pair.sync()
    settle()
    shutil.rmtree(pair.source / "d0")
    stopped(pair, "of 23 entries that the source", delete=True)
    stopped(pair, "more than max_shrink = 7", max_shrink="7")
    stopped(pair, "more than max_shrink = 30%", mode=DRY_RUN)
    assert "a sync would stop" in pair.sync(CHECK).warnings[1]
    assert pair.sync(max_shrink="8").exit_code == 0
    assert pair.sync(DRY_RUN).exit_code == 0
    assert pair.sync().exit_code == 0, "from now on that is its size"


def test_a_source_of_which_everything_was_renamed(pair: Pair) -> None:
    """Has lost what it had, though it has as many entries."""
    pair.sync()
    settle()
    for path in list(pair.source.glob("*/f*")):
        path.rename(path.with_name(f"{path.name}.locked"))
    stopped(pair, "20 are gone")


def test_a_source_that_shrank_can_be_accepted(pair: Pair) -> None:
    """By a person who looked."""
    pair.sync()
    settle()
    shutil.rmtree(pair.source / "d0")
    assert pair.sync(accept=True, delete=True, max_delete="50%").exit_code == 0
    assert look(pair.source) == look(pair.target)


@pytest.mark.parametrize("side", ["source", "target"])
def test_another_device_than_last_time(pair: Pair, side: str) -> None:
    """Something else is mounted there, or nothing."""
    pair.sync()
    manifest = Manifest(pair.state)
    manifest.learn(f"{side}-device", "id 1234")
    manifest.commit()
    manifest.close()

    stopped(pair, f"the {side} {getattr(pair, side)} is on another file system than last time")
    assert pair.sync(accept=True).exit_code == 0
    assert pair.sync().exit_code == 0


def test_a_target_that_is_gone(pair: Pair) -> None:
    """Is not made anew in what may be the mount point of the backup's disk."""
    pair.sync()
    shutil.rmtree(pair.target)
    stopped(pair, "was there last time and is gone")
    assert pair.sync(accept=True).exit_code == 0
    assert look(pair.source) == look(pair.target)


def test_a_target_that_never_was_is_not_made_for_a_check(pair: Pair) -> None:
    """A check changes nothing."""
    assert pair.sync(CHECK).exit_code == 74
    assert not pair.target.exists()


@pytest.mark.parametrize("point", ["source", "target", ""])
def test_a_mount_of_fstab_that_is_missing(
    pair: Pair, point: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Also where it belongs above a root."""
    fstab = tmp_path / "fstab"
    fstab.write_text(f"# comment\n\n/dev/sdz1 {(tmp_path / point)} ext4 defaults 0 2\n/dev/x / ext4 defaults 0 1\n")
    monkeypatch.setattr(guards, "_FSTAB", fstab)
    stopped(pair, "is not mounted: /etc/fstab has a file system for")


@pytest.mark.parametrize(
    ("source", "target", "what"),
    [
        ("source", "source", "are the same directory"),
        ("source", "source/inner", "is inside the source"),
        ("source/d0", "source", "is inside the target"),
        ("source", "link", "are the same directory"),
        ("source", "link/inner", "is inside the source"),
    ],
)
def test_roots_inside_each_other(pair: Pair, source: str, target: str, what: str) -> None:
    """By whatever name."""
    base = pair.source.parent
    (base / "link").symlink_to(pair.source)
    (pair.source / "inner").mkdir()
    before = look(pair.source)
    pair.source, pair.target = base / source, base / target
    report = pair.sync()

    assert (what in report.message, report.exit_code) == (True, 78)
    assert look(base / "source") == before


def test_one_run_at_a_time(pair: Pair) -> None:
    """By the job's lock, and by the target's, which another job may share."""
    with guards.locked(pair.state), pytest.raises(SyncStopped, match="another run of this job") as caught:
        pair.sync()
    assert caught.value.exit_code == 75

    pair.sync()
    descriptor = os.open(pair.target, os.O_RDONLY)
    guards._lock(descriptor, "")
    stopped(pair, "another sync works on", 75)
    os.close(descriptor)
    assert pair.sync().exit_code == 0


def test_one_file_system_is_a_warning(pair: Pair) -> None:
    """It is no second copy when the disk dies."""
    assert pair.sync().warnings == ["source and target are on one file system: when it is lost, both are"]


def test_a_bin_of_somebody_else_is_not_used(pair: Pair) -> None:
    """Whoever can write there could read, or put back, what was deleted."""
    pair.sync()
    settle()
    place = pair.target.with_name("target.monagent-bin")
    place.mkdir(exist_ok=True)
    place.chmod(0o777)
    write(pair.source, {"d0/f0": "changed"})
    stopped(pair, "is not ours alone")


def test_a_link_in_the_place_of_the_bin_is_not_followed(pair: Pair, tmp_path: Path) -> None:
    """Nothing is moved elsewhere."""
    pair.sync()
    settle()
    (tmp_path / "elsewhere").mkdir()
    place = pair.target.with_name("target.monagent-bin")
    place.symlink_to(tmp_path / "elsewhere")
    write(pair.source, {"d0/f0": "changed"})
    stopped(pair, "the bin")
    assert not list((tmp_path / "elsewhere").iterdir())


def test_a_reader_sees_the_history_during_a_run(pair: Pair) -> None:
    """Nobody is kept waiting."""
    from monagent.sync.manifest import history  # noqa: PLC0415

    pair.sync()
    manifest = Manifest(pair.state)
    manifest.learn("x", "y" * 10_000_000)
    try:
        runs, facts = history(pair.state, 10)
    finally:
        manifest.close()

    assert ([run.status for run in runs], "key" in facts) == (["ok"], False)
    with pytest.raises(sqlite3.ProgrammingError):
        manifest._database.execute("SELECT 1")
