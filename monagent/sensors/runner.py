"""Run a program once, within its bounds, and tell exactly how it ended.

No shell. The program gets its own session and process group, a clean environment, /dev/null as its input and no
other open file. A small program beside us starts and ends it (`spawner.py`), one for each user that sensors run as
and each set of bounds: it shares no interpreter lock with our threads, and when it or we are killed, in whatever way,
everything that it started ends.
"""

from __future__ import annotations

import logging
import os
import select
import signal
import threading
import time
from collections.abc import Collection
from dataclasses import replace

from monagent.models import UNBOUNDED, Bounds, Run, RunResult
from monagent.protocol import EXIT_NOT_EXECUTABLE, EXIT_NOT_FOUND, STDERR_LIMIT
from monagent.sensors import spawner
from monagent.sensors.limiting import failure, inherited, limited
from monagent.sensors.processes import REAP_SECONDS, become_subreaper, children_of, kill, reaped
from monagent.sensors.spawning import GRACE_SECONDS, Spawning

log = logging.getLogger(__name__)

LATE_SECONDS = GRACE_SECONDS + REAP_SECONDS + 5.0
"""Beyond its deadline, a run that the spawner tells nothing of is given up: then the spawner itself is stuck."""
_LOST_SECONDS = 0.5
_SHORT_MS = 20
_CHUNK = 64 * 1024
_PIPE_MAX = 1024 * 1024  # what a pipe holds at most (/proc/sys/fs/pipe-max-size)
_POLL_STEP = 3600.0  # poll() takes an int of milliseconds; longer deadlines are waited for in steps


Kind = tuple[str, Bounds]
"""A user, empty for ourselves, and what is inherited from the spawner."""


class Runner:
    """Runs programs. Any number of threads may call `run()` at once."""

    def __init__(self) -> None:
        self._spawnings: dict[Kind, Spawning] = {}
        self._lock = threading.Lock()
        self._has_no_other_children = False
        self._policy = os.sched_getscheduler(0)  # of whoever made us; later ones may be patient threads

    def start(self) -> None:
        """For a process that has no children but ours: what loses its spawner comes to us, and is ended."""
        self._has_no_other_children = True
        become_subreaper()

    def prepare(self, user: str = "", bounds: Bounds = UNBOUNDED) -> None:
        """Start what is needed to run as a user, or as ourselves, with these bounds, as long as we may.

        Raises:
            KeyError, OSError: it cannot be started.
        """
        kind = user, inherited(bounds)
        with self._lock:
            if kind not in self._spawnings:
                self._spawnings[kind] = Spawning(*kind, self._policy)

    def stop(self) -> None:
        """End everything that runs; what is run after this is started anew."""
        with self._lock:
            spawnings, self._spawnings = self._spawnings, {}
        for spawning in spawnings.values():
            spawning.close()
        for spawning in spawnings.values():
            spawning.end()
        self._end_orphans()

    def keep(self, kinds: Collection[Kind]) -> None:
        """Let what runs sensors as other users, or with other bounds, than these end as soon as it has nothing to do."""
        needed = {(user, inherited(bounds)) for user, bounds in kinds}
        with self._lock:
            lacking = {user for user, bounds in needed if (user, bounds) not in self._spawnings}  # see `_start()`
            unneeded = [kind for kind in self._spawnings if kind not in needed and kind[0] not in lacking]
            retired = [self._spawnings.pop(kind) for kind in unneeded]
        for spawning in retired:
            spawning.retire()

    def run(self, run: Run) -> RunResult:
        """Run to the end or to the deadline. Never raises for anything the program does or is."""
        started, clock = time.time(), time.monotonic()
        out, err = _Output(run.output_limit), _Output(STDERR_LIMIT)
        try:
            try:
                code, reason = self._follow(run, out, err, clock + run.timeout)
            except (OSError, ValueError, KeyError) as error:
                return _not_started(run, error, started, clock)
            reason = reason or ("output-too-long" if out.overflowed else "signal" if code < 0 else "")
            duration = time.monotonic() - clock
            return RunResult(code, bytes(out.kept), bytes(err.kept), reason, started, duration, printed=out.length)
        finally:
            out.close()
            err.close()

    def _follow(self, run: Run, out: _Output, err: _Output, deadline: float) -> tuple[int, str]:
        argv = limited(run)
        kind = run.user, inherited(run.bounds)
        answer, writer = os.pipe2(os.O_CLOEXEC)
        try:
            spawning = self._begin(kind, run if argv is run.argv else replace(run, argv=argv), writer, out, err)
            try:
                if not _read_until(answer, (out, err), deadline + LATE_SECONDS):
                    log.error("pid %d, which runs %s, does not answer; given up", spawning.pid, run.argv[0])
                    if not run.user or os.geteuid() == 0:  # else nobody could take its place
                        self._drop(kind, spawning)
                    return -signal.SIGKILL, "timeout"
                told = os.read(answer, spawner.ANSWER.size)
                if len(told) != spawner.ANSWER.size:
                    return self._lost(kind, spawning, run)
            finally:
                spawning.over()
        finally:
            os.close(answer)
        code, reason = _verdict(told, run)
        if argv is not run.argv and (number := failure(code, bytes(err.kept))):
            raise OSError(number, os.strerror(number))
        return code, reason

    def _lost(self, kind: Kind, spawning: Spawning, run: Run) -> tuple[int, str]:
        """Somebody has killed what ran it, and so the program too."""
        if spawning in self._spawnings.values():  # not by us
            log.error("what runs sensors (pid %d) was killed in part, and %s with it", spawning.pid, run.argv[0])
        if spawning.has_ended(_LOST_SECONDS):
            self._drop(kind, spawning)
        return -signal.SIGKILL, "signal"

    # -- the programs beside us ---------------------------------------------------------------------------------

    def _begin(self, kind: Kind, run: Run, answer: int, out: _Output, err: _Output) -> Spawning:
        """Have a program started; the answer's end of the pipe is closed here, whatever happens."""
        writers = [answer]
        try:
            writers += [out.open()]
            writers += [err.open()]
            spawning = self._spawning(kind)
            try:
                spawning.start(run, writers[1], writers[2], answer)
            except (BrokenPipeError, ConnectionError):
                # Somebody killed it. What it was running is lost; this run need not be.
                self._drop(kind, spawning)
                spawning = self._spawning(kind)
                spawning.start(run, writers[1], writers[2], answer)
            return spawning
        finally:
            for writer in writers:
                os.close(writer)

    def _spawning(self, kind: Kind) -> Spawning:
        spawning = self._spawnings.get(kind)
        if spawning is None:
            with self._lock:
                spawning = self._spawnings.get(kind) or self._start(kind)
        return spawning

    def _start(self, kind: Kind) -> Spawning:
        try:
            return self._spawnings.setdefault(kind, Spawning(*kind, self._policy))
        except PermissionError:
            # We have given up root, and the bounds were changed: with the former ones, rather than not at all.
            former = next((one for (user, _), one in self._spawnings.items() if user == kind[0]), None)
            if former is None:
                raise
            return former

    def _drop(self, kind: Kind, spawning: Spawning) -> None:
        """Forget one that has ended, unless another thread was quicker."""
        with self._lock:
            kinds = [one for one, known in self._spawnings.items() if known is spawning]
            for one in kinds:
                del self._spawnings[one]
        if not kinds:
            return
        log.error("the program that runs sensors as %s (pid %d) has ended", kind[0] or "ourselves", spawning.pid)
        spawning.end()
        self._end_orphans()

    def _end_orphans(self) -> None:
        """What has lost its spawner, by a KILL that nobody can see coming, is our child now."""
        until = time.monotonic() + REAP_SECONDS
        while self._has_no_other_children and (orphans := self._orphans()) and time.monotonic() < until:
            for pid in orphans:
                kill(pid, signal.SIGKILL)
                reaped(pid)
            time.sleep(spawner.SWEEP_SECONDS)

    def _orphans(self) -> list[int]:
        with self._lock:  # one that is just being started is not known yet
            known = {spawning.pid for spawning in self._spawnings.values()}
            return [pid for pid in children_of(os.getpid()) if pid not in known]


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


def _read_until(end: int, outputs: tuple[_Output, ...], deadline: float) -> bool:
    """Read all outputs until the descriptor `end` is readable; False when it is not by the deadline.

    A program's end is not that of its output: a grandchild may hold the pipe open for ever.
    """
    poller = select.poll()
    poller.register(end, select.POLLIN)
    # Most programs print little and end soon: one wait for the end spares the waits for their output.
    ended = bool(poller.poll(_SHORT_MS))
    readers = {output.reader: output for output in outputs}
    for reader in readers:
        poller.register(reader, select.POLLIN)
    while not ended:
        left = deadline - time.monotonic()
        if left <= 0:
            return False
        ready = [fd for fd, _ in poller.poll(min(left, _POLL_STEP) * 1000 + 1)]
        ended = end in ready
        _read(readers, ready, poller)
    _drain(readers, poller)
    return True


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


def _verdict(told: bytes, run: Run) -> tuple[int, str]:
    """The program's code, and the protocol's word where it has one."""
    code, word, number = spawner.ANSWER.unpack(told)
    if word == spawner.NOT_STARTED:
        raise OSError(number, os.strerror(number))
    if word == spawner.STUCK:
        log.warning("%s could not be killed at its deadline; its slot is given back", run.argv[0])
    return (code, "") if word == spawner.ENDED else (-signal.SIGKILL, "timeout")


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
