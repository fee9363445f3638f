"""The program that runs sensors as another user, spoken to as the agent speaks to it, and as nobody should."""

from __future__ import annotations

import array
import errno
import os
import select
import signal
import socket
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

import monagent
from monagent.sensors import spawner
from monagent.sensors.spawner import ANSWER, ENDED, NOT_STARTED, REQUEST, STUCK, TIMED_OUT, WORKERS
from monagent.sensors.spawning import _start_program, clean_environment
from tests.support.processes import is_running
from tests.support.rights import AS_ROOT

SOON = 5.0
UNBOUNDED = ("0", "-1", "-1", "-1", "-1", "-1", "0", "-1")
"""How it is scheduled, five limits, nice and io as its arguments."""
LONG = 60.0
_SO_SNDBUFFORCE = 32
_OF_THE_C_LIBRARY = 0b11 << 31
"""Two signals that it keeps for itself, and may set to be ignored where it starts a program."""


@dataclass
class Answer:
    """What came back for one request."""

    code: int
    word: int
    number: int
    output: bytes
    complaint: bytes


class Asked:
    """A request that is under way."""

    def __init__(self, answer: int, output: int, complaint: int) -> None:
        self._answer = answer
        self._outputs = output, complaint

    def is_answered(self) -> bool:
        """Whether there is an answer, or never will be one."""
        return bool(select.select([self._answer], [], [], 0)[0])

    def result(self, seconds: float = 20.0) -> Answer | None:
        """Wait for the answer; None when whoever should have answered is gone."""
        assert select.select([self._answer], [], [], seconds)[0], f"no answer within {seconds} s"
        told = os.read(self._answer, 100)
        os.set_blocking(self._outputs[0], False)
        os.set_blocking(self._outputs[1], False)
        output, complaint = (_all_there_is(descriptor) for descriptor in self._outputs)
        for descriptor in (self._answer, *self._outputs):
            os.close(descriptor)
        return Answer(*ANSWER.unpack(told), output, complaint) if told else None


def _all_there_is(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, 1 << 20)
    except BlockingIOError:
        return b""


class Program:
    """A spawner for our own user, with the agent's end of its socket."""

    def __init__(self) -> None:
        self.socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self.process = _start_program(*UNBOUNDED, descriptor=theirs.fileno())
        self.pid = self.process.pid
        wait_until(lambda: len([pid for pid in self.workers() if _serves(pid)]) == WORKERS, "all its processes serve")
        wait_until(lambda: _held(self.pid, "pidfd") == WORKERS, "the first one watches the others")

    def workers(self) -> list[int]:
        """Its processes that run programs."""
        return children(self.pid)

    def ask(self, *argv: str | bytes, seconds: float = LONG, grace: float = 1.0) -> Asked:
        """Send a request as the agent does."""
        words = [os.fsencode(word) for word in argv]
        header = REQUEST.pack(seconds, grace)
        return self.send(header + b"\0".join(words))

    def send(self, packet: bytes) -> Asked:
        """Send a packet with the three descriptors of a request."""
        pipes = [os.pipe2(os.O_CLOEXEC) for _ in range(3)]
        (output, out), (complaint, err), (answer, told) = pipes
        self.send_raw(packet, [out, err, told])
        for descriptor in (out, err, told):
            os.close(descriptor)
        return Asked(answer, output, complaint)

    def send_raw(self, packet: bytes, descriptors: list[int]) -> None:
        """Send a packet with any descriptors."""
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))] if descriptors else []
        self.socket.sendmsg([packet], rights)

    def shell(self, script: str, seconds: float = LONG, grace: float = 1.0) -> Asked:
        """Ask for a shell script."""
        return self.ask("/bin/sh", "-c", script, seconds=seconds, grace=grace)

    def descriptors(self) -> dict[int, int]:
        """How many each of its processes has open."""
        return {pid: len(os.listdir(f"/proc/{pid}/fd")) for pid in (self.pid, *self.workers())}


def _serves(pid: int) -> bool:
    return _held(pid, "eventpoll") > 0


def _held(pid: int, kind: str) -> int:
    """How many descriptors of a kind a process holds."""
    try:
        return sum(kind in str(path.readlink()) for path in Path(f"/proc/{pid}/fd").iterdir())
    except OSError:
        return 0


def children(pid: int) -> list[int]:
    """The processes whose parent that one is, and that have not ended."""
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                fields = Path(f"/proc/{entry}/stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if fields[1] == str(pid) and fields[0] not in "ZX":
                found.append(int(entry))
    return sorted(found)


def wait_until(is_so: Callable[[], object], what: str, seconds: float = 20.0) -> None:
    """Wait until a condition holds, and fail saying what did not come."""
    until = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < until, f"not within {seconds} s: {what}"
        time.sleep(0.005)


@pytest.fixture
def program() -> Iterator[Program]:
    """A spawner; it ends with the test."""
    program = Program()
    yield program
    program.socket.close()
    assert program.process.wait(10) is not None


@pytest.fixture
def pid_in(tmp_path: Path) -> Callable[[str], int]:
    """Waits for the number that a script writes into a file of the test's directory, and returns it."""

    def read(name: str) -> int:
        path = tmp_path / name
        wait_until(lambda: path.exists() and path.read_text().endswith("\n"), f"{name} is written")
        return int(path.read_text())

    return read


# -- plain runs ---------------------------------------------------------------------------------------------------


def test_a_program_runs_with_its_arguments_and_its_end_is_told(program: Program) -> None:
    """The outputs, the exit status, in whatever order requests come; an argument may be empty."""
    printed = program.ask("/usr/bin/printf", "%s|", "a b", "", "*")
    failed = program.shell("echo grumble >&2; exit 3")
    killed = program.shell("kill -9 $$")

    assert printed.result() == Answer(0, ENDED, 0, b"a b||*|", b"")
    assert failed.result() == Answer(3, ENDED, 0, b"", b"grumble\n")
    assert killed.result() == Answer(-9, ENDED, 0, b"", b"")


def test_a_program_that_cannot_be_started_is_told_with_the_reason(program: Program, tmp_path: Path) -> None:
    """An errno for each."""
    plain = tmp_path / "plain"
    plain.write_text("no program")

    assert program.ask("/no/such/program").result() == Answer(0, NOT_STARTED, errno.ENOENT, b"", b"")
    assert program.ask(str(plain)).result() == Answer(0, NOT_STARTED, errno.EACCES, b"", b"")
    assert program.ask("/bin/echo", "x" * 140_000).result() == Answer(0, NOT_STARTED, errno.E2BIG, b"", b"")


def test_a_program_gets_clean_surroundings(program: Program) -> None:
    """A clean environment with its mark, / as its directory, a session of its own, no file, no input, no signal."""
    script = "env; pwd; cut -d ' ' -f 1,5,6 /proc/$$/stat; ls /proc/$$/fd; wc -c; exec grep -E '^Sig(Blk|Ign)' /proc/self/status"
    answer = program.shell(script).result()
    assert answer is not None
    lines = answer.output.decode().splitlines()
    environment = dict(line.split("=", 1) for line in lines if "=" in line)
    rest = [line for line in lines if "=" not in line]
    mark, shells = environment.pop("MONAGENT_RUN"), environment.pop("PWD", "/")

    assert environment == clean_environment()
    assert shells == "/"
    assert int(mark.split(".")[0]) in program.workers()
    assert rest[0] == "/"
    assert len(set(rest[1].split())) == 1
    assert rest[2:5] == ["0", "1", "2"]
    assert rest[5] == "0"
    blocked, ignored = (int(line.split()[1], 16) for line in rest[6:])
    assert (blocked, ignored & ~_OF_THE_C_LIBRARY) == (0, 0)


def test_many_programs_at_once_each_get_their_own_answer(program: Program) -> None:
    """Two hundred, of which some hang until they are killed."""
    asked = {number: program.shell(f"echo {number}; exit {number % 50}") for number in range(200)}
    hanging = [program.ask("/bin/sleep", "60", seconds=0.3) for _ in range(20)]

    for number, one in asked.items():
        assert one.result() == Answer(number % 50, ENDED, 0, f"{number}\n".encode(), b"")
    assert {one.result() == Answer(-15, TIMED_OUT, 0, b"", b"") for one in hanging} == {True}


def test_the_deadline_of_a_program_that_has_ended_harms_no_later_one(program: Program) -> None:
    """Descriptors and ids are used again; a deadline belongs to one program alone."""
    for _ in range(40):
        short = program.shell("exit 0", seconds=0.5)
        answer = short.result()
        assert answer is not None
        assert answer.word == ENDED
    lasting = [program.shell("sleep 4; echo 5") for _ in range(12)]

    for one in lasting:
        assert one.result() == Answer(0, ENDED, 0, b"5\n", b"")


# -- ends ---------------------------------------------------------------------------------------------------------


def test_term_comes_first_and_kill_after_the_grace(program: Program) -> None:
    """What obeys has time to clean up, what does not is killed."""
    started = time.monotonic()
    obeying = program.shell("trap 'echo bye; exit 4' TERM; sleep 60 & wait", seconds=0.3, grace=20.0)
    deaf = program.shell("trap '' TERM; sleep 60; sleep 60", seconds=0.3, grace=0.5)

    assert obeying.result() == Answer(4, TIMED_OUT, 0, b"bye\n", b"")
    assert deaf.result() == Answer(-9, TIMED_OUT, 0, b"", b"")
    assert 0.8 <= time.monotonic() - started < SOON


def test_what_left_the_group_is_told_and_killed_as_well(program: Program, tmp_path: Path) -> None:
    """TERM at the deadline reaches a daemon of the run, too, so that it can clean up."""
    script = "(setsid sh -c \"trap 'echo > $T/told; exit' TERM; : > $T/up; sleep 60 & wait\" &); sleep 60"
    asked = program.shell(script.replace("$T", str(tmp_path)), seconds=1.0, grace=5.0)
    wait_until((tmp_path / "up").exists, "the daemon is up")

    answer = asked.result()
    assert answer is not None
    assert answer.word == TIMED_OUT
    wait_until((tmp_path / "told").exists, "the daemon was told")


def test_a_daemon_lives_as_long_as_its_run_in_whichever_process_that_is(
    program: Program, tmp_path: Path, pid_in: Callable[[str], int]
) -> None:
    """Not shorter, not longer; more runs than processes, so that each has some."""
    script = (
        "(setsid sh -c 'echo $$ > $0; exec sleep 60' $T &); until [ -s $T ]; do sleep 0.05; done; sleep 2.5; echo 5"
    )
    asked = [program.shell(script.replace("$T", str(tmp_path / f"pid{number}"))) for number in range(3 * WORKERS)]
    daemons = [pid_in(f"pid{number}") for number in range(3 * WORKERS)]
    parents = {_parent(pid) for pid in daemons}
    time.sleep(1.5)

    assert len(parents & set(program.workers())) > 1
    assert all(map(is_running, daemons))
    assert {one.result() == Answer(0, ENDED, 0, b"5\n", b"") for one in asked} == {True}
    wait_until(lambda: not any(map(is_running, daemons)), "the daemons have gone with their runs", SOON)


def _parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def test_a_program_that_cannot_even_be_killed_is_given_up_and_told() -> None:
    """It holds nobody up: the answer says that it is stuck, and the next one is served."""
    script = """
        import sys
        from monagent.sensors import spawner
        spawner.kill_group = lambda _pid, _number: None
        spawner.REAP_SECONDS = 0.3
        spawner.main(sys.argv[1:])
    """
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    arguments = [str(theirs.fileno()), *UNBOUNDED, str(os.getuid()), str(os.getgid())]
    process = subprocess.Popen([sys.executable, "-c", textwrap.dedent(script), *arguments], pass_fds=[theirs.fileno()])
    theirs.close()
    program = Program.__new__(Program)
    program.socket = ours
    try:
        stuck = program.shell("sleep 8", seconds=0.1, grace=0.1).result()
        next_one = program.shell("echo 5").result()
    finally:
        ours.close()
        process.wait(20)

    assert stuck == Answer(-9, STUCK, 0, b"", b"")
    assert next_one == Answer(0, ENDED, 0, b"5\n", b"")


# -- requests that no agent makes ---------------------------------------------------------------------------------

GOOD = REQUEST.pack(5.0, 1.0) + b"/bin/echo"


def _timed(seconds: float, grace: float) -> bytes:
    return REQUEST.pack(seconds, grace) + b"/bin/echo"


@pytest.mark.parametrize(
    ("packet", "number"),
    [
        pytest.param(b"x", errno.EINVAL, id="too short"),
        pytest.param(GOOD[: REQUEST.size - 1], errno.EINVAL, id="one byte too short"),
        pytest.param(GOOD[: REQUEST.size], errno.EINVAL, id="no program"),
        pytest.param(GOOD[: REQUEST.size] + bytes(10), errno.EINVAL, id="empty words"),
        pytest.param(GOOD[: REQUEST.size] + b"relative", errno.ENOENT, id="a relative path"),
        pytest.param(_timed(float("nan"), 1.0), errno.EINVAL, id="no number of seconds"),
        pytest.param(_timed(float("inf"), 1.0), errno.EINVAL, id="endless"),
        pytest.param(_timed(-1.0, 1.0), errno.EINVAL, id="negative"),
        pytest.param(_timed(5.0, float("nan")), errno.EINVAL, id="no number of grace"),
        pytest.param(b"\xff" * 4000, errno.EINVAL, id="nonsense"),
    ],
)
def test_a_request_that_makes_no_sense_is_refused(program: Program, packet: bytes, number: int) -> None:
    """With an errno, and nothing dies of it."""
    before = program.workers()
    for _ in range(2 * WORKERS):
        assert program.send(packet).result() == Answer(0, NOT_STARTED, number, b"", b"")

    assert program.workers() == before
    assert program.shell("echo 5").result() == Answer(0, ENDED, 0, b"5\n", b"")


# How many may be on their way at once depends on who sends them, and on what else is on its way.
@pytest.mark.parametrize("count", [0, 1, 2, 4, 5, 200 if AS_ROOT else 50], ids=str)
@pytest.mark.parametrize("packet", [GOOD, b"", b"x"], ids=["good", "empty", "short"])
def test_a_request_without_its_three_descriptors_is_dropped(program: Program, count: int, packet: bytes) -> None:
    """Whatever came with it is closed, and nothing dies of it."""
    before, opened = program.workers(), program.descriptors()
    reader, writer = os.pipe()
    for _ in range(2 * WORKERS):
        program.send_raw(packet, [writer] * count)
    os.close(writer)

    assert select.select([reader], [], [], SOON)[0], "somebody holds a descriptor that came with a request"
    os.close(reader)
    wait_until(lambda: program.descriptors() == opened, "nothing more is open than before")
    assert program.workers() == before
    assert program.shell("echo 5").result() == Answer(0, ENDED, 0, b"5\n", b"")


def test_one_that_asks_and_goes_away_harms_nobody(program: Program) -> None:
    """Its program runs into closed pipes; nobody is there for the answer."""
    before, opened = program.workers(), program.descriptors()
    for _ in range(20):
        gone = program.shell("sleep 0.1; echo 5; echo 5 >&2")
        for descriptor in (gone._answer, *gone._outputs):
            os.close(descriptor)

    assert program.shell("sleep 0.5; echo 5").result() == Answer(0, ENDED, 0, b"5\n", b"")
    wait_until(lambda: program.descriptors() == opened, "nothing more is open than before")
    assert program.workers() == before


def test_three_hundred_runs_of_all_kinds_leak_nothing(program: Program) -> None:
    """No descriptor, no process, hardly any memory; also with deadlines that are far away."""
    kinds = [
        "exit 0",
        "sleep 60 & exit 0",
        "(setsid sleep 60 &); exit 0",
        "kill -9 $$",
        "head -c 200000 /dev/zero & exit",
    ]
    opened = program.descriptors()
    for number in range(300):
        seconds = 86400.0 if number % 2 else 0.3
        assert program.shell(kinds[number % len(kinds)], seconds=seconds).result() is not None

    wait_until(lambda: program.descriptors() == opened, "nothing more is open than before")
    wait_until(lambda: not any(map(children, program.workers())), "nothing runs any more", SOON)


# -- its own end --------------------------------------------------------------------------------------------------

LEAVING = "trap '' TERM; (setsid sh -c 'trap \"\" TERM; echo $$ > $0; sleep 60; sleep 60' $T &); echo $$ > $T.leader; sleep 60; sleep 60"


def _start_leaving(program: Program, tmp_path: Path, pid_in: Callable[[str], int]) -> tuple[list[Asked], list[int]]:
    """Runs with a daemon each; the requests, and the ids of all leaders and daemons."""
    asked = [program.shell(LEAVING.replace("$T", f"{tmp_path}/run{number}")) for number in range(2 * WORKERS)]
    names = [f"run{number}{kind}" for number in range(2 * WORKERS) for kind in ("", ".leader")]
    return asked, [pid_in(name) for name in names]


def test_when_the_agent_is_gone_everything_ends(program: Program, tmp_path: Path, pid_in: Callable[[str], int]) -> None:
    """All programs with their daemons, all processes of its own."""
    _, pids = _start_leaving(program, tmp_path, pid_in)
    workers = program.workers()
    program.socket.close()

    assert program.process.wait(SOON) == 0
    assert not any(map(is_running, workers))
    wait_until(lambda: not any(map(is_running, pids)), "all programs are gone", SOON)


def test_a_worker_that_is_killed_is_replaced_and_takes_its_programs_with_it(
    program: Program, tmp_path: Path, pid_in: Callable[[str], int]
) -> None:
    """The programs of the others go on; who waits for those that were lost learns that there is no answer."""
    asked, pids = _start_leaving(program, tmp_path, pid_in)
    leaders = pids[1::2]
    parents = [_parent(pid) for pid in leaders]
    victim = parents[0]
    workers = program.workers()
    os.kill(victim, signal.SIGKILL)
    wait_until(lambda: len(program.workers()) == WORKERS and victim not in program.workers(), "it is replaced")

    lost = [number for number, parent in enumerate(parents) if parent == victim]
    for number, one in enumerate(asked):
        if number in lost:
            assert one.result(SOON) is None
        else:
            assert not one.is_answered()
    gone = [pid for number in lost for pid in pids[2 * number : 2 * number + 2]]
    wait_until(lambda: not any(map(is_running, gone)), "its programs are gone", SOON)
    assert all(is_running(pid) for pid in pids if pid not in gone)
    assert len(set(workers) & set(program.workers())) == WORKERS - 1
    assert program.shell("echo 5").result() == Answer(0, ENDED, 0, b"5\n", b"")


def test_when_its_first_process_is_killed_the_others_end_with_all_they_run(
    program: Program, tmp_path: Path, pid_in: Callable[[str], int]
) -> None:
    """And the agent notices with its next request."""
    asked, pids = _start_leaving(program, tmp_path, pid_in)
    workers = program.workers()
    program.process.kill()

    assert [one.result(SOON) for one in asked] == [None] * len(asked)
    wait_until(lambda: not any(map(is_running, [*workers, *pids])), "all are gone", SOON)
    with pytest.raises(BrokenPipeError):
        program.ask("/bin/echo")


def test_signals_that_a_terminal_or_a_service_manager_sends_end_nothing(program: Program) -> None:
    """The agent alone decides when it ends; yet programs do not inherit that deafness."""
    before = program.workers()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        for pid in (program.pid, *before):
            os.kill(pid, number)
    time.sleep(0.2)

    assert program.workers() == before
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGPIPE, signal.SIGXFSZ):
        answer = program.shell(f"kill -{int(number)} $$; sleep 60").result()
        assert answer is not None
        assert answer.code == -number


# -- what it is made of -------------------------------------------------------------------------------------------


def test_it_loads_neither_http_nor_xml_nor_tls_nor_threads(program: Program) -> None:
    """Small enough to be read in one go, and nothing in it that speaks to the outside."""
    place = str(Path(monagent.__file__).parent.parent)
    loader = f"import sys; sys.path.append({place!r}); import monagent.sensors.spawner"
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-X", "importtime", "-c", loader], capture_output=True, text=True, timeout=60
    )
    modules = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    ours = {module for module in modules if module.partition(".")[0] == "monagent"}
    mapped = Path(f"/proc/{program.workers()[0]}/maps").read_text().replace(place, "")
    # Some interpreters are linked with libraries that others load when they need them.
    bare = [sys.executable, "-I", "-S", "-c", "print(open('/proc/self/maps').read())"]
    everywhere = subprocess.run(bare, capture_output=True, text=True, timeout=60, check=True).stdout

    assert "socket" in modules
    sensors = ("monagent.sensors", "monagent.sensors.processes", "monagent.sensors.spawner")
    assert ours == {"monagent", "monagent.priority", *sensors}
    unwanted = {
        "http",
        "xml",
        "xmlrpc",
        "ssl",
        "_ssl",
        "urllib",
        "email",
        "pyexpat",
        "threading",
        "subprocess",
        "sqlite3",
    }
    assert {module.partition(".")[0] for module in modules} & unwanted == set()
    for library in ("ssl", "crypto", "expat", "sqlite", "cherrypy"):
        assert library not in mapped or library in everywhere


def test_it_holds_nothing_of_ours() -> None:
    """No open file but its socket, whatever we have open and inheritable; no environment of ours."""
    reader, writer = os.pipe()
    os.set_inheritable(writer, True)
    os.environ["SECRET_OF_THE_TEST"] = "x"
    program = Program()
    try:
        pipe = str(Path(f"/proc/self/fd/{writer}").readlink())
        for pid in (program.pid, *program.workers()):
            assert pipe not in {str(path.readlink()) for path in Path(f"/proc/{pid}/fd").iterdir()}
            assert b"SECRET_OF_THE_TEST" not in Path(f"/proc/{pid}/environ").read_bytes()
    finally:
        del os.environ["SECRET_OF_THE_TEST"]
        os.close(reader)
        os.close(writer)
        program.socket.close()
        program.process.wait(10)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_it_gives_up_root_for_good() -> None:
    """User, group and groups, in every process of it."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        process = _start_program(*UNBOUNDED, "65534", "65533", descriptor=theirs.fileno())
        theirs.close()
        wait_until(lambda: len(children(process.pid)) == WORKERS, "all its processes are there")
        found = {
            line
            for pid in (process.pid, *children(process.pid))
            for line in Path(f"/proc/{pid}/status").read_text().splitlines()
            if line.startswith(("Uid:", "Gid:", "Groups:", "CapEff:", "CapPrm:"))
        }
    process.wait(10)

    assert {line.rstrip() for line in found} == {
        "Uid:\t" + "\t".join(["65534"] * 4),
        "Gid:\t" + "\t".join(["65533"] * 4),
        "Groups:",
        "CapEff:\t" + "0" * 16,
        "CapPrm:\t" + "0" * 16,
    }


def test_a_packet_that_does_not_fit_is_dropped_not_cut(program: Program) -> None:
    """A program with half of its arguments might do anything."""
    before = program.workers()
    try:
        program.socket.setsockopt(socket.SOL_SOCKET, _SO_SNDBUFFORCE, 4 * spawner.LONGEST_PACKET)
    except PermissionError:
        pytest.skip("only root can make a socket carry so much")
    asked = program.send(GOOD + b"\0" + b"x" * spawner.LONGEST_PACKET)

    assert asked.result() is None
    assert program.workers() == before
    assert program.shell("echo 5").result() == Answer(0, ENDED, 0, b"5\n", b"")
