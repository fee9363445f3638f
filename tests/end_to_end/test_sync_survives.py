"""A backup that is being made is killed, written into and raced with; at every moment each of its files is whole."""

from __future__ import annotations

import contextlib
import os
import random
import select
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from monagent.sync.job import SyncJob
from monagent.sync.report import Report
from monagent.sync.run import run
from tests.support.processes import is_running
from tests.support.trees import look, write

pytestmark = pytest.mark.usefixtures("own_umask")

KILLS = 50
"""Of each of four tests."""
FILES = 150

_RUN = """
import os, sys
from pathlib import Path
from monagent.sync import crew
from monagent.sync.job import SyncJob
from monagent.sync.run import run
source, target, state, alone = sys.argv[1:]
crew.ALONE_FILES = int(alone)
for line in sys.stdin:
    pid = os.fork()
    if pid == 0:
        run(SyncJob("job", Path(source), Path(target), Path(state), delete=True, max_delete="100%"), accept=True)
        os._exit(0)
    print(pid, flush=True)
    print(os.waitpid(pid, 0)[1], flush=True)
"""
"""Runs the job in a process of its own for each line that it reads, and tells its number and how it ended."""
_WRITE = """
import sys, time
with open(sys.argv[1], "ab", buffering=0) as file:
    while True:
        file.write(b"x" * 100_000)
        time.sleep(0.0001)
"""


def content(name: str, version: int) -> bytes:
    """Of one version of one file; some are longer than what is read at once."""
    line = f"{name} {version:06d}\n".encode()
    return line * (6000 if name.endswith("7") else 60)


def write_version(source: Path, version: int, dice: random.Random) -> None:
    """Change most files, remove some, bring some back."""
    for number in range(FILES):
        name = f"d{number % 4}/f{number}"
        if dice.random() < 0.1 and (source / name).exists():
            (source / name).unlink()
        else:
            write(source, {name: content(name, version)})


def broken(target: Path, versions: range) -> list[str]:
    """The files of the backup that are not, from the first byte to the last, one of their versions."""
    found = []
    for path in target.rglob("f*"):
        name = str(path.relative_to(target))
        if path.is_file() and path.read_bytes() not in [content(name, version) for version in versions]:
            found.append(name)
    return found


@pytest.mark.parametrize("alone", [0, 10_000])
@pytest.mark.parametrize("seed", [1, 2])
def test_kill_9_leaves_every_file_whole(tmp_path: Path, seed: int, alone: int) -> None:
    """Old or new; what was half done vanishes with the next run."""
    source, target, state = tmp_path / "source", tmp_path / "target", tmp_path / "state"
    dice = random.Random(seed)
    write_version(source, 0, dice)
    seconds, cut_off = 0.3, 0
    with subprocess.Popen(
        [sys.executable, "-c", _RUN, str(source), str(target), str(state), str(alone)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        bufsize=0,
    ) as nursery:
        assert nursery.stdin is not None
        assert nursery.stdout is not None
        for version in range(1, KILLS + 1):
            if version % 3:  # the others find what the one before has left
                write_version(source, version, dice)
            nursery.stdin.write(b"go\n")
            begun, pid = time.monotonic(), int(nursery.stdout.readline())
            if select.select([nursery.stdout], [], [], dice.uniform(0, seconds))[0]:
                seconds = min(seconds, 1.2 * (time.monotonic() - begun))
            if is_running(pid):
                os.kill(pid, signal.SIGKILL)
            cut_off += nursery.stdout.readline().strip() == b"9"
            if target.exists():
                assert broken(target, range(version + 1)) == []
        nursery.stdin.close()
    wait_for_lock(state)

    assert cut_off > KILLS // 4
    report = run(SyncJob("job", source, target, state, delete=True, max_delete="100%"), accept=True)
    assert report.exit_code == 0, report.message
    assert look(source) == look(target)


def wait_for_lock(state: Path) -> None:
    """The workers of a run that was killed are gone a moment after it."""
    until = time.monotonic() + 10
    while time.monotonic() < until:
        done = subprocess.run(["flock", "--nonblock", str(state / "lock"), "true"], check=False)
        if done.returncode == 0:
            return
        time.sleep(0.05)
    raise AssertionError("the lock is still held")


def job(tmp_path: Path) -> Report:
    """One run."""
    return run(SyncJob("job", tmp_path / "source", tmp_path / "target", tmp_path / "state"))


def test_a_file_that_changes_all_the_time_is_unstable(tmp_path: Path) -> None:
    """The copy before it is kept, the rest is done, and the report says so."""
    write(tmp_path / "source", {"log": "first", "other": "o"})
    time.sleep(0.06)
    job(tmp_path)
    writer = subprocess.Popen([sys.executable, "-c", _WRITE, str(tmp_path / "source/log")])
    try:
        while (tmp_path / "source/log").stat().st_size < 30_000_000:
            time.sleep(0.01)
        write(tmp_path / "source", {"new": "n"})
        report = job(tmp_path)
    finally:
        writer.kill()
        writer.wait()

    assert (report.exit_code, report.keep_changing) == (1, True)
    assert report.outcome()["left"] == {"unstable": 1}
    assert (tmp_path / "target/log").read_text() == "first"
    assert (tmp_path / "target/new").read_text() == "n"
    assert job(tmp_path).exit_code == 0
    assert look(tmp_path / "source") == look(tmp_path / "target")


def test_a_source_that_is_rearranged_meanwhile_diverts_nothing(tmp_path: Path) -> None:
    """Directories become links to elsewhere and back, files become pipes: nothing hangs, nothing leaves the tree."""
    source, target, outside = tmp_path / "source", tmp_path / "target", tmp_path / "outside"
    write(outside, {"f": "secret", "f1": "secret"})
    for number in range(20):
        write(source, {f"d{number}/f": f"{number}", f"d{number}/f1": "1"})
    before = look(outside)
    stop = threading.Event()

    def rearrange(root: Path) -> None:
        dice = random.Random(str(root))
        while not stop.is_set():
            place, aside = root / f"d{dice.randrange(20)}", root / "aside"
            with contextlib.suppress(OSError):
                if not place.is_symlink():
                    place.rename(aside)
                    place.symlink_to(outside)
                    time.sleep(0.0005)
            with contextlib.suppress(OSError):
                if place.is_symlink():  # ours: nobody else makes links here
                    place.unlink()
                aside.rename(place)
            with contextlib.suppress(OSError):
                turn_into_a_pipe_and_back(place)

    target.mkdir()
    racers = [threading.Thread(target=rearrange, args=(root,)) for root in (source, target)]
    for racer in racers:
        racer.start()
    try:
        for _ in range(15):
            report = run(SyncJob("job", source, target, tmp_path / "state", delete=True), accept=True)
            assert not report.stopped, report.message
    finally:
        stop.set()
        for racer in racers:
            racer.join()

    assert look(outside) == before
    copies = [Path(place, name) for place, _, names in os.walk(target) for name in names]
    assert not [path for path in copies if path.is_file() and not path.is_symlink() and path.read_text() == "secret"]


def turn_into_a_pipe_and_back(place: Path) -> None:
    """The file of a directory, and of no link that the sync may have put there."""
    directory = os.open(place, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        os.unlink("f", dir_fd=directory)
        os.mkfifo("f", dir_fd=directory)
        time.sleep(0.0005)
        os.unlink("f", dir_fd=directory)
        file = os.open("f", os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o644, dir_fd=directory)
        os.write(file, b"again")
        os.close(file)
    finally:
        os.close(directory)


def test_a_copy_that_is_changed_right_behind_us_is_found(tmp_path: Path) -> None:
    """Somebody writes into the backup while it is made: what a run calls equal is equal."""
    source, target = tmp_path / "source", tmp_path / "target"
    for number in range(100):
        write(source, {f"f{number}": f"content {number}"})
    time.sleep(0.06)
    stop = threading.Event()

    def spoil() -> None:
        while not stop.is_set():
            for path in list(target.glob("f*")):
                if path.read_text().startswith("content"):
                    path.write_text("SPOILED" + path.read_text()[7:])
                    time.sleep(0.002)

    spoiler = threading.Thread(target=spoil)
    target.mkdir()
    spoiler.start()
    try:
        job(tmp_path)
    finally:
        stop.set()
        spoiler.join()

    time.sleep(0.06)
    assert job(tmp_path).exit_code == 0
    assert look(source) == look(target)
