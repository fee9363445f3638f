"""The guard: what it ends when the agent is gone, and what it leaves alone."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from monagent.sensors.processes import MARK
from monagent.sensors.spawning import Guard
from tests.support.processes import is_running

SOON = 5.0
MINE = f"test-{os.getpid()}"
"""The token: a guard ends what it finds on the whole host, also of tests that run beside this one."""
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


@pytest.fixture
def guard() -> Iterator[Guard]:
    """One with a token of ours; dismissed at the end, if it is still there."""
    guard = Guard(MINE)
    yield guard
    if guard._process.poll() is None:
        guard._process.kill()
        guard._process.wait(10)


@pytest.fixture
def sleeper() -> Iterator[Callable[[str], subprocess.Popen[bytes]]]:
    """Starts processes with a mark; killed at the end."""
    started: list[subprocess.Popen[bytes]] = []

    def start(mark: str) -> subprocess.Popen[bytes]:
        started.append(subprocess.Popen(["/bin/sleep", "60"], env={MARK: mark}, start_new_session=True))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.wait(10)


def lose(guard: Guard) -> None:
    """What the kernel does with the guard's pipe when the agent is killed."""
    os.close(guard._writer)


def test_when_the_agent_is_gone_all_that_has_its_mark_goes(
    guard: Guard, sleeper: Callable[[str], subprocess.Popen[bytes]]
) -> None:
    """And then the guard itself; another agent's sensors are not touched."""
    ours, theirs = [sleeper(f"{MINE}.{number}") for number in range(5)], sleeper(f"not-{MINE}.1")
    lose(guard)

    assert [process.wait(SOON) for process in ours] == [-signal.SIGKILL] * 5
    assert guard._process.wait(SOON) == 0
    assert is_running(theirs.pid)


def test_while_the_agent_is_there_nothing_happens(
    guard: Guard, sleeper: Callable[[str], subprocess.Popen[bytes]]
) -> None:
    """Neither to sensors nor to the guard, whatever signals come: a stopping agent's group gets them all."""
    process = sleeper(f"{MINE}.1")
    _expect_ignoring(guard)
    for number in SIGNALS:
        os.kill(guard.pid, number)
    time.sleep(0.3)

    assert is_running(process.pid)
    assert is_running(guard.pid)


def _expect_ignoring(guard: Guard) -> None:
    """Wait until it has begun."""
    until = time.monotonic() + 20
    while True:
        lines = Path(f"/proc/{guard.pid}/status").read_text().splitlines()
        ignored = next(int(line.split()[1], 16) for line in lines if line.startswith("SigIgn:"))
        if all(ignored & 1 << number - 1 for number in SIGNALS):
            return
        assert time.monotonic() < until
        time.sleep(0.01)


def test_a_guard_that_is_dismissed_ends_at_once(guard: Guard) -> None:
    """There is nothing for it to end."""
    before = time.monotonic()
    guard.dismiss()

    assert guard._process.returncode == 0
    assert time.monotonic() - before < SOON


def test_the_guard_holds_nothing_of_ours(guard: Guard) -> None:
    """A session and a group of its own, no file of ours but the pipe, a clean environment without a mark."""
    reader, writer = os.pipe()
    os.set_inheritable(writer, True)
    another = Guard(f"another-{MINE}")
    try:
        _expect_ignoring(another)
        held = {str(path.readlink()) for path in Path(f"/proc/{another.pid}/fd").iterdir()}
        pipe = str(Path(f"/proc/self/fd/{writer}").readlink())
        environment = Path(f"/proc/{another.pid}/environ").read_bytes()
    finally:
        another.dismiss()
        os.close(reader)
        os.close(writer)

    assert pipe not in held
    assert f"{MARK}=".encode() not in environment
    assert os.getsid(guard.pid) == guard.pid
