"""Processes: bounding them, finding what came of them, and ending it. All of them are real."""

from __future__ import annotations

import inspect
import os
import resource
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
    restrict,
    restrict_all,
)
from tests.support.processes import is_running

NONE = -1
FREE = (NONE, NONE, NONE, NONE, NONE)
FILES = (NONE, NONE, 99, NONE, NONE)
"""Where the whole host is searched for a mark: also by tests that run beside this one."""
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


def limit(pid: int, kind: int) -> tuple[int, int]:
    """One limit of a process."""
    return resource.prlimit(pid, kind)


def state(pid: int) -> str:
    """The state of a process, one letter."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


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
        from monagent.sensors.processes import kill, kill_group, restrict
        sleeper = subprocess.Popen(["/bin/sleep", "60"], stdout=subprocess.DEVNULL, start_new_session=True)
        if os.fork() == 0:
            os.setuid(65534)
            kill(sleeper.pid, signal.SIGKILL)
            kill_group(sleeper.pid, signal.SIGKILL)
            restrict(sleeper.pid, (1 << 20, 10, 10, 10, 1 << 20), 5, -1)
            print(open(f"/proc/{sleeper.pid}/limits").read().count(" 10 "), flush=True)
            os._exit(0)
        os.wait()
        print(sleeper.poll())
        sleeper.kill()
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, timeout=60)

    assert done.stdout == "0\nNone\n", done.stderr


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


def test_all_limits_are_set(start: Start) -> None:
    """Soft and hard, so that nothing can raise them; CPU time has one second between XCPU and KILL."""
    process = start("sleep 60")
    restrict(process.pid, (1 << 28, 100, 64, 50, 1 << 20), 7, -1)

    assert limit(process.pid, resource.RLIMIT_DATA) == (1 << 28, 1 << 28)
    assert os.geteuid() == 0 or limit(process.pid, resource.RLIMIT_NPROC) == (100, 100)  # root's are not counted
    assert limit(process.pid, resource.RLIMIT_NOFILE) == (64, 64)
    assert limit(process.pid, resource.RLIMIT_CPU) == (50, 51)
    assert limit(process.pid, resource.RLIMIT_FSIZE) == (1 << 20, 1 << 20)
    assert os.getpriority(os.PRIO_PROCESS, process.pid) == 7


def test_what_is_not_to_be_limited_stays_as_it_is(start: Start) -> None:
    """A negative number is no limit of zero."""
    process = start("sleep 60")
    before = Path(f"/proc/{process.pid}/limits").read_text()
    restrict(process.pid, FREE, 0, -1)

    assert Path(f"/proc/{process.pid}/limits").read_text() == before


def test_a_long_chain_of_processes_is_bounded_to_its_end(start: Start) -> None:
    """Each is the child of the one before; that is no reason to run out of stack."""
    program = start('f() { [ "$1" = 0 ] && echo $$ || (f $(($1 - 1))); sleep 60; }; f 60')
    line(program)
    usual = sys.getrecursionlimit()
    sys.setrecursionlimit(len(inspect.stack()) + 40)
    try:
        restrict_all(program.pid, FILES, 0, NONE)
    finally:
        sys.setrecursionlimit(usual)
    members = [pid for pid in map(int, filter(str.isdigit, os.listdir("/proc"))) if _group(pid) == program.pid]

    assert len(members) > 60
    assert {limit(pid, resource.RLIMIT_NOFILE) for pid in members} == {(99, 99)} | {
        limit(program.pid, resource.RLIMIT_NOFILE)
    }


def _group(pid: int) -> int:
    try:
        return os.getpgid(pid)
    except ProcessLookupError:
        return -1


def test_nobody_gets_more_than_the_agent_itself_may_have() -> None:
    """A limit above our own hard one is our own hard one."""
    script = """
        import resource, subprocess
        from monagent.sensors.processes import restrict
        resource.setrlimit(resource.RLIMIT_NOFILE, (50, 60))
        resource.setrlimit(resource.RLIMIT_CPU, (100, 200))
        sleeper = subprocess.Popen(["/bin/sleep", "60"])
        restrict(sleeper.pid, (-1, -1, 1000, 1000, -1), 0, -1)
        print(resource.prlimit(sleeper.pid, resource.RLIMIT_NOFILE), resource.prlimit(sleeper.pid, resource.RLIMIT_CPU))
        sleeper.kill()
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, timeout=60)

    assert done.stdout == "(60, 60) (200, 200)\n", done.stderr


def test_the_io_class_is_set(start: Start) -> None:
    """As ionice(1) tells it."""
    process = start("read x")
    restrict(process.pid, FREE, 0, 3 << 13)
    try:
        told = subprocess.run(["ionice", "-p", str(process.pid)], capture_output=True, text=True, check=True).stdout
    except FileNotFoundError:
        pytest.skip("there is no ionice on this machine")

    assert told.strip() == "idle"


def test_a_program_that_is_gone_is_not_bounded_and_no_error() -> None:
    """It was quicker than we."""
    restrict(GONE, FILES, 5, 3 << 13)
    restrict_all(GONE, FILES, 5, 3 << 13)


def test_what_began_before_its_parent_was_bounded_is_bounded_too() -> None:
    """Children, grandchildren in a session of their own, and those whose parent has gone; afterwards they go on."""
    script = """
        import os, resource, signal, subprocess, time
        from pathlib import Path
        from monagent.sensors.processes import become_subreaper, kill_group, restrict, restrict_all
        become_subreaper()
        tree = "sh -c 'setsid sleep 60 & echo $!; (sleep 60 & echo $!); exec sleep 60' & echo $!; wait"
        leader = subprocess.Popen(["/bin/sh", "-c", tree], stdout=subprocess.PIPE, start_new_session=True)
        pids = [leader.pid, *(int(leader.stdout.readline()) for _ in range(3))]
        time.sleep(0.1)
        before = {resource.prlimit(pid, resource.RLIMIT_NOFILE) for pid in pids}
        restrict(leader.pid, (-1, -1, 99, -1, -1), 4, -1)
        restrict_all(leader.pid, (-1, -1, 99, -1, -1), 4, -1)
        time.sleep(0.1)
        states = [Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] for pid in pids]
        print((99, 99) in before, {resource.prlimit(pid, resource.RLIMIT_NOFILE) for pid in pids})
        print({os.getpriority(os.PRIO_PROCESS, pid) for pid in pids}, "T" in states)
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, timeout=60)

    assert done.stdout == "False {(99, 99)}\n{4} False\n", done.stderr


def test_a_program_that_stopped_itself_is_not_sent_on(start: Start) -> None:
    """While its children are bounded, all of them are stopped; only those go on that did before."""
    process = start("sleep 60 & echo $!; kill -STOP $$; echo bad")
    child = int(line(process))
    wait_until(lambda: state(process.pid) == "T", "it has stopped itself")
    restrict_all(process.pid, FILES, 0, -1)

    assert limit(child, resource.RLIMIT_NOFILE) == (99, 99)
    assert state(process.pid) == "T"
    wait_until(lambda: state(child) == "S", "the child goes on")


def test_nothing_is_stopped_where_everything_is_bounded(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stop cuts some system calls short, so it is kept for where it is needed."""
    process = start("read x; sleep 60 & echo $!; wait")
    restrict(process.pid, FILES, 0, -1)
    assert process.stdin is not None
    process.stdin.write(b"\n")
    process.stdin.flush()
    child = int(line(process))
    stopped: list[int] = []
    monkeypatch.setattr("monagent.sensors.processes.kill_group", lambda pid, _number: stopped.append(pid))
    restrict_all(process.pid, FILES, 0, -1)

    assert stopped == []
    assert limit(child, resource.RLIMIT_NOFILE) == (99, 99)


def test_a_family_that_grows_meanwhile_is_bounded_to_the_last_of_it(start: Start) -> None:
    """However many there are by then, and in the middle of forking: none goes on without a limit."""
    grow = "b() { sleep 0.05; [ $1 = 0 ] || { b $(($1 - 1)) & b $(($1 - 1)) & }; wait; sleep 60; }; b 6"
    process = start(grow)
    time.sleep(0.25)
    restrict(process.pid, FILES, 0, -1)
    restrict_all(process.pid, FILES, 0, -1)
    wait_until(lambda: len(_members(process.pid)) >= 127, "it has grown up")
    limits = {_limit_or_none(pid) for pid in _members(process.pid)} - {None}

    assert limits == {(99, 99)}


def _members(group: int) -> list[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdigit() and _group(int(name)) == group]


def _group(pid: int) -> int:
    try:
        return os.getpgid(pid)
    except ProcessLookupError:
        return -1


def _limit_or_none(pid: int) -> tuple[int, int] | None:
    try:
        return limit(pid, resource.RLIMIT_NOFILE)
    except ProcessLookupError:
        return None


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
    one, two = start("sleep 60", "token.1"), start("sleep 60", "token.2")
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
