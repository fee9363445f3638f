"""Real file systems that are full, read-only, elsewhere or have coarse clocks, on small images."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from monagent.sync.job import CHECK, FULL_CHECK, SyncJob
from monagent.sync.report import Report
from monagent.sync.run import run
from tests.support.rights import needs_root
from tests.support.trees import look, make_nasty, write

pytestmark = [needs_root, pytest.mark.usefixtures("own_umask")]

Mount = Callable[..., Path]


@pytest.fixture
def mount(tmp_path: Path) -> Iterator[Mount]:
    """Makes a file system in a file, and mounts it at a name."""
    mounted: list[Path] = []

    def make(name: str, size: str = "8M", *options: str) -> Path:
        point, image = tmp_path / name, tmp_path / f"{name}.img"
        point.mkdir(exist_ok=True)
        subprocess.run(["truncate", "-s", size, str(image)], check=True)
        subprocess.run(["mkfs.ext4", *options, str(image)], check=True, capture_output=True)
        subprocess.run(["mount", "-o", "loop", str(image), str(point)], check=True)
        mounted.append(point)
        return point

    yield make
    for point in reversed(mounted):
        subprocess.run(["umount", "-l", str(point)], check=False)


def sync(tmp_path: Path, mode: str = "sync", *, accept: bool = False) -> Report:
    """One run."""
    job = SyncJob("job", tmp_path / "source", tmp_path / "target", tmp_path / "state", delete=True, max_delete="100%")
    return run(job, mode, accept=accept)


def test_a_full_disk_costs_what_does_not_fit(tmp_path: Path, mount: Mount) -> None:
    """Each is told by name; good copies are kept, and the rest is done once there is room."""
    target = mount("target")
    write(tmp_path / "source", {"a": "old", "z": "small"})
    assert sync(tmp_path).exit_code == 0
    write(tmp_path / "source", {"a": os.urandom(9_000_000), "m": os.urandom(9_000_000), "zz": "another"})
    report = sync(tmp_path)

    assert report.exit_code == 74
    failed = {item.path: item.detail for item in report.first if item.action == "failed"}
    assert failed == {"a": "No space left on device", "m": "No space left on device"}
    assert (target / "a").read_text() == "old"
    assert ((target / "z").read_text(), (target / "zz").read_text()) == ("small", "another")
    assert not [path for path in target.rglob("*") if path.name.startswith(".monagent-sync")]
    write(tmp_path / "source", {"a": "fits", "m": "fits, too"})
    assert sync(tmp_path).exit_code == 0


def test_a_read_only_target_is_told(tmp_path: Path, mount: Mount) -> None:
    """And one that is equal still checks as equal."""
    target = mount("target")
    write(tmp_path / "source", {"a": "1", "d/b": "2"})
    sync(tmp_path)
    subprocess.run(["mount", "-o", "remount,ro", str(target)], check=True)
    assert sync(tmp_path, CHECK).exit_code == 0
    write(tmp_path / "source", {"a": "changed"})
    report = sync(tmp_path)

    assert report.exit_code == 74
    assert [item.detail for item in report.first if item.path == "a"] == ["Read-only file system"]
    assert (target / "a").read_text() == "1"


@pytest.mark.parametrize("side", ["source", "target"])
def test_what_is_not_mounted_is_missed(tmp_path: Path, mount: Mount, side: str) -> None:
    """The directory below the mount point is no source and no target."""
    write(tmp_path / side, {"below": "the mount point"})
    mount(side)
    write(tmp_path / "source", {"a": "1"})
    assert sync(tmp_path).exit_code == 0
    assert not sync(tmp_path).warnings
    subprocess.run(["umount", str(tmp_path / side)], check=True)
    report = sync(tmp_path)

    assert "is on another file system than last time" in report.message
    assert (tmp_path / side / "below").read_text() == "the mount point"
    assert (tmp_path / "target/a").exists() == (side == "source")


def test_the_bin_of_a_mount_point_is_in_it(tmp_path: Path, mount: Mount) -> None:
    """And `lost+found` is left alone."""
    target = mount("target")
    write(tmp_path / "source", {"a": "1", "b": "2"})
    sync(tmp_path)
    (tmp_path / "source/b").unlink()
    report = sync(tmp_path, accept=True)

    assert report.exit_code == 0
    assert (target / "lost+found").is_dir()
    assert [path.read_text() for path in (target / ".monagent-bin").rglob("b")] == ["2"]
    shutil.rmtree(target / ".monagent-bin")
    (target / "lost+found").rmdir()
    assert look(tmp_path / "source") == look(target)


def test_two_mount_points_each_have_their_lost_and_found(tmp_path: Path, mount: Mount) -> None:
    """It is nobody's data."""
    source, target = mount("source"), mount("target")
    write(source, {"a": "1"})
    for _ in range(2):
        assert sync(tmp_path).exit_code == 0
    assert (target / "lost+found").is_dir()


def test_a_target_that_is_mounted_inside_the_source(tmp_path: Path) -> None:
    """By whatever name it is reached: it is found before anything is copied."""
    write(tmp_path / "source", {"sub/b": "2", "a": "1"})
    (tmp_path / "target").mkdir()
    subprocess.run(["mount", "--bind", str(tmp_path / "source/sub"), str(tmp_path / "target")], check=True)
    try:
        report = sync(tmp_path)
    finally:
        subprocess.run(["umount", str(tmp_path / "target")], check=True)

    assert (report.exit_code, "copied into itself" in report.message) == (78, True)
    assert [path.name for path in (tmp_path / "source/sub").iterdir()] == ["b"]


def test_a_nasty_tree_on_another_disk(tmp_path: Path, mount: Mount) -> None:
    """With everything that ext4 can keep."""
    target = mount("target", "64M")
    make_nasty(tmp_path / "source")
    assert (sync(tmp_path).exit_code, sync(tmp_path, FULL_CHECK).exit_code) == (0, 0)
    (target / "lost+found").rmdir()
    assert look(tmp_path / "source") == look(target)


def test_a_clock_of_whole_seconds(tmp_path: Path, mount: Mount) -> None:
    """As ext4 has it in its small inodes: the times that cannot be kept are said, and nothing is done twice."""
    target = mount("target", "16M", "-I", "128", "-q")
    write(tmp_path / "source", {"a": "1", "d/b": "2" * 100_000, "d/c": "3"})
    time.sleep(0.06)
    report = sync(tmp_path)

    assert (report.exit_code, report.outcome()["done"]) == (0, {"copied": 3, "made": 1})
    assert report.outcome()["not_kept"]["exact time"] == 5
    assert (target / "a").stat().st_mtime_ns % 10**9 == 0
    report = sync(tmp_path)
    assert (report.exit_code, report.outcome()["done"], report.tally.incomplete) == (0, {}, 3)
    status = (target / "d/c").stat()
    (target / "d/c").write_text("X")
    os.utime(target / "d/c", ns=(status.st_atime_ns, status.st_mtime_ns))
    assert sum(sync(tmp_path).outcome()["done"].values()) == 1
    assert (target / "d/c").read_text() == "3"


def test_rot_on_a_real_disk(tmp_path: Path, mount: Mount) -> None:
    """A block of the image is changed while it is not mounted: no time of any file moves."""
    target = mount("target")
    write(tmp_path / "source", {"a": b"a content that is easily found on the disk" * 100})
    time.sleep(0.06)
    assert sync(tmp_path).exit_code == 0
    subprocess.run(["umount", str(target)], check=True)
    image = tmp_path / "target.img"
    image.write_bytes(image.read_bytes().replace(b"easily found", b"EASILY found", 1))
    subprocess.run(["mount", "-o", "loop", str(image), str(target)], check=True)

    assert sync(tmp_path).outcome()["done"] == {}
    report = sync(tmp_path, FULL_CHECK)
    assert (report.exit_code, [(item.action, item.path) for item in report.first]) == (1, [("rotten-copy", "a")])
    assert sync(tmp_path).outcome()["done"] == {"repaired": 1}
    assert look(tmp_path / "source")["/a"] == look(target)["/a"]
