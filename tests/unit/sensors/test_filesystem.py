"""Exchange, move, sync and lock: what the kernel does, and what is made of its refusals."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from monagent import durable
from monagent.sensors import filesystem
from monagent.sensors.filesystem import exchange, lock_directory, move, sync_all
from tests.unit.sensors.packages import lay, open_descriptors, snapshot
from tests.unit.sensors_stock.runner import missing

SOON = 10.0


@pytest.fixture
def elsewhere(tmp_path: Path) -> Iterator[Path]:
    """A directory on another file system."""
    shared = Path("/dev/shm")
    if not shared.is_dir() or shared.stat().st_dev == tmp_path.stat().st_dev:
        missing("a second file system")
    with tempfile.TemporaryDirectory(dir=shared) as directory:
        yield Path(directory)


class OldKernel:
    """A C library whose calls fail."""

    def __init__(self, number: int) -> None:
        self._number = number

    def renameat2(self, *_arguments: object) -> int:
        """As a file system answers that has no flags."""
        ctypes.set_errno(self._number)
        return -1

    syncfs = renameat2


@pytest.fixture
def fails_with(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Makes the kernel refuse from now on."""

    def use(number: int) -> None:
        for module in (filesystem, durable):
            monkeypatch.setattr(module, "_libc", OldKernel(number))

    return use


# -- exchange -------------------------------------------------------------------------------------------------------


def test_two_directories_swap_their_names(tmp_path: Path) -> None:
    """With all that is in them, and the inodes go with the contents."""
    one, other = lay(tmp_path / "one", {"a": "1"}), lay(tmp_path / "sub" / "other", {"b": "2"})
    inodes = one.stat().st_ino, other.stat().st_ino
    exchange(one, other)

    assert ((other / "a").read_text(), (one / "b").read_text()) == ("1", "2")
    assert (other.stat().st_ino, one.stat().st_ino) == inodes


def test_nobody_ever_sees_a_name_missing(tmp_path: Path) -> None:
    """However often two directories swap while somebody looks."""
    one, other = lay(tmp_path / "one", {"check": "1"}), lay(tmp_path / "other", {"check": "2"})
    seen, stop = set(), threading.Event()

    def look() -> None:
        while not stop.is_set():
            try:
                seen.add((one / "check").read_text())
            except OSError as error:
                seen.add(str(error))

    watcher = threading.Thread(target=look)
    watcher.start()
    until = time.monotonic() + 1
    while time.monotonic() < until:
        exchange(one, other)
    stop.set()
    watcher.join()

    assert seen == {"1", "2"}


def test_a_link_swaps_as_a_link(tmp_path: Path) -> None:
    """What it leads to is not touched."""
    real, new = lay(tmp_path / "real", {"a": "old"}), lay(tmp_path / "new", {"a": "new"})
    (tmp_path / "link").symlink_to("real")
    exchange(new, tmp_path / "link")

    assert (tmp_path / "link" / "a").read_text() == "new"
    assert (real / "a").read_text() == "old"
    assert os.readlink(new) == "real"


def test_an_exchange_with_nothing_is_an_error(tmp_path: Path) -> None:
    """And changes nothing."""
    one = lay(tmp_path / "one", {"a": "1"})
    before = snapshot(tmp_path)

    with pytest.raises(FileNotFoundError) as caught:
        exchange(one, tmp_path / "nothing")
    assert (caught.value.filename, caught.value.filename2) == (str(one), str(tmp_path / "nothing"))
    assert snapshot(tmp_path) == before


def test_an_exchange_across_file_systems_is_an_error(tmp_path: Path, elsewhere: Path) -> None:
    """EXDEV, as the kernel says it."""
    with pytest.raises(OSError, match="cross-device") as caught:
        exchange(lay(tmp_path / "one", {"a": "1"}), lay(elsewhere / "other", {}))
    assert caught.value.errno == errno.EXDEV


@pytest.mark.parametrize("number", [errno.EINVAL, errno.ENOSYS, errno.EXDEV])
def test_a_file_system_that_cannot_exchange_says_so(
    tmp_path: Path, fails_with: Callable[[int], None], number: int
) -> None:
    """There is no second best: two renames would leave a moment without a sensor."""
    one, other = lay(tmp_path / "one", {"a": "1"}), lay(tmp_path / "other", {"b": "2"})
    before = snapshot(tmp_path)
    fails_with(number)

    with pytest.raises(OSError, match=os.strerror(number)) as caught:
        exchange(one, other)
    assert caught.value.errno == number
    assert snapshot(tmp_path) == before


# -- move -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("old_kernel", [False, True])
def test_a_directory_moves_to_a_free_name(tmp_path: Path, fails_with: Callable[[int], None], old_kernel: bool) -> None:
    """Also where the file system knows no flags."""
    source = lay(tmp_path / "source", {"a": "1"})
    if old_kernel:
        fails_with(errno.EINVAL)
    move(source, tmp_path / "target")

    assert (tmp_path / "target" / "a").read_text() == "1"
    assert not source.exists()


@pytest.mark.parametrize("old_kernel", [False, True])
@pytest.mark.parametrize("taken", ["full", "empty", "file", "link"])
def test_a_name_that_is_taken_is_not_overwritten(
    tmp_path: Path, fails_with: Callable[[int], None], old_kernel: bool, taken: str
) -> None:
    """Not even by a directory in the place of an empty one, which rename(2) would do."""
    source = lay(tmp_path / "source", {"a": "1"})
    lay(tmp_path / "full", {"b": "2"})
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to("empty")
    before = snapshot(tmp_path)
    if old_kernel:
        fails_with(errno.ENOSYS)

    with pytest.raises(FileExistsError):
        move(source, tmp_path / taken)
    assert snapshot(tmp_path) == before


def test_a_move_to_another_file_system_is_an_error(tmp_path: Path, elsewhere: Path) -> None:
    """EXDEV; whoever asked copies instead."""
    source = lay(tmp_path / "source", {"a": "1"})

    with pytest.raises(OSError, match="cross-device") as caught:
        move(source, elsewhere / "target")
    assert caught.value.errno == errno.EXDEV
    assert (source / "a").exists()


def test_names_that_are_no_text_can_be_moved(tmp_path: Path) -> None:
    """People can make such directories by hand."""
    source = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff"))
    source.mkdir()
    move(source, tmp_path / "target")

    assert (tmp_path / "target").is_dir()


# -- sync -----------------------------------------------------------------------------------------------------------


def test_a_file_system_is_synced_by_any_path_on_it(tmp_path: Path) -> None:
    """A directory or a file; no descriptor stays open."""
    (tmp_path / "file").touch()
    before = open_descriptors()
    sync_all(tmp_path)
    sync_all(tmp_path / "file")

    assert open_descriptors() == before


def test_a_sync_that_fails_is_an_error(tmp_path: Path, fails_with: Callable[[int], None]) -> None:
    """What is not on disk must not count as if it were."""
    before = open_descriptors()
    fails_with(errno.EIO)

    with pytest.raises(OSError, match="Input/output"):
        sync_all(tmp_path)
    with pytest.raises(FileNotFoundError):
        sync_all(tmp_path / "nothing")
    assert open_descriptors() == before


# -- locks ----------------------------------------------------------------------------------------------------------


def test_one_lock_at_a_time(tmp_path: Path) -> None:
    """The second waits as long as it was told, and gets nothing."""
    first = lock_directory(tmp_path, 0)
    assert first is not None
    descriptors = open_descriptors()
    begun = time.monotonic()

    assert lock_directory(tmp_path, 0.2) is None
    assert 0.2 <= time.monotonic() - begun < SOON
    assert open_descriptors() == descriptors
    os.close(first)


def test_a_lock_that_becomes_free_is_taken(tmp_path: Path) -> None:
    """Soon after, by a thread that waits."""
    first = lock_directory(tmp_path, 0)
    assert first is not None
    threading.Timer(0.2, os.close, (first,)).start()
    second = lock_directory(tmp_path, SOON)

    assert second is not None
    os.close(second)


def test_the_lock_of_a_killed_process_is_free(tmp_path: Path) -> None:
    """Nothing needs to be cleared away after a crash."""
    program = "import sys, time; from pathlib import Path; from monagent.sensors.filesystem import lock_directory\n"
    program += "lock_directory(Path(sys.argv[1]), 0); print('locked', flush=True); time.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", program, tmp_path], stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        other.stdout.readline()
        assert lock_directory(tmp_path, 0) is None
        other.kill()
        other.wait()
    mine = lock_directory(tmp_path, SOON)

    assert mine is not None
    os.close(mine)


def test_a_lock_holds_only_for_its_own_directory(tmp_path: Path) -> None:
    """Neither for what is in it nor for one that takes its name."""
    (tmp_path / "load").mkdir()
    outer = lock_directory(tmp_path, 0)
    inner = lock_directory(tmp_path / "load", 0)
    (tmp_path / "load").rename(tmp_path / "moved")
    (tmp_path / "load").mkdir()
    newer = lock_directory(tmp_path / "load", 0)

    assert None not in (outer, inner, newer)
    for descriptor in (outer, inner, newer):
        os.close(descriptor or -1)


def test_only_directories_are_locked(tmp_path: Path) -> None:
    """What is not there or something else is an error, at once."""
    (tmp_path / "file").touch()

    with pytest.raises(NotADirectoryError):
        lock_directory(tmp_path / "file", SOON)
    with pytest.raises(FileNotFoundError):
        lock_directory(tmp_path / "nothing", SOON)


def test_a_file_system_without_locks_is_no_obstacle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One agent a directory needs none."""

    def flock(_descriptor: int, _operation: int) -> None:
        raise OSError(errno.ENOLCK, "no locks available")

    monkeypatch.setattr(fcntl, "flock", flock)
    descriptor = lock_directory(tmp_path, 0)

    assert descriptor is not None
    os.close(descriptor)
