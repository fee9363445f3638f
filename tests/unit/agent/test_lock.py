"""The lock of the state directory, between real processes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from monagent.agent.lock import StateLock
from monagent.errors import AlreadyRunning

HOLD = """
import pathlib, sys, time
from monagent.agent.lock import StateLock
lock = StateLock(pathlib.Path(sys.argv[1]))
lock.acquire()
print("held", flush=True)
time.sleep(60)
"""


def test_a_second_holder_is_told_who_works_there(tmp_path: Path) -> None:
    """By pid and directory."""
    with subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(AlreadyRunning, match=f"pid {holder.pid} works in {tmp_path} already"):
            StateLock(tmp_path).acquire()
        holder.kill()
        holder.wait(20)

    after = StateLock(tmp_path)
    after.acquire()
    assert (tmp_path / "agent.lock").read_text() == f"{os.getpid()}\n"
    after.release()


def test_two_locks_in_one_process_exclude_each_other(tmp_path: Path) -> None:
    """Until the first is released; releasing twice is harmless."""
    first, second = StateLock(tmp_path), StateLock(tmp_path)
    first.acquire()
    with pytest.raises(AlreadyRunning):
        second.acquire()
    first.release()
    first.release()
    second.acquire()
    second.release()


def test_a_stale_file_blocks_nobody(tmp_path: Path) -> None:
    """Whatever stands in it, also the id of a process that runs."""
    (tmp_path / "agent.lock").write_text("1\nand more that is no pid")
    lock = StateLock(tmp_path)
    lock.acquire()

    assert (tmp_path / "agent.lock").read_text() == f"{os.getpid()}\n"
    lock.release()


def test_the_directory_is_made_for_the_agent_alone(tmp_path: Path) -> None:
    """With its parents, and nobody else may look in."""
    lock = StateLock(tmp_path / "a" / "var")
    lock.acquire()

    assert (tmp_path / "a" / "var").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "a" / "var" / "agent.lock").stat().st_mode & 0o777 == 0o600
    lock.release()


def test_programs_that_are_started_do_not_inherit_the_lock(tmp_path: Path) -> None:
    """Or a sensor's child that stays would keep the agent from starting again."""
    lock = StateLock(tmp_path)
    lock.acquire()
    with subprocess.Popen(["/bin/sleep", "60"], close_fds=False) as child:
        lock.release()
        again = StateLock(tmp_path)
        again.acquire()
        again.release()
        child.kill()


def test_a_directory_that_cannot_be_made_is_an_error_of_the_system(tmp_path: Path) -> None:
    """A file stands in its place."""
    (tmp_path / "var").touch()

    with pytest.raises(OSError, match="var"):
        StateLock(tmp_path / "var").acquire()
