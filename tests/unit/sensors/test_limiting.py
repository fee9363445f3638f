"""Limits that are in force from a program's first instruction on."""

from __future__ import annotations

import errno
import os
import stat
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from monagent.models import UNBOUNDED, Bounds, Run
from monagent.sensors import limiting
from monagent.sensors.runner import Runner
from tests.support.rights import needs_root
from tests.unit.sensors_stock.runner import missing

DEFAULT = Bounds(1 << 30, 4096, 1024, -1, 1 << 30)
TIGHT = Bounds(memory=1 << 26, files=20, file_size=1 << 20)

Write = Callable[[str], str]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes a shell's script and gives its path."""

    def make(script: str) -> str:
        path = tmp_path / "check"
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)
        return str(path)

    return make


@pytest.fixture(autouse=True)
def _with_prlimit() -> None:
    if limiting._PRLIMIT is None:
        missing("prlimit")


def test_what_a_program_starts_at_once_has_its_limits_always(write: Write) -> None:
    """Also what begins and ends before anybody could look at it from outside."""
    program = write('(ulimit -n); (ulimit -d); (ulimit -f); echo "$@"')
    runner = Runner()
    told = {runner.run(Run((program, "a b", "--", "-c"), 10.0, 1000, bounds=TIGHT)).output for _ in range(30)}

    assert told == {b"20\n65536\n2048\na b -- -c\n"}


def test_a_file_never_gets_larger_than_it_may(write: Write, tmp_path: Path) -> None:
    """However soon it is written."""
    program = write(f"head -c 3000000 /dev/zero > {tmp_path}/file")
    for _ in range(10):
        Runner().run(Run((program,), 10.0, 1000, bounds=TIGHT))

        assert (tmp_path / "file").stat().st_size == 1 << 20


@pytest.mark.parametrize("bounds", [UNBOUNDED, DEFAULT])
def test_what_the_spawner_can_live_with_needs_no_other_program(write: Write, bounds: Bounds) -> None:
    """The usual limits are inherited."""
    run = Run((write("ulimit -n; ulimit -d; ulimit -f"),), 10.0, 1000, bounds=bounds)

    assert limiting.limited(run) is run.argv
    assert limiting.limited(replace(run, bounds=replace(bounds))) is run.argv  # one that is equal, not the same
    assert bounds is UNBOUNDED or Runner().run(run).output == b"1024\n1048576\n2097152\n"


def test_sensors_with_other_bounds_do_not_get_in_each_others_way(write: Write) -> None:
    """Larger or smaller, in any order, from one runner."""
    program, runner = write("ulimit -n; cut -d ' ' -f 19 /proc/$$/stat"), Runner()
    wanted = [Bounds(files=files, nice=nice) for files, nice in ((1024, 0), (300, 5), (50, 5), (1024, 0), (2000, 0))]
    told = [runner.run(Run((program,), 10.0, 1000, bounds=bounds)).output.split() for bounds in wanted]

    assert told == [[str(bounds.files).encode(), str(bounds.nice).encode()] for bounds in wanted]


def test_cpu_time_is_that_of_one_run(write: Write) -> None:
    """A spawner that has worked for long takes nothing from it."""
    program, runner = write("ulimit -t; ulimit -Ht"), Runner()
    told = {runner.run(Run((program,), 10.0, 1000, bounds=Bounds(cpu_seconds=1000))).output for _ in range(3)}

    assert told == {b"1000\n1001\n"}


def test_where_prlimit_is_missing_limits_are_in_force_as_early(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only slower."""
    monkeypatch.setattr(limiting, "_PRLIMIT", None)
    program = write('(ulimit -n); (ulimit -d); (ulimit -f); echo "$@"')
    run = Run((program, "a b", "--", "-c"), 10.0, 1000, bounds=TIGHT)

    assert limiting.limited(run)[0] == sys.executable
    assert Runner().run(run).output == b"20\n65536\n2048\na b -- -c\n"


@pytest.mark.parametrize(("mode", "code", "error"), [(None, 127, "not-found"), (0o644, 126, "not-executable")])
def test_what_cannot_be_started_is_told_as_ever(write: Write, mode: int | None, code: int, error: str) -> None:
    """By its own name."""
    program = write("echo 1")
    os.unlink(program) if mode is None else os.chmod(program, stat.S_IFREG | mode)
    result = Runner().run(Run((program,), 10.0, 1000, bounds=TIGHT))

    assert (result.code, result.error) == (code, error)
    assert program in result.stderr.decode()


@needs_root
@pytest.mark.parametrize("bounds", [Bounds(processes=8), Bounds(processes=4096, cpu_seconds=10), DEFAULT])
def test_processes_of_other_users_are_limited_though_the_agent_is_root(bounds: Bounds) -> None:
    """Whose they will be counts, not who asks."""
    run = Run(("/bin/cat", "/proc/self/limits"), 10.0, 10_000, "nobody", bounds=bounds)
    told = next(line for line in Runner().run(run).output.splitlines() if line.startswith(b"Max processes"))

    assert told.split()[2:4] == [str(bounds.processes).encode()] * 2


BROKEN = {
    "its interpreter is missing": ("#!/no/such/interpreter\n", 0o755, 126, "not-executable", errno.ENOENT),
    "it is no program": ("echo 1\n", 0o755, 126, "not-executable", errno.ENOEXEC),
    "it may not be run": ("#!/bin/sh\n", 0o644, 126, "not-executable", errno.EACCES),
    "it is not there": (None, 0, 127, "not-found", errno.ENOENT),
}


@pytest.mark.parametrize("prlimit", [True, False])
@pytest.mark.parametrize("name", BROKEN)
def test_what_cannot_be_started_behind_its_limits_is_told_as_without_them(
    write: Write, monkeypatch: pytest.MonkeyPatch, name: str, prlimit: bool
) -> None:
    """The same code, word and errno, whoever sets the limits."""
    text, mode, *expected = BROKEN[name]
    program = write("")
    os.unlink(program)
    if text is not None:
        Path(program).write_text(text)
        os.chmod(program, mode)
    if not prlimit:
        monkeypatch.setattr(limiting, "_PRLIMIT", None)
    runner = Runner()
    results = [runner.run(Run((program,), 10.0, 1000, bounds=bounds)) for bounds in (TIGHT, DEFAULT)]

    assert [[one.code, one.error, one.errno] for one in results] == [expected] * 2
    assert all(program.encode() in one.stderr for one in results)


def test_a_program_that_talks_like_prlimit_is_still_a_program(write: Write) -> None:
    """Only the codes and the words together tell that it was not started."""
    program = write("echo 'prlimit: failed to execute me: Permission denied' >&2; exit 1")

    assert Runner().run(Run((program,), 10.0, 1000, bounds=TIGHT)).code == 1
