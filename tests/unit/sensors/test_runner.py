"""The runner against a zoo of programs that misbehave in every way they can."""

from __future__ import annotations

import fcntl
import os
import pwd
import re
import resource
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from monagent.models import Bounds, Run, RunResult
from monagent.sensors import spawning
from monagent.sensors.processes import children_of
from monagent.sensors.runner import Runner
from monagent.sensors.spawner import START_SECONDS
from monagent.sensors.spawning import clean_environment
from tests.support.processes import is_running
from tests.support.rights import needs_root

LIMIT = 65536
TIMEOUT = 20.0
SOON = 10.0
"""Seconds; what has no reason to wait takes far less, also on a busy machine."""

Program = Callable[[str], str]

NOT_DEADLY = {
    signal.SIGCHLD, signal.SIGCONT, signal.SIGURG, signal.SIGWINCH,  # ignored by default
    signal.SIGSTOP, signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU,  # these stop
}  # fmt: skip
DEADLY = sorted(set(signal.Signals) - NOT_DEADLY)


@pytest.fixture
def runner() -> Runner:
    """A runner of its own."""
    return Runner()


@pytest.fixture
def program(tmp_path: Path) -> Program:
    """Writes a program and gives its path."""
    count = 0

    def write(text: str) -> str:
        nonlocal count
        count += 1
        path = tmp_path / f"program{count}"
        path.write_text(text)
        path.chmod(0o755)
        return str(path)

    return write


@pytest.fixture
def shell(runner: Runner, program: Program) -> Callable[..., RunResult]:
    """Runs a shell script to its end."""

    def run(script: str, *arguments: str, timeout: float = TIMEOUT, limit: int = LIMIT) -> RunResult:
        return runner.run(Run((program(f"#!/bin/sh\n{script}\n"), *arguments), timeout, limit))

    return run


@pytest.fixture
def stray() -> Iterator[list[int]]:
    """The ids of processes that a test leaves behind on purpose; they are killed at its end."""
    pids: list[int] = []
    yield pids
    for pid in pids:
        if is_running(pid):
            os.kill(pid, signal.SIGKILL)


# -- how a program ends -------------------------------------------------------------------------------------------


def test_what_a_program_prints_comes_back_unchanged(shell: Callable[..., RunResult]) -> None:
    """Output, stderr, code and times of a plain run."""
    before = time.time()
    result = shell('echo "$1|$2"; echo grumble >&2', "a b", "*")

    assert (result.code, result.output, result.stderr, result.error) == (0, b"a b|*\n", b"grumble\n", "")
    assert before - 1 <= result.started <= time.time() + 1
    assert 0 < result.duration < SOON


@pytest.mark.parametrize("code", [0, 1, 2, 3, 42, 125, 126, 127, 128, 255])
def test_an_exit_code_comes_back_as_it_is(shell: Callable[..., RunResult], code: int) -> None:
    """Whatever a program exits with is no error of the run."""
    result = shell(f"echo 5; exit {code}")

    assert (result.code, result.output, result.error) == (code, b"5\n", "")


@pytest.mark.parametrize("number", DEADLY, ids=lambda number: number.name)
def test_a_program_that_dies_of_a_signal_tells_which(shell: Callable[..., RunResult], number: signal.Signals) -> None:
    """A signal's number comes back negative; none is blocked or ignored in a sensor."""
    result = shell(f"ulimit -c 0; echo 5; kill -{int(number)} $$; sleep 30")

    assert (result.code, result.error) == (-number, "signal")


def test_no_signal_is_blocked_in_a_program(shell: Callable[..., RunResult]) -> None:
    """The mask of the thread that starts it is empty, and so is the program's."""
    result = shell("grep SigBlk /proc/self/status")

    assert result.output.split() == [b"SigBlk:", b"0" * 16]


# -- deadlines ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "script",
    [
        pytest.param("sleep 60", id="hangs"),
        pytest.param("trap '' TERM INT HUP; sleep 60; sleep 60", id="ignores TERM"),
        pytest.param("kill -STOP $$; sleep 60", id="stops itself"),
        pytest.param("exec >&- 2>&-; sleep 60", id="closes its output and hangs"),
        pytest.param("while :; do echo 1; done", id="never stops printing"),
        pytest.param("while :; do :; done", id="burns the processor"),
    ],
)
def test_a_program_that_does_not_end_is_killed_at_its_deadline(shell: Callable[..., RunResult], script: str) -> None:
    """Whatever it does, it is over shortly after its time."""
    result = shell(f"echo 5; {script}", timeout=0.4)

    assert (result.code, result.error) == (-9, "timeout")
    assert 0.4 <= result.duration < SOON


def test_a_deadline_kills_the_children_too(shell: Callable[..., RunResult], tmp_path: Path) -> None:
    """Nothing of the group is left behind."""
    result = shell(f"(trap '' TERM; sleep 60) & echo $! > {tmp_path}/child; wait", timeout=0.4)

    assert result.error == "timeout"
    _expect_end(int((tmp_path / "child").read_text()))


def test_a_deadline_of_many_days_can_be_waited_for(runner: Runner) -> None:
    """The wait is made in steps, for poll() takes no such number."""
    assert runner.run(Run(("/bin/echo", "1"), 365 * 86400.0, LIMIT)).output == b"1\n"


# -- what it leaves behind ----------------------------------------------------------------------------------------


def test_a_child_that_holds_the_pipe_delays_nothing_and_dies(shell: Callable[..., RunResult], tmp_path: Path) -> None:
    """The end of the program is the end of the run, and its children end with it."""
    result = shell(f"sleep 60 & echo $! > {tmp_path}/child; echo 5")

    assert (result.code, result.output, result.error) == (0, b"5\n", "")
    assert result.duration < SOON
    _expect_end(int((tmp_path / "child").read_text()))


def test_what_a_child_writes_after_the_end_does_not_count(shell: Callable[..., RunResult], tmp_path: Path) -> None:
    """The output is what was there when the program ended."""
    result = shell("(sleep 0.3; echo late) & echo 5")

    assert result.output == b"5\n"


def test_a_child_that_floods_the_pipe_after_the_end_delays_nothing(shell: Callable[..., RunResult]) -> None:
    """Only so much is read once the program has ended."""
    result = shell("yes & sleep 0.2; echo 5")

    assert result.error == "output-too-long"
    assert result.duration < SOON


def test_a_daemon_that_left_the_group_delays_nothing_and_goes_with_its_run(
    shell: Callable[..., RunResult], tmp_path: Path, stray: list[int]
) -> None:
    """A session of its own does not let it outlive the run."""
    result = shell(f"setsid sh -c 'echo $$ > {tmp_path}/daemon; exec sleep 60' & \nsleep 0.3; echo 5")
    stray.append(int((tmp_path / "daemon").read_text()))

    assert (result.code, result.output, result.error) == (0, b"5\n", "")
    assert result.duration < SOON
    _expect_end(stray[0])


# -- output -------------------------------------------------------------------------------------------------------


def test_a_flood_of_a_gigabyte_is_cut_and_takes_no_memory(shell: Callable[..., RunResult]) -> None:
    """The first bytes are kept, the rest is read and thrown away."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    result = shell("head -c 1000000000 /dev/zero", timeout=60)
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    assert (result.code, result.error) == (0, "output-too-long")
    assert result.output == bytes(LIMIT)
    assert after - before < 20 * 1024  # KiB


@pytest.mark.parametrize(("size", "error"), [(99, ""), (100, ""), (101, "output-too-long")])
def test_the_limit_of_the_output_is_exact(shell: Callable[..., RunResult], size: int, error: str) -> None:
    """As much as is allowed passes; one byte more does not."""
    result = shell(f"head -c {size} /dev/zero", limit=100)

    assert (len(result.output), result.error) == (min(size, 100), error)


def test_a_flood_on_stderr_is_cut_and_is_no_error(shell: Callable[..., RunResult]) -> None:
    """The number still counts, and 4 KiB of the complaint are kept."""
    result = shell("head -c 1000000 /dev/zero >&2; echo 5")

    assert (result.code, result.output, result.error) == (0, b"5\n", "")
    assert result.stderr == bytes(4096)


def test_all_that_fits_into_a_pipe_is_read_after_the_end(shell: Callable[..., RunResult]) -> None:
    """A program that prints a pipe full in one go and ends loses nothing."""
    result = shell("head -c 65536 /dev/zero", limit=10**6)

    assert result.output == bytes(65536)


def test_bytes_that_are_no_text_come_back_as_bytes(shell: Callable[..., RunResult]) -> None:
    """NUL, escape sequences and broken UTF-8 pass through."""
    assert shell(r"printf '\000\033[2J\377\r\n'").output == b"\x00\x1b[2J\xff\r\n"


def test_a_program_that_closes_its_output_is_waited_for(shell: Callable[..., RunResult]) -> None:
    """The end of the output is not the end of the program."""
    result = shell("exec >&- 2>&-; sleep 0.3; exit 3")

    assert (result.code, result.output, result.error) == (3, b"", "")
    assert result.duration >= 0.3


# -- what cannot be run -------------------------------------------------------------------------------------------


def test_a_program_that_is_not_there_is_told_apart(runner: Runner, tmp_path: Path) -> None:
    """127, for a missing file, a missing directory, a file for a directory and a link to nowhere."""
    (tmp_path / "file").touch()
    (tmp_path / "dangling").symlink_to("nowhere")
    for missing in ("gone", "no/such/directory", "file/check", "dangling"):
        result = runner.run(Run((str(tmp_path / missing),), TIMEOUT, LIMIT))

        assert (result.code, result.error, result.output) == (127, "not-found", b"")
        assert result.stderr


def _without_permission(path: Path) -> None:
    path.write_text("#!/bin/sh\necho 5\n")


def _without_shebang(path: Path) -> None:
    path.write_text("echo 5\n")
    path.chmod(0o755)


def _without_interpreter(path: Path) -> None:
    path.write_text("#!/no/such/interpreter\necho 5\n")
    path.chmod(0o755)


def _empty(path: Path) -> None:
    path.touch(0o755)


def _broken_binary(path: Path) -> None:
    path.write_bytes(b"\x7fELF" + bytes(60))
    path.chmod(0o755)


def _loop(path: Path) -> None:
    path.symlink_to(path)


@pytest.mark.parametrize(
    "make",
    [_without_permission, _without_shebang, _without_interpreter, _empty, _broken_binary, _loop, Path.mkdir, os.mkfifo],
    ids=lambda make: make.__name__.strip("_"),
)
def test_what_is_there_and_cannot_be_executed_is_told_apart(
    runner: Runner, tmp_path: Path, make: Callable[[Path], None]
) -> None:
    """126 with the reason on stderr, never an exception."""
    make(tmp_path / "check")
    result = runner.run(Run((str(tmp_path / "check"),), TIMEOUT, LIMIT))

    assert (result.code, result.error, result.output) == (126, "not-executable", b"")
    assert result.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param(["x" * 200_000], id="one argument too long"),
        pytest.param(["x" * 100_000] * 100, id="too much in all"),
        pytest.param(["a\0b"], id="NUL"),
        pytest.param(["\ud800"], id="lone surrogate"),
    ],
)
def test_arguments_that_the_system_does_not_take_are_an_answer(runner: Runner, arguments: list[str]) -> None:
    """126, never an exception."""
    result = runner.run(Run(("/bin/echo", *arguments), TIMEOUT, LIMIT))

    assert (result.code, result.error) == (126, "not-executable")


def test_a_program_may_vanish_between_two_runs(runner: Runner, program: Program) -> None:
    """Nothing of it is remembered."""
    path = program("#!/bin/sh\necho 5\n")

    assert runner.run(Run((path,), TIMEOUT, LIMIT)).code == 0
    os.unlink(path)
    assert runner.run(Run((path,), TIMEOUT, LIMIT)).code == 127


# -- what it finds ------------------------------------------------------------------------------------------------


def test_the_environment_is_clean(runner: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    """A program finds the few variables that are promised, and no secret of the agent's."""
    monkeypatch.setenv("SECRET", "x")
    monkeypatch.setenv("NOTIFY_SOCKET", "/run/notify")
    monkeypatch.setenv("LISTEN_PID", "1")
    found = runner.run(Run(("/usr/bin/env",), TIMEOUT, LIMIT)).output.decode().splitlines()

    environment = dict(line.split("=", 1) for line in found)
    assert re.fullmatch(r"[0-9]+\.[0-9]+", environment.pop("MONAGENT_RUN"))
    assert environment == clean_environment()
    assert {"PATH", "LANG", "HOME", "SHELL", "PYTHONDONTWRITEBYTECODE"} == set(clean_environment())


def test_a_sensor_in_python_finds_an_interpreter_everywhere(runner: Runner, program: Program) -> None:
    """The one that runs the agent comes last in PATH."""
    result = runner.run(Run((program("#!/usr/bin/env python3\nprint(5)\n"),), TIMEOUT, LIMIT))

    assert (result.code, result.output) == (0, b"5\n")


def test_no_open_file_is_inherited(shell: Callable[..., RunResult]) -> None:
    """Not even one that was made inheritable."""
    reader, writer = os.pipe()
    inheritable = fcntl.fcntl(writer, fcntl.F_DUPFD, 77)
    try:
        result = shell("for n in 3 4 5 6 7 8 9 $1; do [ -e /proc/$$/fd/$n ] && echo $n; done; exit 0", str(inheritable))
    finally:
        for descriptor in (reader, writer, inheritable):
            os.close(descriptor)

    assert result.output == b""


def test_a_program_leads_a_session_and_a_group_of_its_own(shell: Callable[..., RunResult]) -> None:
    """So that a terminal's signals never reach it, and its whole group can be killed."""
    pid, group, session = shell("cut -d ' ' -f 1,5,6 /proc/$$/stat").output.split()

    assert pid == group == session


def test_the_input_is_empty(shell: Callable[..., RunResult]) -> None:
    """Reading it ends at once."""
    assert shell("wc -c").output.strip() == b"0"


def test_the_working_directory_is_the_root(shell: Callable[..., RunResult]) -> None:
    """Whatever the agent's own is."""
    assert shell("pwd").output == b"/\n"


def test_the_output_blocks_as_programs_expect(shell: Callable[..., RunResult]) -> None:
    """O_NONBLOCK on a pipe would make writes of the program itself fail."""
    flags = [int(line.split()[1], 8) for line in shell("grep -h flags /proc/$$/fdinfo/[12]").output.splitlines()]

    assert len(flags) == 2
    assert all(not flag & os.O_NONBLOCK for flag in flags)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_a_sensor_can_run_as_another_user_with_no_groups_but_its_own(runner: Runner) -> None:
    """User, group and supplementary groups all change."""
    nobody = pwd.getpwnam("nobody")
    shown = [
        runner.run(Run(("/usr/bin/id", option), TIMEOUT, LIMIT, "nobody")).output.split()
        for option in ("-u", "-g", "-G")
    ]

    assert shown == [[str(nobody.pw_uid).encode()], [str(nobody.pw_gid).encode()], [str(nobody.pw_gid).encode()]]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_a_sensor_of_another_user_is_killed_at_its_deadline_too(runner: Runner) -> None:
    """Root's reach is long enough."""
    result = runner.run(Run(("/bin/sleep", "60"), 0.4, LIMIT, "nobody"))

    assert (result.code, result.error) == (-9, "timeout")


def test_a_user_that_does_not_exist_is_an_answer(runner: Runner) -> None:
    """126, never an exception."""
    result = runner.run(Run(("/bin/echo", "5"), TIMEOUT, LIMIT, "no-such-user"))

    assert (result.code, result.error) == (126, "not-executable")


# -- many runs ----------------------------------------------------------------------------------------------------


def test_three_hundred_runs_of_all_kinds_leak_nothing(runner: Runner, program: Program) -> None:
    """No descriptor, no thread and no zombie stays."""
    good = program("#!/bin/sh\necho 5\n")
    forks = program("#!/bin/sh\nsleep 60 & echo 5\n")
    kinds = [
        Run((good,), TIMEOUT, LIMIT),
        Run((forks,), TIMEOUT, LIMIT),
        Run((program("#!/bin/sh\nkill -9 $$\n"),), TIMEOUT, LIMIT),
        Run((program("#!/bin/sh\nhead -c 200000 /dev/zero\n"),), TIMEOUT, LIMIT),
        Run((program("no program"),), TIMEOUT, LIMIT),
        Run(("/no/such/program",), TIMEOUT, LIMIT),
        Run((good, "a\0b"), TIMEOUT, LIMIT),
        Run((good,), TIMEOUT, LIMIT, "no-such-user"),
        Run(("/bin/sleep", "60"), 0.03, LIMIT),
        Run((program("#!/bin/sh\nexec >&- 2>&-\n"),), TIMEOUT, LIMIT),
    ]
    for run in kinds:
        runner.run(run)
    before = _descriptors(), threading.active_count(), _zombies()
    for _ in range(30):
        for run in kinds:
            runner.run(run)

    assert (_descriptors(), threading.active_count(), _zombies()) == before


def test_threads_that_run_programs_at_once_each_get_their_own_output(runner: Runner) -> None:
    """Eight threads, 25 runs each, and nothing is mixed up."""
    wrong: list[object] = []

    def work(name: int) -> None:
        for number in range(25):
            result = runner.run(Run(("/bin/echo", f"{name}-{number}"), TIMEOUT, LIMIT))
            if (result.code, result.output) != (0, f"{name}-{number}\n".encode()):
                wrong.append(result)

    threads = [threading.Thread(target=work, args=(name,)) for name in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)

    assert wrong == []
    assert not any(thread.is_alive() for thread in threads)


def test_everything_that_runs_can_be_killed_at_once(runner: Runner) -> None:
    """Each run ends and says that a signal ended it."""
    results: list[RunResult] = []

    def work() -> None:
        results.append(runner.run(Run(("/bin/sleep", "60"), 60, LIMIT)))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    until = time.monotonic() + 20
    while len(running := _sleepers(runner)) < 4 and time.monotonic() < until:
        time.sleep(0.01)
    runner.stop()
    for thread in threads:
        thread.join(20)

    assert [(result.code, result.error) for result in results] == [(-9, "signal")] * 4
    assert len(running) == 4
    assert not any(map(is_running, running))


def test_a_process_without_free_descriptors_gets_an_answer_for_every_run() -> None:
    """However few are left, a run ends with 0 or 126, raises nothing, and leaves neither process nor descriptor."""
    script = """
        import os, resource
        from monagent.models import Run
        from monagent.sensors.processes import children_of
        from monagent.sensors.runner import Runner
        runner = Runner()
        runner.prepare()
        codes = set()
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        opened = len(os.listdir("/proc/self/fd")) - 1
        for spare in range(12, -1, -1):
            resource.setrlimit(resource.RLIMIT_NOFILE, (opened + spare, hard))
            result = runner.run(Run(("/bin/echo", "1"), 20, 100))
            codes.add(result.code)
            assert os.waitpid(-1, os.WNOHANG) == (0, 0)
        resource.setrlimit(resource.RLIMIT_NOFILE, (opened + 12, hard))
        assert len(os.listdir("/proc/self/fd")) - 1 == opened, os.listdir("/proc/self/fd")
        assert len(children_of(os.getpid())) == 1
        print(sorted(codes))
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, timeout=60, check=False
    )

    assert (done.returncode, done.stdout, done.stderr) == (0, "[0, 126]\n", "")


def test_a_program_that_hangs_while_it_is_loaded_costs_its_own_run_alone(runner: Runner, program: Program) -> None:
    """As on a file system that hangs: others are served meanwhile, and what stood still is replaced soon."""
    path = program("#!/bin/sh\necho 1\n")
    runner.prepare()
    results: list[RunResult] = []
    ignoring = signal.signal(signal.SIGIO, signal.SIG_IGN)
    with open(path, "r+b") as held:
        fcntl.fcntl(held, fcntl.F_SETLEASE, fcntl.F_WRLCK)  # whoever opens it waits for us, up to 45 s
        try:
            thread = threading.Thread(target=lambda: results.append(runner.run(Run((path,), 1.0, LIMIT))))
            thread.start()
            time.sleep(0.3)
            started = time.monotonic()
            others = [runner.run(Run(("/bin/echo", "5"), TIMEOUT, LIMIT)) for _ in range(20)]
            assert time.monotonic() - started < 2
            thread.join(20)
            waited = time.monotonic() - started
        finally:
            fcntl.fcntl(held, fcntl.F_SETLEASE, fcntl.F_UNLCK)
            signal.signal(signal.SIGIO, ignoring)

    assert [one.output for one in others] == [b"5\n"] * 20
    assert results[0].code == -9
    assert waited < START_SECONDS + 3
    assert runner.run(Run((path,), TIMEOUT, LIMIT)).output == b"1\n"


def test_what_runs_sensors_with_other_bounds_than_any_has_ends_when_it_has_nothing_to_do(runner: Runner) -> None:
    """Not before its last run has ended."""
    old, new = Bounds(files=2000), Bounds(files=3000)
    results: list[RunResult] = []
    thread = threading.Thread(
        target=lambda: results.append(runner.run(Run(("/bin/sh", "-c", "sleep 1; echo 5"), TIMEOUT, LIMIT, bounds=old)))
    )
    thread.start()
    time.sleep(0.5)
    (before,) = runner._spawnings.values()
    runner.prepare("", new)
    runner.keep([("", new)])
    assert is_running(before.pid)
    thread.join(20)

    assert results[0].output == b"5\n"
    assert not is_running(before.pid)
    assert [bounds for _, bounds in runner._spawnings] == [new]


@needs_root
def test_bounds_that_can_no_longer_be_had_are_those_of_before(runner: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    """An agent that has given up root goes on with what it could start before; that is told by `prepare()`."""
    old, new = Bounds(files=2000), Bounds(files=3000)
    runner.prepare("nobody", old)

    def not_any_more(_user: str) -> tuple[str, str]:
        raise PermissionError(1, "no")

    monkeypatch.setattr(spawning, "_identity_of", not_any_more)
    with pytest.raises(PermissionError):
        runner.prepare("nobody", new)
    runner.keep([("nobody", new)])
    result = runner.run(Run(("/bin/sh", "-c", "ulimit -n; id -un"), TIMEOUT, LIMIT, "nobody", bounds=new))

    assert result.output == b"2000\nnobody\n"


def test_what_left_its_group_is_gone_after_the_run_however_its_parents_end(runner: Runner, program: Program) -> None:
    """A child whose parent is just dying is nobody's child for a moment."""
    path = program("#!/bin/sh\n(setsid sleep 4242.25 & wait) & sleep .03; exit 0\n")
    threads = [
        threading.Thread(target=lambda: [runner.run(Run((path,), TIMEOUT, LIMIT)) for _ in range(25)]) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    until = time.monotonic() + 5
    while left := subprocess.run(["pgrep", "-f", "sleep 4242.25"], capture_output=True, check=False).stdout.split():
        assert time.monotonic() < until, left
        time.sleep(0.05)


def _sleepers(runner: Runner) -> list[int]:
    """What the workers of the runner's own spawner are running."""
    first = [spawning.pid for spawning in runner._spawnings.values()]
    return [pid for keeper in first for worker in children_of(keeper) for pid in children_of(worker)]


def _expect_end(pid: int) -> None:
    until = time.monotonic() + 10
    while is_running(pid):
        assert time.monotonic() < until, f"process {pid} is still there"
        time.sleep(0.01)


def _descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def _zombies() -> int:
    count = 0
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                fields = Path(f"/proc/{entry}/stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            count += fields[0] == "Z" and fields[1] == str(os.getpid())
    return count
