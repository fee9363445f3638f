"""A new version has to prove in its first runs that it can be started."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import pytest

from monagent.sensors.probation import STARTS, Probation
from tests.unit.sensors.packages import cut_off

NOON = 1_700_000_000.0


class Clock:
    """A clock that goes on a little with each look, as clocks do."""

    def __init__(self, now: float = NOON) -> None:
        self.now = now

    def __call__(self) -> float:
        self.now += 0.001
        return self.now


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Where it is written down."""
    return tmp_path / "new-sensors.json"


@pytest.fixture
def clock() -> Clock:
    """The time."""
    return Clock()


@pytest.fixture
def probation(file: Path, clock: Clock) -> Probation:
    """The agent's own."""
    return Probation(file, clock)


def failures(probation: Probation, times: int = STARTS, name: str = "load") -> list[bool]:
    """What so many runs that cannot start lead to."""
    return [probation.could_not_start(name) for _ in range(times)]


def test_the_third_of_three_that_cannot_start_is_told_once(probation: Probation) -> None:
    """Not again with the fourth, whatever became of it."""
    probation.watch("load")

    assert failures(probation, 6) == [False, False, True, False, False, False]


@pytest.mark.parametrize("before", [0, 1, 2])
def test_one_run_that_starts_ends_the_watch(probation: Probation, before: int) -> None:
    """However many could not before it."""
    probation.watch("load")
    failures(probation, before)
    probation.started("load")

    assert failures(probation, 10) == [False] * 10


def test_a_sensor_that_nobody_watches_may_fail_for_ever(probation: Probation, file: Path) -> None:
    """And costs no writing."""
    assert failures(probation, 10) == [False] * 10
    assert not file.exists()


def test_each_sensor_is_watched_for_itself(probation: Probation) -> None:
    """Neither a success nor a failure counts for another one."""
    probation.watch("load")
    probation.watch("disk")
    failures(probation, 2)
    probation.started("disk")

    assert failures(probation, 3, "disk") == [False] * 3
    assert failures(probation, 1) == [True]


def test_a_newer_version_begins_anew(probation: Probation) -> None:
    """What could not start before it was another version."""
    probation.watch("load")
    failures(probation, 2)
    probation.watch("load")

    assert failures(probation) == [False, False, True]


def test_a_newer_version_is_watched_although_the_one_before_started(probation: Probation) -> None:
    """A success counts for the version that had it."""
    probation.watch("load")
    probation.started("load")
    probation.watch("load")

    assert failures(probation) == [False, False, True]


def test_a_version_that_was_put_back_is_not_watched(probation: Probation) -> None:
    """It has run before."""
    probation.watch("load")
    failures(probation, 2)
    probation.forget("load")

    assert failures(probation) == [False] * 3
    probation.forget("nothing")


# -- across processes -----------------------------------------------------------------------------------------------


def test_a_restart_does_not_end_the_watch(probation: Probation, file: Path, clock: Clock) -> None:
    """What was counted counts."""
    probation.watch("load")
    failures(probation, 2)
    again = Probation(file, clock)

    assert failures(again, 1) == [True]
    assert failures(Probation(file, clock), 1) == [False]


def test_a_success_is_remembered_across_a_restart(probation: Probation, file: Path, clock: Clock) -> None:
    """So that a version of years ago is not taken back because an interpreter goes."""
    probation.watch("load")
    probation.started("load")

    assert failures(Probation(file, clock)) == [False] * 3


def test_an_installation_beside_a_running_agent_is_seen(probation: Probation, file: Path, clock: Clock) -> None:
    """By its first run that cannot start."""
    Probation(file, clock).watch("load")

    assert failures(probation) == [False, False, True]


def test_a_run_before_an_installation_beside_the_agent_does_not_count_for_it(
    probation: Probation, file: Path, clock: Clock
) -> None:
    """That was the old version."""
    probation.started("load")
    Probation(file, clock).watch("load")

    assert failures(probation) == [False, False, True]


def test_a_run_after_an_installation_beside_the_agent_ends_the_watch(
    probation: Probation, file: Path, clock: Clock
) -> None:
    """Though it costs no reading."""
    Probation(file, clock).watch("load")
    probation.started("load")

    assert failures(probation) == [False] * 3


def test_a_run_after_an_installation_beside_the_agent_is_remembered_across_a_restart(
    probation: Probation, file: Path, clock: Clock
) -> None:
    """A version that ran for weeks is no new one only because the agent is started again."""
    Probation(file, clock).watch("load")
    for _ in range(100):
        probation.started("load")

    assert failures(Probation(file, clock)) == [False] * 3


def test_a_clock_that_was_set_back_takes_no_proven_version_back(probation: Probation, file: Path, clock: Clock) -> None:
    """A success counts, whatever the time is."""
    Probation(file, clock).watch("load")
    clock.now -= 3600
    for _ in range(100):
        probation.started("load")

    assert failures(probation) == [False] * 3


def test_two_processes_lose_nothing_of_each_others_entries(file: Path) -> None:
    """An agent counts failures while `monagent sensor install` begins to watch."""
    program = """
        import sys
        from pathlib import Path
        from monagent.sensors.probation import Probation
        probation = Probation(Path(sys.argv[1]))
        sys.stdin.readline()
        for number in range(100):
            probation.watch(f"{sys.argv[2]}{number}")
    """
    both = [
        subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(program), file, word], stdin=subprocess.PIPE, stderr=subprocess.PIPE
        )
        for word in ("agent", "install")
    ]
    for one in both:
        assert one.stdin is not None
        one.stdin.write(b"go\n")
        one.stdin.flush()
    complaints = [one.communicate(timeout=60)[1] for one in both]

    assert complaints == [b"", b""]
    assert len(json.loads(file.read_text())) == 200


def test_many_threads_lose_nothing(probation: Probation, file: Path) -> None:
    """Workers finish their runs at once."""

    def work(number: int) -> None:
        probation.watch(f"a{number}")
        probation.could_not_start(f"a{number}")
        probation.started("unwatched")

    threads = [threading.Thread(target=work, args=(number,)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    stored = json.loads(file.read_text())
    assert {name: entry["failures"] for name, entry in stored.items()} == {f"a{number}": 1 for number in range(16)}


def test_of_many_failures_at_once_only_one_is_the_third(probation: Probation) -> None:
    """So that a version is taken back once."""
    probation.watch("load")
    told: list[bool] = []
    threads = [threading.Thread(target=lambda: told.append(probation.could_not_start("load"))) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(told) == [False] * 15 + [True]


# -- the file -------------------------------------------------------------------------------------------------------


def test_runs_that_start_touch_no_file(probation: Probation, file: Path) -> None:
    """There are hundreds a second, and nothing to be written."""
    probation.watch("load")
    probation.started("load")
    before = file.stat().st_mtime_ns, file.stat().st_ino
    for _ in range(100):
        probation.started("load")
        probation.started("disk")

    assert (file.stat().st_mtime_ns, file.stat().st_ino) == before


def test_a_version_that_was_judged_costs_no_more_writing(probation: Probation, file: Path) -> None:
    """It may go on failing for ever when there is nothing to put back."""
    probation.watch("load")
    failures(probation)
    before = file.stat().st_mtime_ns, file.stat().st_ino
    failures(probation, 10)

    assert (file.stat().st_mtime_ns, file.stat().st_ino) == before


@pytest.mark.parametrize(
    "text",
    [
        "", "{", "[]", "null", "5", '"load"', '{"load": 5}', '{"load": {}}', '{"load": {"since": "x", "failures": 0}}',
        '{"load": {"since": 1}}', '{"load": {"since": null, "failures": 1}}', '{"load": [1, 2]}', "\0" * 100,
    ],
)  # fmt: skip
def test_a_damaged_file_is_told_and_replaced(file: Path, text: str, caplog: pytest.LogCaptureFixture) -> None:
    """Nothing is watched by it, and the next version is watched again."""
    file.write_text(text)
    with caplog.at_level(logging.WARNING):
        probation = Probation(file)

    assert "cannot be read" in caplog.text
    assert failures(probation, 5) == [False] * 5
    probation.started("load")
    probation.watch("load")
    assert failures(probation) == [False, False, True]


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-1e999"])
def test_numbers_that_are_none_do_no_harm(file: Path, number: str) -> None:
    """JSON as Python reads it has some of those."""
    file.write_text(f'{{"load": {{"since": {number}, "failures": {number}}}}}')
    probation = Probation(file)

    assert failures(probation, 5).count(True) <= 1


def test_a_file_that_cannot_be_read_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A directory in its place, or bytes that are no text; the agent goes on."""
    (tmp_path / "directory").mkdir()
    (tmp_path / "bytes").write_bytes(b"\xff\xfe")
    with caplog.at_level(logging.WARNING):
        for name in ("directory", "bytes"):
            probation = Probation(tmp_path / name)
            probation.started("load")
            probation.forget("load")
            assert failures(probation, 5) == [False] * 5

    assert "directory cannot be read" in caplog.text
    assert "bytes cannot be read" in caplog.text


def test_a_file_that_cannot_be_written_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The installation is done all the same."""
    (tmp_path / "file").mkdir()
    (tmp_path / "file" / "x").touch()
    with caplog.at_level(logging.WARNING):
        Probation(tmp_path / "file").watch("load")

    assert "cannot be written" in caplog.text


def test_without_a_state_directory_nothing_is_written(tmp_path: Path) -> None:
    """No agent has run here yet, so there are no runs to watch."""
    probation = Probation(tmp_path / "var" / "new-sensors.json")
    probation.watch("load")
    probation.started("load")

    assert failures(probation) == [False] * 3
    assert os.listdir(tmp_path) == []


def test_a_crash_while_it_is_written_loses_no_other_entry(file: Path, clock: Clock) -> None:
    """Killed at each step, the file has what it had, and perhaps what is new."""
    point, ended = 0, False
    while not ended:
        file.unlink(missing_ok=True)
        Probation(file, clock).watch("disk")
        ended = cut_off(point, lambda: Probation(file, clock).watch("load"))

        assert {"disk"} <= set(json.loads(file.read_text())) <= {"disk", "load"}
        point += 1
    assert set(json.loads(file.read_text())) == {"disk", "load"}
