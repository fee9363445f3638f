"""A new version has to prove in its first runs that it can be started."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from monagent.sensors import probation as probation_module
from monagent.sensors.probation import STARTS, Probation
from tests.unit.sensors.packages import cut_off

BAD, GOOD = (f"sha256:{digit * 64}" for digit in "bc")
"""The digests of two versions."""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Where it is written down."""
    return tmp_path / "new-sensors.json"


@pytest.fixture
def probation(file: Path) -> Probation:
    """The agent's own."""
    return Probation(file)


def failures(probation: Probation, times: int = STARTS, name: str = "load") -> list[str]:
    """What so many runs that cannot start lead to."""
    return [probation.could_not_start(name) for _ in range(times)]


def test_the_third_of_three_that_cannot_start_is_told_once(probation: Probation) -> None:
    """Not again with the fourth, whatever became of it."""
    probation.watch("load", BAD)

    assert failures(probation, 6) == ["", "", BAD, "", "", ""]


@pytest.mark.parametrize("before", [0, 1, 2])
def test_one_run_that_starts_ends_the_watch(probation: Probation, before: int) -> None:
    """However many could not before it."""
    probation.watch("load", BAD)
    failures(probation, before)
    probation.started("load")

    assert failures(probation, 10) == [""] * 10


def test_a_sensor_that_nobody_watches_may_fail_for_ever(probation: Probation, file: Path) -> None:
    """And costs no writing."""
    assert failures(probation, 10) == [""] * 10
    assert not file.exists()


def test_each_sensor_is_watched_for_itself(probation: Probation) -> None:
    """Neither a success nor a failure counts for another one."""
    probation.watch("load", BAD)
    probation.watch("disk", BAD)
    failures(probation, 2)
    probation.started("disk")

    assert failures(probation, 3, "disk") == [""] * 3
    assert failures(probation, 1) == [BAD]


def test_a_newer_version_begins_anew(probation: Probation) -> None:
    """What could not start before it was another version."""
    probation.watch("load", GOOD)
    failures(probation, 2)
    probation.watch("load", BAD)

    assert failures(probation) == ["", "", BAD]


def test_the_same_version_installed_again_begins_anew(probation: Probation) -> None:
    """Whoever installs it has put right what was wrong with the host, perhaps."""
    probation.watch("load", BAD)
    failures(probation, 2)
    probation.watch("load", BAD)

    assert failures(probation) == ["", "", BAD]


def test_what_is_told_is_the_version_that_failed(probation: Probation, file: Path) -> None:
    """Not another one: it is the only one that may be taken back. It is told to one agent, and only once."""
    probation.watch("load", BAD)
    probation.watch("disk", GOOD)

    assert (failures(probation), failures(probation, 3, "disk")) == (["", "", BAD], ["", "", GOOD])
    assert json.loads(file.read_text()) == {}
    assert failures(Probation(file)) == [""] * 3


def test_the_file_tells_versions_and_their_failures(probation: Probation, file: Path) -> None:
    """An emergency may be judged by it."""
    probation.watch("load", BAD)
    probation.watch("disk", GOOD)
    failures(probation, 2)

    assert json.loads(file.read_text()) == {
        "load": {"digest": BAD, "failures": 2},
        "disk": {"digest": GOOD, "failures": 0},
    }


def test_a_newer_version_is_watched_although_the_one_before_started(probation: Probation) -> None:
    """A success counts for the version that had it."""
    probation.watch("load", GOOD)
    probation.started("load")
    probation.watch("load", BAD)

    assert failures(probation) == ["", "", BAD]


def test_a_version_that_was_put_back_is_not_watched(probation: Probation) -> None:
    """It has run before."""
    probation.watch("load", BAD)
    failures(probation, 2)
    probation.forget("load")

    assert failures(probation) == [""] * 3
    probation.forget("nothing")


# -- across processes -----------------------------------------------------------------------------------------------


def test_a_restart_does_not_end_the_watch(probation: Probation, file: Path) -> None:
    """What was counted counts."""
    probation.watch("load", BAD)
    failures(probation, 2)
    again = Probation(file)

    assert failures(again, 1) == [BAD]
    assert failures(Probation(file), 1) == [""]


def test_a_success_is_remembered_across_a_restart(probation: Probation, file: Path) -> None:
    """So that a version of years ago is not taken back because an interpreter goes."""
    probation.watch("load", BAD)
    probation.started("load")

    assert failures(Probation(file)) == [""] * 3


def test_an_installation_beside_a_running_agent_is_seen(probation: Probation, file: Path) -> None:
    """By its first run that cannot start."""
    Probation(file).watch("load", BAD)

    assert failures(probation) == ["", "", BAD]


def test_a_run_before_an_installation_beside_the_agent_does_not_count_for_it(probation: Probation, file: Path) -> None:
    """That was the old version."""
    probation.started("load")
    Probation(file).watch("load", BAD)

    assert failures(probation) == ["", "", BAD]


def test_a_run_after_an_installation_beside_the_agent_ends_the_watch(probation: Probation, file: Path) -> None:
    """Though it costs no reading."""
    Probation(file).watch("load", BAD)
    probation.started("load")

    assert failures(probation) == [""] * 3


def test_a_run_after_an_installation_beside_the_agent_is_remembered_across_a_restart(
    probation: Probation, file: Path
) -> None:
    """A version that ran for weeks is no new one only because the agent is started again."""
    Probation(file).watch("load", BAD)
    for _ in range(100):
        probation.started("load")

    assert failures(Probation(file)) == [""] * 3


def test_a_clock_that_was_set_back_takes_no_proven_version_back(probation: Probation, file: Path) -> None:
    """A success counts, whatever the time is; and a file older than the one before is a new one."""
    probation.watch("load", GOOD)
    failures(probation, 2)
    Probation(file).watch("load", BAD)
    os.utime(file, (1, 1))
    assert failures(probation, 1) == [""]
    os.utime(file, (0, 0))
    for _ in range(100):
        probation.started("load")

    assert failures(probation) == [""] * 3
    assert failures(Probation(file)) == [""] * 3


def test_two_writings_in_one_tick_of_the_clock_are_two(probation: Probation, file: Path) -> None:
    """A file system's clock goes in steps of some milliseconds; an installation and its undoing may share one."""
    probation.watch("load", GOOD)
    before = file.stat()
    Probation(file).watch("load", BAD)
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))

    assert failures(probation) == ["", "", BAD]


def test_what_another_process_forgets_is_forgotten(probation: Probation, file: Path) -> None:
    """`monagent sensor restore` beside a running agent."""
    probation.watch("load", BAD)
    failures(probation, 2)
    Probation(file).forget("load")

    assert failures(probation) == [""] * 3


def test_a_file_that_is_gone_watches_nothing(probation: Probation, file: Path) -> None:
    """Somebody cleared the state away."""
    probation.watch("load", BAD)
    file.unlink()

    assert failures(probation) == [""] * 3
    probation.watch("load", BAD)
    assert failures(probation) == ["", "", BAD]


def test_two_processes_lose_nothing_of_each_others_entries(file: Path) -> None:
    """An agent counts failures while `monagent sensor install` begins to watch."""
    program = """
        import sys
        from pathlib import Path
        from monagent.sensors.probation import Probation
        probation = Probation(Path(sys.argv[1]))
        sys.stdin.readline()
        for number in range(100):
            probation.watch(f"{sys.argv[2]}{number}", "sha256:0")
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
        probation.watch(f"a{number}", BAD)
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
    probation.watch("load", BAD)
    told: list[str] = []
    threads = [threading.Thread(target=lambda: told.append(probation.could_not_start("load"))) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(told) == [""] * 15 + [BAD]


def test_a_success_at_any_moment_of_a_failure_is_not_lost(tmp_path: Path) -> None:
    """Two runs of the new version end at once: one that started has proved it, whatever the other one counts."""
    moment, over = 0, False
    while not over:
        probation = Probation(tmp_path / str(moment))
        probation.watch("load", BAD)
        success = threading.Thread(target=probation.started, args=("load",))
        over = interrupted(lambda probation=probation: probation.could_not_start("load"), moment, success)  # type: ignore[misc]

        assert json.loads((tmp_path / str(moment)).read_text()) == {}, f"at step {moment}"
        moment += 1
    assert moment > 10


def interrupted(work: Callable[[], object], moment: int, other: threading.Thread) -> bool:
    """Do some work, and something else at the n-th line of it; whether the work came to its end before."""
    left, former = moment, sys.gettrace()

    def trace(frame: FrameType, event: str, _detail: object) -> Any:
        nonlocal left
        if frame.f_code.co_filename != probation_module.__file__:
            return None
        if event == "line":
            left -= 1
            if left == -1:
                other.start()
                other.join(0.05)  # it may have to wait for the work
        return trace

    sys.settrace(trace)
    try:
        work()
    finally:
        sys.settrace(former)
    over = left >= 0
    if over:
        other.start()
    other.join()
    return over


def test_whoever_looks_while_a_version_is_installed_does_not_undo_it(
    probation: Probation, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that ends sees what another process wrote; an update in this one writes at the same time."""
    Probation(file).watch("disk", GOOD)
    read, changed, looked = threading.Event(), threading.Event(), threading.Event()
    real_load, real_save = Probation._load, Probation._save

    def load(self: Probation) -> Any:
        entries = real_load(self)
        if threading.current_thread() is run:
            read.set()
            changed.wait(0.3)
        return entries

    def save(self: Probation) -> None:
        changed.set()
        looked.wait(0.3)
        real_save(self)

    def look() -> None:
        probation.started("other")
        looked.set()

    monkeypatch.setattr(Probation, "_load", load)
    monkeypatch.setattr(Probation, "_save", save)
    run = threading.Thread(target=look)
    run.start()
    assert read.wait(20)
    probation.watch("load", BAD)
    run.join()

    assert set(json.loads(file.read_text())) == {"disk", "load"}


# -- the file -------------------------------------------------------------------------------------------------------


def test_runs_that_start_touch_no_file(probation: Probation, file: Path) -> None:
    """There are hundreds a second, and nothing to be written."""
    probation.watch("load", BAD)
    probation.started("load")
    before = file.stat().st_mtime_ns, file.stat().st_ino
    for _ in range(100):
        probation.started("load")
        probation.started("disk")

    assert (file.stat().st_mtime_ns, file.stat().st_ino) == before


def test_a_version_that_was_judged_costs_no_more_writing(probation: Probation, file: Path) -> None:
    """It may go on failing for ever when there is nothing to put back."""
    probation.watch("load", BAD)
    failures(probation)
    before = file.stat().st_mtime_ns, file.stat().st_ino
    failures(probation, 10)

    assert (file.stat().st_mtime_ns, file.stat().st_ino) == before


@pytest.mark.parametrize(
    "text",
    [
        "", "{", "[]", "null", "5", '"load"', '{"load": 5}', '{"load": {}}', '{"load": {"since": 1, "failures": 0}}',
        '{"load": {"digest": "x"}}', '{"load": {"digest": "x", "failures": null}}', '{"load": [1, 2]}', "\0" * 100,
        '{"load": {"digest": "x", "failures": "x"}}',
    ],
    ids=lambda text: text[:40],
)  # fmt: skip
def test_a_damaged_file_is_told_and_replaced(file: Path, text: str, caplog: pytest.LogCaptureFixture) -> None:
    """Nothing is watched by it, and the next version is watched again."""
    file.write_text(text)
    with caplog.at_level(logging.WARNING):
        probation = Probation(file)

    assert "cannot be read" in caplog.text
    assert failures(probation, 5) == [""] * 5
    probation.started("load")
    probation.watch("load", BAD)
    assert failures(probation) == ["", "", BAD]


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-1e999"])
def test_numbers_that_are_none_do_no_harm(file: Path, number: str) -> None:
    """JSON as Python reads it has some of those."""
    file.write_text(f'{{"load": {{"digest": {number}, "failures": {number}}}}}')
    probation = Probation(file)

    assert failures(probation, 5).count("") >= 4


def test_a_file_that_cannot_be_read_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A directory in its place, or bytes that are no text; the agent goes on."""
    (tmp_path / "directory").mkdir()
    (tmp_path / "bytes").write_bytes(b"\xff\xfe")
    with caplog.at_level(logging.WARNING):
        for name in ("directory", "bytes"):
            probation = Probation(tmp_path / name)
            probation.started("load")
            probation.forget("load")
            assert failures(probation, 5) == [""] * 5

    assert "directory cannot be read" in caplog.text
    assert "bytes cannot be read" in caplog.text


def test_a_file_that_cannot_be_written_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The installation is done all the same."""
    (tmp_path / "file").mkdir()
    (tmp_path / "file" / "x").touch()
    with caplog.at_level(logging.WARNING):
        Probation(tmp_path / "file").watch("load", BAD)

    assert "cannot be written" in caplog.text


def test_without_a_state_directory_nothing_is_written(tmp_path: Path) -> None:
    """No agent has run here yet, so there are no runs to watch."""
    probation = Probation(tmp_path / "var" / "new-sensors.json")
    probation.watch("load", BAD)
    probation.started("load")

    assert failures(probation) == [""] * 3
    assert os.listdir(tmp_path) == []


def test_a_crash_while_it_is_written_loses_no_other_entry(file: Path) -> None:
    """Killed at each step, the file has what it had, and perhaps what is new."""
    point, ended = 0, False
    while not ended:
        file.unlink(missing_ok=True)
        Probation(file).watch("disk", BAD)
        ended = cut_off(point, lambda: Probation(file).watch("load", BAD))

        assert {"disk"} <= set(json.loads(file.read_text())) <= {"disk", "load"}
        point += 1
    assert set(json.loads(file.read_text())) == {"disk", "load"}
