"""Runs and swaps of one sensor keep out of each other's way."""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

import pytest

from monagent.errors import Refused
from monagent.models import Run
from monagent.sensors import occupancy as occupancy_module
from monagent.sensors.occupancy import Occupancy
from monagent.sensors.runner import Runner
from tests.support.processes import is_running
from tests.unit.sensors.packages import open_descriptors

SOON = 10.0
"""Seconds; what has no reason to wait takes far less, also on a busy machine."""
A_WHILE = 0.3
"""Seconds in which whoever wrongly does not wait would long be through."""


@pytest.fixture
def occupancy() -> Occupancy:
    """An agent's own."""
    return Occupancy()


@pytest.fixture
def load(tmp_path: Path) -> Path:
    """A sensor's directory."""
    directory = tmp_path / "load"
    directory.mkdir()
    return directory


class Worker:
    """A thread that runs or swaps, and does not end before it may."""

    def __init__(self, use: Callable[[], object]) -> None:
        self.inside = threading.Event()
        self.may_leave = threading.Event()
        self.refused: Refused | None = None
        self._use = use
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._thread.start()

    def _work(self) -> None:
        try:
            with self._use():  # type: ignore[attr-defined]
                self.inside.set()
                assert self.may_leave.wait(60)
        except Refused as refused:
            self.refused = refused

    def leave(self) -> None:
        """Let it end, and wait until it has."""
        self.may_leave.set()
        self._thread.join(60)


OTHER = """
import contextlib, sys
from pathlib import Path
from monagent.sensors.occupancy import Occupancy
use, directory = sys.argv[1:]
occupancy = Occupancy()
with occupancy.run_in(directory) if use == "run" else occupancy.alone(Path(directory), 60):
    print("inside", flush=True)
    sys.stdin.readline()
print("outside", flush=True)
"""


class OtherProcess:
    """Another process that runs or swaps."""

    def __init__(self, use: str, directory: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(OTHER), use, directory],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )

    @property
    def output(self) -> IO[bytes]:
        """What it says."""
        assert self.process.stdout is not None
        return self.process.stdout

    def wait_inside(self) -> None:
        """Wait until it has what it wants."""
        assert self.output.readline() == b"inside\n"

    def leave(self) -> None:
        """Let it end, and wait until it has."""
        self.process.communicate(b"\n", timeout=30)


@pytest.fixture
def other() -> Iterator[Callable[[str, Path], OtherProcess]]:
    """Starts other processes; they end with the test."""
    started: list[OtherProcess] = []

    def start(use: str, directory: Path) -> OtherProcess:
        started.append(OtherProcess(use, directory))
        return started[-1]

    yield start
    for one in started:
        one.process.kill()
        one.process.communicate()


# -- in one process -------------------------------------------------------------------------------------------------


def test_any_number_of_runs_go_on_at_once(occupancy: Occupancy, load: Path) -> None:
    """None waits for another one."""
    runs = [Worker(lambda: occupancy.run_in(str(load))) for _ in range(20)]

    assert all(run.inside.wait(SOON) for run in runs)
    for run in runs:
        run.leave()


def test_a_swap_waits_for_the_run_under_way(occupancy: Occupancy, load: Path) -> None:
    """And goes on as soon as that has ended."""
    run = Worker(lambda: occupancy.run_in(str(load)))
    assert run.inside.wait(SOON)
    swap = Worker(lambda: occupancy.alone(load, 60))

    assert not swap.inside.wait(A_WHILE)
    run.leave()
    assert swap.inside.wait(SOON)
    swap.leave()


def test_a_swap_waits_for_the_last_of_several_runs(occupancy: Occupancy, load: Path) -> None:
    """Whatever their order."""
    runs = [Worker(lambda: occupancy.run_in(str(load))) for _ in range(3)]
    assert all(run.inside.wait(SOON) for run in runs)
    swap = Worker(lambda: occupancy.alone(load, 60))
    for run in runs[:2]:
        run.leave()

    assert not swap.inside.wait(A_WHILE)
    runs[2].leave()
    assert swap.inside.wait(SOON)
    swap.leave()


def test_runs_that_come_during_a_swap_wait_for_it(occupancy: Occupancy, load: Path) -> None:
    """And all go on after it."""
    swap = Worker(lambda: occupancy.alone(load, 60))
    assert swap.inside.wait(SOON)
    runs = [Worker(lambda: occupancy.run_in(str(load))) for _ in range(5)]

    assert not any(run.inside.wait(A_WHILE / 5) for run in runs)
    swap.leave()
    assert all(run.inside.wait(SOON) for run in runs)
    for run in runs:
        run.leave()


def test_runs_that_come_after_a_waiting_swap_let_it_go_first(occupancy: Occupancy, load: Path) -> None:
    """Though they could run beside the one that the swap waits for."""
    first = Worker(lambda: occupancy.run_in(str(load)))
    assert first.inside.wait(SOON)
    swap = Worker(lambda: occupancy.alone(load, 60))
    _wait_until_announced(occupancy)
    late = Worker(lambda: occupancy.run_in(str(load)))

    assert not late.inside.wait(A_WHILE)
    first.leave()
    assert swap.inside.wait(SOON)
    assert not late.inside.wait(A_WHILE)
    swap.leave()
    assert late.inside.wait(SOON)
    late.leave()


def test_a_stream_of_overlapping_runs_starves_no_swap(occupancy: Occupancy, load: Path) -> None:
    """At no moment is there no run under way, and the swap takes its turn all the same."""
    stop = threading.Event()

    def stream(delay: float) -> None:
        time.sleep(delay)
        while not stop.is_set():
            with occupancy.run_in(str(load)):
                time.sleep(0.1)

    threads = [threading.Thread(target=stream, args=(number * 0.03,)) for number in range(8)]
    for thread in threads:
        thread.start()
    time.sleep(0.3)
    try:
        for _ in range(3):
            with occupancy.alone(load, SOON):
                pass
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def test_a_swap_that_comes_to_nothing_in_its_time_is_refused(occupancy: Occupancy, load: Path) -> None:
    """It says why, and the runs that it held back go on."""
    run = Worker(lambda: occupancy.run_in(str(load)))
    assert run.inside.wait(SOON)
    begun = time.monotonic()
    swap = Worker(lambda: occupancy.alone(load, 1.0))
    _wait_until_announced(occupancy)
    late = Worker(lambda: occupancy.run_in(str(load)))
    assert not late.inside.wait(A_WHILE)
    swap.leave()

    assert not swap.inside.is_set()
    assert "load was in use for 1 s" in str(swap.refused)
    assert 1.0 <= time.monotonic() - begun < SOON
    assert late.inside.wait(SOON)
    for one in (run, late):
        one.leave()


def test_two_swaps_exclude_each_other(occupancy: Occupancy, load: Path) -> None:
    """The second waits for the first."""
    first = Worker(lambda: occupancy.alone(load, 60))
    assert first.inside.wait(SOON)
    second = Worker(lambda: occupancy.alone(load, 60))

    assert not second.inside.wait(A_WHILE)
    first.leave()
    assert second.inside.wait(SOON)
    second.leave()


def test_other_sensors_are_not_concerned(occupancy: Occupancy, tmp_path: Path, load: Path) -> None:
    """Neither by a run nor by a swap."""
    (tmp_path / "load-2").mkdir()
    busy = [Worker(lambda: occupancy.run_in(str(load))), Worker(lambda: occupancy.alone(tmp_path / "load-2", 60))]
    assert all(one.inside.wait(SOON) for one in busy)
    (tmp_path / "other").mkdir()
    free = [Worker(lambda: occupancy.run_in(str(tmp_path / "other")))]
    assert free[0].inside.wait(SOON)
    free[0].leave()
    free.append(Worker(lambda: occupancy.alone(tmp_path / "other", 60)))

    assert free[1].inside.wait(SOON)
    for one in [*busy, *free]:
        one.leave()


def test_a_sensor_that_is_not_there_can_be_run_and_installed(occupancy: Occupancy, tmp_path: Path) -> None:
    """A run of what is not there ends by itself; while it is put there for the first time, runs wait."""
    missing = tmp_path / "new"
    with occupancy.run_in(str(missing)), occupancy.alone(missing, 0):
        pass
    swap = Worker(lambda: occupancy.alone(missing, 60))
    assert swap.inside.wait(SOON)
    run = Worker(lambda: occupancy.run_in(str(missing)))

    assert not run.inside.wait(A_WHILE)
    swap.leave()
    assert run.inside.wait(SOON)
    run.leave()


def test_whatever_ends_a_run_or_a_swap_frees_the_directory(occupancy: Occupancy, load: Path) -> None:
    """An exception, too; and no descriptor stays open."""
    before = open_descriptors()
    for _ in range(3):
        with pytest.raises(ZeroDivisionError), occupancy.run_in(str(load)):
            _ = 1 / 0
        with pytest.raises(ZeroDivisionError), occupancy.alone(load, 0):
            _ = 1 / 0
    with occupancy.run_in(str(load)), pytest.raises(Refused), occupancy.alone(load, 0):
        pass

    assert open_descriptors() == before
    with occupancy.run_in(str(load)):
        pass


def test_a_directory_that_is_replaced_between_open_and_lock_is_opened_again(
    occupancy: Occupancy, load: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a run would hold the old version and use the new one."""
    real, swaps = occupancy_module._shared, []

    def swap_then_lock(descriptor: int) -> bool:
        if len(swaps) < 2:
            swaps.append(load.rename(load.with_name(f"old{len(swaps)}")))
            load.mkdir()
        return real(descriptor)

    monkeypatch.setattr(occupancy_module, "_shared", swap_then_lock)
    before = open_descriptors()
    descriptor = occupancy.enter(str(load))

    assert os.path.samestat(os.fstat(descriptor), load.stat())
    assert len(swaps) == 2
    occupancy.leave(descriptor)
    assert open_descriptors() == before


def test_a_directory_that_goes_between_open_and_lock_is_like_one_that_was_never_there(
    occupancy: Occupancy, load: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run goes on and finds out itself."""
    real = occupancy_module._shared

    def remove_then_lock(descriptor: int) -> bool:
        load.rmdir()
        return real(descriptor)

    monkeypatch.setattr(occupancy_module, "_shared", remove_then_lock)
    before = open_descriptors()

    assert occupancy.enter(str(load)) == -1
    occupancy.leave(-1)
    assert open_descriptors() == before


def test_a_link_is_the_directory_that_it_leads_to(occupancy: Occupancy, load: Path) -> None:
    """A run by one name holds a swap by the other."""
    link = load.with_name("link")
    link.symlink_to("load")

    with occupancy.run_in(str(link)), pytest.raises(Refused), occupancy.alone(load, 0):
        pass


def test_a_file_system_without_locks_still_has_the_order_of_this_process(
    occupancy: Occupancy, load: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Runs and swaps go on, and a run that comes during a swap waits."""

    def flock(_descriptor: int, _operation: int) -> None:
        raise OSError(errno.ENOLCK, "no locks available")

    monkeypatch.setattr(fcntl, "flock", flock)
    swap = Worker(lambda: occupancy.alone(load, 60))
    assert swap.inside.wait(SOON)
    run = Worker(lambda: occupancy.run_in(str(load)))

    assert not run.inside.wait(A_WHILE)
    swap.leave()
    assert run.inside.wait(SOON)
    run.leave()


def _wait_until_announced(occupancy: Occupancy) -> None:
    until = time.monotonic() + SOON
    while not occupancy._changing:
        assert time.monotonic() < until
        time.sleep(0.005)


# -- between processes ----------------------------------------------------------------------------------------------


def test_a_swap_waits_for_a_run_of_another_process(
    occupancy: Occupancy, load: Path, other: Callable[[str, Path], OtherProcess]
) -> None:
    """The agent's runs hold `monagent sensor install`."""
    run = other("run", load)
    run.wait_inside()
    with pytest.raises(Refused), occupancy.alone(load, A_WHILE):
        pass
    swap = Worker(lambda: occupancy.alone(load, 60))

    assert not swap.inside.wait(A_WHILE)
    run.leave()
    assert swap.inside.wait(SOON)
    swap.leave()


def test_a_run_waits_for_a_swap_of_another_process(
    occupancy: Occupancy, load: Path, other: Callable[[str, Path], OtherProcess]
) -> None:
    """For the moment that it takes."""
    swap = other("swap", load)
    swap.wait_inside()
    run = Worker(lambda: occupancy.run_in(str(load)))

    assert not run.inside.wait(A_WHILE)
    swap.leave()
    assert run.inside.wait(SOON)
    run.leave()


def test_a_swap_elsewhere_that_never_ends_stops_no_check(
    occupancy: Occupancy, load: Path, other: Callable[[str, Path], OtherProcess], monkeypatch: pytest.MonkeyPatch
) -> None:
    """After some seconds something else must be wrong, and a check is run all the same."""
    monkeypatch.setattr(occupancy_module, "ELSEWHERE_SECONDS", A_WHILE)
    swap = other("swap", load)
    swap.wait_inside()
    os.kill(swap.process.pid, signal.SIGSTOP)
    begun = time.monotonic()
    with occupancy.run_in(str(load)):
        waited = time.monotonic() - begun

    assert A_WHILE <= waited < SOON


@pytest.mark.parametrize("use", ["run", "swap"])
def test_a_killed_process_holds_nothing(
    occupancy: Occupancy, load: Path, other: Callable[[str, Path], OtherProcess], use: str
) -> None:
    """Its locks die with it."""
    one = other(use, load)
    one.wait_inside()
    one.process.kill()
    one.process.wait()

    with occupancy.alone(load, SOON):
        pass


def test_what_a_sensor_leaves_running_does_not_hold_a_swap(occupancy: Occupancy, load: Path) -> None:
    """A daemon inherits no lock from the run that started it; and it is soon gone."""
    program = load / "check"
    program.write_text("#!/bin/sh\nsetsid sleep 60 >/dev/null 2>&1 &\nsleep 0.3\necho $!\n")
    program.chmod(0o755)
    with occupancy.run_in(str(load)):
        daemon = int(Runner().run(Run((str(program),), 10.0, 1000)).output)
    with occupancy.alone(load, SOON):
        pass

    assert not is_running(daemon)
