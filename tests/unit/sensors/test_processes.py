"""Processes: bounding them, finding what came of them, and ending it. All of them are real."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from monagent.sensors.processes import (
    MARK,
    REAP_SECONDS,
    Strays,
    children_of,
    kill,
    kill_group,
    mark_of,
    reaped,
)
from tests.support.processes import is_running

GONE = 99_999_999  # above every pid_max

Start = Callable[..., subprocess.Popen[bytes]]


@pytest.fixture
def start() -> Iterator[Start]:
    """Starts shell scripts, each in a session of its own; all that they are goes at the end."""
    started: list[subprocess.Popen[bytes]] = []

    def begin(script: str, mark: str = "") -> subprocess.Popen[bytes]:
        environment = {"PATH": os.environ["PATH"], **({MARK: mark} if mark else {})}
        pipe = subprocess.PIPE
        process = subprocess.Popen(
            ["/bin/sh", "-c", script], env=environment, stdin=pipe, stdout=pipe, start_new_session=True
        )
        started.append(process)
        return process

    yield begin
    for process in started:
        kill_group(process.pid, signal.SIGKILL)
        process.communicate(timeout=20)


def wait_until(is_so: Callable[[], object], what: str) -> None:
    """Wait until a condition holds, and fail saying what did not come."""
    until = time.monotonic() + 20
    while not is_so():
        assert time.monotonic() < until, what
        time.sleep(0.005)


def line(process: subprocess.Popen[bytes]) -> bytes:
    """The next line that a process prints."""
    assert process.stdout is not None
    return process.stdout.readline().strip()


# -- signals ------------------------------------------------------------------------------------------------------


def test_what_is_gone_is_left_alone() -> None:
    """No error, for processes and groups alike."""
    kill(GONE, signal.SIGKILL)
    kill_group(GONE, signal.SIGKILL)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_what_is_not_ours_is_left_alone() -> None:
    """No error, and the process goes on."""
    script = """
        import os, signal, subprocess
        from monagent.sensors.processes import kill, kill_group
        sleeper = subprocess.Popen(["/bin/sleep", "60"], stdout=subprocess.DEVNULL, start_new_session=True)
        if os.fork() == 0:
            os.setuid(65534)
            kill(sleeper.pid, signal.SIGKILL)
            kill_group(sleeper.pid, signal.SIGKILL)
            os._exit(0)
        os.wait()
        print(sleeper.poll())
        sleeper.kill()
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, timeout=60)

    assert done.stdout == "None\n", done.stderr


def test_a_child_is_reaped_once_it_has_ended(start: Start) -> None:
    """Not before, and what is no child of ours counts as reaped."""
    process = start("read x")

    assert not reaped(process.pid)
    os.kill(process.pid, signal.SIGKILL)
    wait_until(lambda: reaped(process.pid), "it is reaped")
    assert reaped(process.pid)
    assert reaped(GONE)


# -- who belongs to whom ------------------------------------------------------------------------------------------


def test_all_children_are_found_however_many_there_are() -> None:
    """The kernel tells them a page at a time."""
    script = """
        import os, signal
        from monagent.sensors.processes import children_of
        made = [os.posix_spawn("/bin/sleep", ["sleep", "60"], {}) for _ in range(1200)]
        found = children_of(os.getpid())
        for pid in made:
            os.kill(pid, signal.SIGKILL)
        print(sorted(found) == sorted(made))
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, timeout=60)

    assert done.stdout == "True\n", done.stderr


def test_a_process_without_children_and_one_that_is_gone_have_none(start: Start) -> None:
    """An empty list, no error."""
    assert children_of(start("read x").pid) == []
    assert children_of(GONE) == []


def test_a_mark_is_inherited_and_read_from_outside(start: Start) -> None:
    """Also behind a large environment, and not from a variable that only ends like it."""
    filler = "export " + " ".join(f"A{number}={'x' * 1000}" for number in range(60))
    marked = start("sleep 60 & echo $!; read x", "token.1")
    crowded = start(f"{filler}; exec sh -c 'echo; read x'", "token.2")
    other = start(f"X{MARK}=token.3 exec sh -c 'echo; read x'")
    child = int(line(marked))
    line(crowded)
    line(other)

    wait_until(lambda: mark_of(child) == "token.1", "the child is marked")
    assert mark_of(marked.pid) == "token.1"
    assert mark_of(crowded.pid) == "token.2"
    assert mark_of(other.pid) == ""
    assert mark_of(GONE) == ""


# -- bounds -------------------------------------------------------------------------------------------------------


def bounded(limits: tuple[int, ...], nice: int, io: int, script: str, before: str = "") -> list[str]:
    """What a shell's script prints when it is started by a process that bounded itself."""
    program = f"""
        import resource, subprocess
        from monagent.sensors.processes import bound_ourselves
        {before}
        bound_ourselves({limits}, {nice}, {io})
        subprocess.run(["/bin/sh", "-c", {script!r}])
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True, timeout=60)
    assert done.stderr == ""
    return done.stdout.split()


ALL = "for of in d n t f; do ulimit -S$of; ulimit -H$of; done; cut -d ' ' -f 19 /proc/$$/stat"


def test_all_bounds_are_inherited_from_the_first_instruction_on() -> None:
    """Soft and hard, so that nothing can raise them; CPU time has one second between XCPU and KILL."""
    told = bounded((1 << 28, 4000, 64, 50, 1 << 20), 7, -1, f"{ALL}; grep processes /proc/self/limits")

    kib, blocks = str(1 << 18), str(2048)
    assert told[:9] == [kib, kib, "64", "64", "50", "51", blocks, blocks, "7"]
    assert os.geteuid() == 0 or told[11:13] == ["4000", "4000"]  # root's are not counted


def test_what_is_not_to_be_limited_stays_as_it_is() -> None:
    """A negative number is no limit of zero."""
    usual = subprocess.run(["/bin/sh", "-c", ALL], capture_output=True, text=True, check=True).stdout.split()

    assert bounded((-1, -1, -1, -1, -1), 0, -1, ALL) == usual


def test_nobody_gets_more_than_the_agent_itself_may_have() -> None:
    """A limit above our own hard one is our own hard one."""
    before = "resource.setrlimit(resource.RLIMIT_NOFILE, (50, 60)); resource.setrlimit(resource.RLIMIT_CPU, (100, 200))"

    assert bounded((-1, -1, 1000, 1000, -1), 0, -1, ALL, before)[2:6] == ["60", "60", "200", "200"]


def test_numbers_beyond_all_bounds_do_no_harm() -> None:
    """The largest that a configuration can hold."""
    assert bounded((1 << 70, 1 << 63, 1 << 70, 1 << 70, 1 << 70), 0, -1, "echo 5") == ["5"]


def test_the_io_class_is_set() -> None:
    """As ionice(1) tells it."""
    if not shutil.which("ionice"):
        pytest.skip("there is no ionice on this machine")

    assert bounded((-1, -1, -1, -1, -1), 0, 3 << 13, "ionice") == ["idle"]


# -- strays -------------------------------------------------------------------------------------------------------


def strays_of(*processes: subprocess.Popen[bytes]) -> Strays:
    """Those of these processes that have not been reaped are the children."""
    return Strays(lambda: [one.pid for one in processes if os.path.exists(f"/proc/{one.pid}")])


def test_a_stray_with_the_mark_of_a_run_that_goes_on_stays(start: Start) -> None:
    """The others go, are reaped, and while they are on their way another sweep soon is asked for."""
    # Not "sleep 60" alone: the shell would become it, and has no mark for an instant then.
    one, two = start("sleep 60; :", "token.1"), start("sleep 60; :", "token.2")
    strays = strays_of(one, two)

    assert strays.sweep({"token.2": 2}, 2)
    wait_until(lambda: not strays.sweep({"token.2": 2}, 2), "nothing is on its way any more")
    assert not os.path.exists(f"/proc/{one.pid}")
    assert is_running(two.pid)
    assert strays.there
    assert strays.sweep({}, 2)
    wait_until(lambda: not strays.sweep({}, 2), "both are gone")
    assert not os.path.exists(f"/proc/{two.pid}")
    assert not strays.there


def test_a_stray_without_a_mark_stays_as_long_as_a_run_that_it_may_belong_to(start: Start) -> None:
    """Which are those that were there when it was first seen, and no later ones."""
    stray = start("sleep 60")
    strays = strays_of(stray)

    assert not strays.sweep({"token.3": 3, "token.4": 4}, 4)
    assert not strays.sweep({"token.4": 4, "token.5": 5}, 5)
    assert is_running(stray.pid)
    assert strays.sweep({"token.5": 5}, 5)
    wait_until(lambda: not strays.sweep({"token.5": 5}, 5), "it is gone")
    assert not os.path.exists(f"/proc/{stray.pid}")


def test_a_stray_without_a_mark_goes_at_once_when_nothing_runs(start: Start) -> None:
    """It can belong to nobody."""
    stray = start("sleep 60")

    assert strays_of(stray).sweep({}, 7)
    wait_until(lambda: not is_running(stray.pid), "it is gone")


def test_a_signal_reaches_the_strays_of_one_run_only(start: Start) -> None:
    """As a run is told to end, what it put outside of its group is told as well."""
    one, two = start("exec sleep 60", "token.1"), start("exec sleep 60", "token.2")
    for process in (one, two):  # a process that is just becoming another program shows no mark
        name = Path(f"/proc/{process.pid}/comm")
        wait_until(lambda name=name: name.read_text() == "sleep\n", "it sleeps")
    strays_of(one, two).signal("token.1", signal.SIGTERM)

    assert one.wait(20) == -signal.SIGTERM
    assert is_running(two.pid)


def test_what_cannot_be_killed_is_not_hurried_after_for_ever(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another user's, or stuck in the kernel: after a while the usual pace will do."""
    stray = start("sleep 60", "token.1")
    monkeypatch.setattr("monagent.sensors.processes.kill", lambda _pid, _number: None)
    clock = time.monotonic()
    monkeypatch.setattr("monagent.sensors.processes.time.monotonic", lambda: clock)
    strays = strays_of(stray)
    assert strays.sweep({}, 1)
    clock += REAP_SECONDS + 1

    assert not strays.sweep({}, 1)
    assert strays.there
