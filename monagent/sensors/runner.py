"""Run a program once, within its bounds, and tell exactly how it ended.

No shell. The program gets its own session and process group, a clean environment, /dev/null as its input and no
other open file. It ends with everything that came of it: its group at its end, what left the group by a sweep
(`processes.Strays`), and all of it when this very process is killed (`guard.py`). Running as another user goes
through a program that stands beside this one (`spawner.py`).
"""

from __future__ import annotations

import itertools
import logging
import os
import secrets
import select
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Protocol

from monagent.models import UNBOUNDED, Bounds, Run, RunResult
from monagent.protocol import EXIT_NOT_EXECUTABLE, EXIT_NOT_FOUND, STDERR_LIMIT
from monagent.sensors import spawner
from monagent.sensors.limiting import limited
from monagent.sensors.processes import (
    MARK,
    REAP_SECONDS,
    Strays,
    become_subreaper,
    children_of,
    kill_group,
    restrict,
    restrict_all,
)
from monagent.sensors.spawning import GRACE_SECONDS, Guard, Spawning, clean_environment, helpers_of

log = logging.getLogger(__name__)

SWEEP_SECONDS = 1.0
_CHUNK = 64 * 1024
_MARK = MARK.encode()
_PIPE_MAX = 1024 * 1024  # what a pipe holds at most (/proc/sys/fs/pipe-max-size)
_LATE_SECONDS = GRACE_SECONDS + REAP_SECONDS + 5.0
"""Beyond its deadline, a run that the spawner tells nothing of is given up: then the spawner itself is stuck."""
_POLL_STEP = 3600.0  # poll() takes an int of milliseconds; longer deadlines are waited for in steps


class _Ended(Protocol):
    """A program under way. `descriptor` becomes readable at its end."""

    descriptor: int

    def settled(self) -> None:
        """It is still there a moment after its start."""

    def overdue(self) -> float | None:
        """Its time is up; how long to wait for its end now, or None to wait no longer."""

    def verdict(self) -> tuple[int, str]:
        """Once it has ended, or is not waited for any longer: its code, and the protocol's word where it has one."""


class Runner:
    """Runs programs. Any number of threads may call `run()` at once."""

    def __init__(self) -> None:
        # Bytes, so that they need not be made anew for each run.
        self._environment = {os.fsencode(name): os.fsencode(value) for name, value in clean_environment().items()}
        self._null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        self._token = f"{os.getpid()}-{secrets.token_hex(4)}"
        self._numbers = itertools.count(1)
        self._newest = 0
        self._marks: dict[str, int] = {}  # of the runs that go on
        self._running: set[int] = set()  # their leaders
        self._spawnings: dict[str, Spawning] = {}
        self._lock = threading.Lock()
        self._strays = Strays(self._stray_children, only=self._token)
        self._guard: Guard | None = None
        self._sweeping = False
        self._stopping = threading.Event()
        self._sweeper = threading.Thread(target=self._sweep_on, name="sweeper", daemon=True)
        become_subreaper()

    def start(self) -> None:
        """For a process that has no children but ours: sweep in the background, and be guarded."""
        self._strays = Strays(self._stray_children)
        self._sweeping = True
        self._sweeper.start()
        try:
            self._guard = Guard(self._token)
        except OSError as error:
            log.warning("nothing will end the sensors if this agent is killed: %s", error)

    def stop(self) -> None:
        """End everything, and the programs beside us; nothing may be run after this."""
        self._stopping.set()
        self.kill_all()
        if self._sweeper.is_alive():
            self._sweeper.join(SWEEP_SECONDS * 2)
        self._sweep_until_clean()
        if self._guard:
            self._guard.dismiss()

    def prepare(self, user: str) -> None:
        """Start what is needed to run as a user, as long as we may.

        Raises:
            KeyError, OSError: it cannot be started.
        """
        self._spawning(user)

    def kill_all(self) -> None:
        """Kill every program that is running now, with its group; as another user nothing can be run after this."""
        for pid in list(self._running):
            kill_group(pid, signal.SIGKILL)
        with self._lock:
            spawnings = list(self._spawnings.values())
        for spawning in spawnings:
            spawning.end()

    def run(self, run: Run) -> RunResult:
        """Run to the end or to the deadline. Never raises for anything the program does or is."""
        started, clock = time.time(), time.monotonic()
        out, err = _Output(run.output_limit), _Output(STDERR_LIMIT)
        try:
            try:
                under_way = self._start(run, out, err)
            except (OSError, ValueError, KeyError, subprocess.SubprocessError) as error:
                return _not_started(run, error, started, clock)
            try:
                _follow(under_way, (out, err), clock + run.timeout)
            except Exception:  # a bug of ours, and not a reason to lose sight of a program
                log.exception("%s could not be watched, and is ended", run.argv[0])
                for _ in range(2):  # TERM, KILL
                    under_way.overdue()
            try:
                code, reason = under_way.verdict()
            except OSError as error:
                return _not_started(run, error, started, clock)
            reason = reason or ("output-too-long" if out.overflowed else "signal" if code < 0 else "")
            duration = time.monotonic() - clock
            return RunResult(code, bytes(out.kept), bytes(err.kept), reason, started, duration, printed=out.length)
        finally:
            out.close()
            err.close()
            if not self._sweeping:
                self._sweep_until_clean()

    def _start(self, run: Run, out: _Output, err: _Output) -> _Ended:
        writers: list[int] = []
        argv = limited(run)
        run = run if argv is run.argv else replace(run, argv=argv)
        try:
            writers += [out.open()]
            writers += [err.open()]
            return self._start_as(run, *writers) if run.user else self._start_here(run, *writers)
        finally:
            for writer in writers:
                os.close(writer)

    # -- as ourselves -------------------------------------------------------------------------------------------

    def _start_here(self, run: Run, out: int, err: int) -> _Ended:
        number = self._newest = next(self._numbers)
        mark = f"{self._token}.{number}"
        self._marks[mark] = number
        process = None
        try:
            process = subprocess.Popen(
                run.argv,
                stdin=self._null,
                stdout=out,
                stderr=err,
                env={**self._environment, _MARK: mark.encode()},
                cwd="/",
                start_new_session=True,
            )
            self._running.add(process.pid)
            return _Here(process, run.bounds, mark, self._strays, self._forget)
        except BaseException:
            self._forget(process.pid if process else -1, mark)
            raise

    def _forget(self, pid: int, mark: str) -> None:
        self._running.discard(pid)
        self._marks.pop(mark, None)

    def _stray_children(self) -> list[int]:
        with self._lock:  # one that is just being started is not known yet
            programs: list[Spawning | Guard] = list(self._spawnings.values())
        known = helpers_of([*programs, self._guard] if self._guard else programs)
        return [pid for pid in children_of(os.getpid()) if pid not in known and pid not in self._running]

    def _sweep(self) -> bool:
        return self._strays.sweep(self._marks, self._newest)

    def _sweep_on(self) -> None:
        """What left its group is gone a second after its run, and what has ended is reaped."""
        wait = SWEEP_SECONDS
        while not self._stopping.wait(wait):
            try:
                wait = spawner.SWEEP_SECONDS if self._sweep() else SWEEP_SECONDS
            except OSError as error:
                log.warning("what sensors left behind could not be looked for: %s", error)

    def _sweep_until_clean(self) -> None:
        until = time.monotonic() + REAP_SECONDS
        while self._sweep() and time.monotonic() < until:
            time.sleep(spawner.SWEEP_SECONDS)

    # -- as another user ----------------------------------------------------------------------------------------

    def _start_as(self, run: Run, out: int, err: int) -> _Ended:
        answer, writer = os.pipe2(os.O_CLOEXEC)
        try:
            spawning = self._spawning(run.user)
            try:
                spawning.start(run, out, err, writer)
            except (BrokenPipeError, ConnectionError):
                # Somebody killed the spawner. What it was running is lost; this run need not be.
                self._drop(spawning, run.user)
                self._spawning(run.user).start(run, out, err, writer)
        except BaseException:
            os.close(answer)
            raise
        finally:
            os.close(writer)
        return _Elsewhere(answer, run.argv[0])

    def _spawning(self, user: str) -> Spawning:
        spawning = self._spawnings.get(user)
        if spawning is None:
            with self._lock:
                spawning = self._spawnings.get(user) or self._spawnings.setdefault(user, Spawning(user))
        return spawning

    def _drop(self, spawning: Spawning, user: str) -> None:
        """Forget one that has ended, unless another thread was quicker."""
        with self._lock:
            if self._spawnings.get(user) is not spawning:
                return
            del self._spawnings[user]
        log.error("the program that runs sensors as %s (pid %d) has ended; started again", user, spawning.pid)
        spawning.end()


class _Here:
    """A program that is our own child."""

    def __init__(
        self,
        process: subprocess.Popen[bytes],
        bounds: Bounds,
        mark: str,
        strays: Strays,
        forget: Callable[[int, str], None],
    ) -> None:
        """
        Raises:
            OSError: it cannot be watched, and is dead.
        """
        self._process = process
        self._bounds = bounds
        self._mark = mark
        self._strays = strays
        self._forget = forget
        self._stage = 0
        if bounds is not UNBOUNDED:
            restrict(process.pid, bounds.limits, bounds.nice, bounds.io)
        try:
            self.descriptor = os.pidfd_open(process.pid)
        except OSError:
            kill_group(process.pid, signal.SIGKILL)
            process.wait()
            raise

    def settled(self) -> None:
        if self._bounds is not UNBOUNDED:
            restrict_all(self._process.pid, self._bounds.limits, self._bounds.nice, self._bounds.io)

    def overdue(self) -> float | None:
        self._stage += 1
        if self._stage > 2:
            return None
        word, wait = (signal.SIGTERM, GRACE_SECONDS) if self._stage == 1 else (signal.SIGKILL, REAP_SECONDS)
        kill_group(self._process.pid, word)
        self._strays.signal(self._mark, word)
        return wait

    def verdict(self) -> tuple[int, str]:
        os.close(self.descriptor)
        pid = self._process.pid
        # Before its leader is reaped: until then nobody else can own the group's number.
        kill_group(pid, signal.SIGKILL)
        self._forget(pid, self._mark)
        try:
            code = self._process.wait(0 if self._stage > 2 else None)
            self._strays.leave_group(pid)
        except subprocess.TimeoutExpired:
            # Another user's, or stuck in the kernel: it does not hold the worker. The sweeper reaps it one day.
            log.warning("pid %d could not be killed at its deadline; its slot is given back", pid)
            code = -signal.SIGKILL
        return (-signal.SIGKILL, "timeout") if self._stage else (code, "")


class _Elsewhere:
    """A program that a spawner started for us."""

    def __init__(self, answer: int, program: str) -> None:
        self.descriptor = answer
        self._program = program
        self._late = False

    def settled(self) -> None:
        pass  # the spawner sees to it

    def overdue(self) -> float | None:
        if self._late:
            return None
        self._late = True
        return _LATE_SECONDS  # the spawner has the same deadline, and ends the program

    def verdict(self) -> tuple[int, str]:
        try:
            if self._late:
                os.set_blocking(self.descriptor, False)
            told = os.read(self.descriptor, spawner.ANSWER.size)
        except BlockingIOError:
            told = b""
        finally:
            os.close(self.descriptor)
        if len(told) != spawner.ANSWER.size:
            log.error("the program that runs %s as another user has ended, or is stuck", self._program)
            return -signal.SIGKILL, "timeout" if self._late else "signal"
        code, word, number = spawner.ANSWER.unpack(told)
        if word == spawner.NOT_STARTED:
            raise OSError(number, os.strerror(number))
        if word == spawner.STUCK:
            log.warning("%s could not be killed at its deadline; its slot is given back", self._program)
        return (code, "") if word == spawner.ENDED else (-signal.SIGKILL, "timeout")


class _Output:
    """One of the program's outputs: the pipe it comes through, what is kept of it, and how much there was."""

    __slots__ = ("kept", "length", "limit", "reader")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.kept = bytearray()
        self.length = 0
        self.reader = -1

    @property
    def overflowed(self) -> bool:
        """Whether there was more than is kept."""
        return self.length > self.limit

    def open(self) -> int:
        """Make the pipe; the end that the program writes to is the caller's to close."""
        self.reader, writer = os.pipe2(os.O_CLOEXEC)
        return writer

    def close(self) -> None:
        if self.reader >= 0:
            os.close(self.reader)

    def read(self) -> int:
        """Take what is there, once poll() has said that this does not block; how many bytes, 0 at the stream's end."""
        data = os.read(self.reader, _CHUNK)
        if self.length < self.limit:
            self.kept += data[: self.limit - self.length]
        self.length += len(data)
        return len(data)


def _follow(under_way: _Ended, outputs: tuple[_Output, ...], deadline: float) -> None:
    """Read both outputs until the program ends, or is not waited for any longer.

    Its end is seen by its own descriptor, not by the end of its output: a grandchild may hold the pipe open for ever.
    """
    poller = select.poll()
    poller.register(under_way.descriptor, select.POLLIN)
    # Most programs print little and end soon: one wait for the end spares the waits for their output.
    ended = bool(poller.poll(spawner.SETTLED_SECONDS * 1000))
    if not ended:
        under_way.settled()
    readers = {output.reader: output for output in outputs}
    for reader in readers:
        poller.register(reader, select.POLLIN)
    while not ended:
        left = deadline - time.monotonic()
        if left <= 0:
            more = under_way.overdue()
            if more is None:
                return
            deadline = time.monotonic() + more
            continue
        ready = [fd for fd, _ in poller.poll(min(left, _POLL_STEP) * 1000 + 1)]
        ended = under_way.descriptor in ready
        _read(readers, ready, poller)
    _drain(readers, poller)


def _read(readers: dict[int, _Output], ready: list[int], poller: select.poll) -> None:
    for fd in ready:
        if fd in readers and not readers[fd].read():
            poller.unregister(fd)
            del readers[fd]


def _drain(readers: dict[int, _Output], poller: select.poll) -> None:
    """Take what a program that has ended left in its pipes; a grandchild may go on writing, so only so often."""
    for _ in range(_PIPE_MAX // _CHUNK):
        ready = [fd for fd, event in poller.poll(0) if event & select.POLLIN and fd in readers]
        # Less than was asked for was all that the program had left.
        if not sum(readers[fd].read() == _CHUNK for fd in ready):
            return


def _not_started(run: Run, error: Exception, started: float, clock: float) -> RunResult:
    code, reason, sentence = _could_not_start(run, error)
    number = getattr(error, "errno", 0) or 0
    return RunResult(code, b"", sentence.encode(), reason, started, time.monotonic() - clock, number)


def _could_not_start(run: Run, error: Exception) -> tuple[int, str, str]:
    """The code, the protocol's word for it, and a sentence for people."""
    program = run.argv[0]
    reason = (isinstance(error, OSError) and error.strerror) or str(error)
    # A script whose interpreter is missing is "no such file" to the kernel, yet the sensor itself is there.
    if isinstance(error, FileNotFoundError | NotADirectoryError) and not os.path.exists(program):
        return EXIT_NOT_FOUND, "not-found", f"{program}: {reason}"
    if run.user and os.geteuid() != 0:
        return EXIT_NOT_EXECUTABLE, "not-executable", f"{program}: running it as {run.user} needs root ({reason})"
    if isinstance(error, FileNotFoundError):
        reason += "; is the interpreter in its first line there?"
    elif isinstance(error, PermissionError) and not run.user and not os.access(program, os.X_OK):
        reason += f"; chmod +x {program}"
    elif isinstance(error, PermissionError) and run.user:
        reason += f"; may {run.user} enter its directory and execute it?"
    return EXIT_NOT_EXECUTABLE, "not-executable", f"{program}: {reason}"
