"""Small files are whole, whatever happens while they are written."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from monagent.durable import sync_directory, write_whole
from tests.unit.sensors.packages import Calls, cut_off, fill, open_descriptors, small_disk

OLD, NEW = "old " * 5000, "new ä\n" * 5000


def test_a_file_is_made_and_replaced(tmp_path: Path) -> None:
    """In UTF-8, and with nothing beside it."""
    for text in ("", "ä\n", NEW, "short"):
        write_whole(tmp_path / "file", text)

        assert (tmp_path / "file").read_bytes() == text.encode()
    assert os.listdir(tmp_path) == ["file"]


def test_a_crash_at_any_moment_leaves_the_whole_old_or_the_whole_new_one(tmp_path: Path) -> None:
    """Killed before and after each call; and what a crash left beside it does not disturb the next writing."""
    file = tmp_path / "file"
    seen, point, ended = set(), 0, False
    while not ended:
        file.write_text(OLD)
        ended = cut_off(point, lambda: write_whole(file, NEW))
        seen.add(file.read_text())
        point += 1

    assert seen == {OLD, NEW}
    assert file.read_text() == NEW
    assert point > 6


def test_a_crash_leaves_no_half_of_a_first_one(tmp_path: Path) -> None:
    """Nothing, or all."""
    point, ended = 0, False
    while not ended:
        (tmp_path / "file").unlink(missing_ok=True)
        ended = cut_off(point, lambda: write_whole(tmp_path / "file", NEW))

        assert not (tmp_path / "file").exists() or (tmp_path / "file").read_text() == NEW
        point += 1


def test_whoever_reads_meanwhile_sees_a_whole_one(tmp_path: Path) -> None:
    """However often it is replaced."""
    file = tmp_path / "file"
    file.write_text(OLD)
    seen, stop = set(), threading.Event()

    def read() -> None:
        while not stop.is_set():
            seen.add(file.read_text())

    reader = threading.Thread(target=read)
    reader.start()
    for _ in range(50):
        write_whole(file, NEW)
        write_whole(file, OLD)
    stop.set()
    reader.join()

    assert seen <= {OLD, NEW}


def test_the_content_is_on_disk_before_the_name_and_the_name_before_the_return(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A power loss may come between any two calls."""
    calls = Calls(monkeypatch)
    write_whole(tmp_path / "file", "x")

    beside = str(tmp_path / f".file.{os.getpid()}.new")
    assert calls.made == [("fsync", beside), ("replace", beside), ("fsync", str(tmp_path))]


def test_a_full_disk_leaves_the_old_one(tmp_path: Path) -> None:
    """And takes no room for itself: what cannot be finished is cleared away."""
    with small_disk(tmp_path / "disk", "64k") as disk:
        write_whole(disk / "file", "old")
        fill(disk)
        with pytest.raises(OSError, match="No space left"):
            write_whole(disk / "file", "new" * 10000)

        assert (disk / "file").read_text() == "old"
        assert sorted(os.listdir(disk)) == ["ballast", "file"]


def test_a_directory_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    """Nothing is made on the way, and no descriptor stays open."""
    (tmp_path / "file").touch()
    before = open_descriptors()
    with pytest.raises(FileNotFoundError):
        write_whole(tmp_path / "no" / "file", "x")
    with pytest.raises(FileNotFoundError):
        sync_directory(tmp_path / "no")
    with pytest.raises(NotADirectoryError):
        sync_directory(tmp_path / "file")

    assert os.listdir(tmp_path) == ["file"]
    assert open_descriptors() == before


def test_a_directory_is_synced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By its own descriptor."""
    calls = Calls(monkeypatch)
    sync_directory(tmp_path)

    assert calls.made == [("fsync", str(tmp_path))]
