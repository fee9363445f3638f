"""Run a program once, within its bounds, and tell exactly how it ended.

No shell. The program gets its own session and process group, a clean environment, /dev/null as its input and no
other open file. Whatever it leaves behind in its group is killed with it, at its deadline or at its end.
"""

from __future__ import annotations

import contextlib
import logging
import os
import pwd
import select
import signal
import subprocess
import sys
import time
from typing import Any

from monagent.models import Run, RunResult
from monagent.protocol import EXIT_NOT_EXECUTABLE, EXIT_NOT_FOUND, STDERR_LIMIT

log = logging.getLogger(__name__)

_CHUNK = 64 * 1024
_PIPE_MAX = 1024 * 1024  # what a pipe holds at most (/proc/sys/fs/pipe-max-size)
_SOON_MS = 20
_REAP_SECONDS = 2.0
_POLL_STEP = 3600.0  # poll() takes an int of milliseconds; longer deadlines are waited for in steps


def clean_environment() -> dict[str, str]:
    """What a sensor finds in its environment, the same on every host and under every supervisor.

    The directory of our own interpreter comes last in PATH, so that `env python3` finds one everywhere.
    """
    system = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    interpreter = os.path.dirname(os.path.realpath(sys.executable))
    return {
        "PATH": f"{system}:{interpreter}",
        "LANG": "C.UTF-8",
        "HOME": "/",
        "SHELL": "/bin/sh",
        # A sensor in Python must not write into its own directory, whose content is tested, told and signed.
        "PYTHONDONTWRITEBYTECODE": "1",
    }


class Runner:
    """Runs programs. Any number of threads may call `run()` at once."""

    def __init__(self) -> None:
        self._environment = clean_environment()
        self._null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        self._running: set[int] = set()
        self._stuck: list[subprocess.Popen[bytes]] = []

    def kill_all(self) -> None:
        """Kill every program that is running now, with its group."""
        for pid in list(self._running):
            _kill_group(pid)

    def run(self, run: Run) -> RunResult:
        """Run to the end or to the deadline. Never raises for anything the program does or is."""
        started, clock = time.time(), time.monotonic()
        out, err = _Output(run.output_limit), _Output(STDERR_LIMIT)
        try:
            try:
                process = self._spawn(run, out, err)
            except (OSError, ValueError, KeyError, subprocess.SubprocessError) as error:
                code, reason, sentence = _could_not_start(run, error)
                number = getattr(error, "errno", 0) or 0
                return RunResult(code, b"", sentence.encode(), reason, started, time.monotonic() - clock, number)
            self._running.add(process.pid)
            timed_out = _follow(process.pid, (out, err), clock + run.timeout)
            # Before its leader is reaped: until then nobody else can own the group's number.
            _kill_group(process.pid)
            self._running.discard(process.pid)
            code = self._reap(process)
            reason = "timeout" if timed_out else "output-too-long" if out.overflowed else "signal" if code < 0 else ""
            if timed_out:
                code = -signal.SIGKILL
            return RunResult(code, bytes(out.kept), bytes(err.kept), reason, started, time.monotonic() - clock)
        finally:
            out.close()
            err.close()

    def _reap(self, process: subprocess.Popen[bytes]) -> int:
        """Its exit status. What cannot be killed (another user's, or stuck in the kernel) does not hold the worker."""
        self._stuck = [other for other in self._stuck if other.poll() is None]
        try:
            return process.wait(_REAP_SECONDS)
        except subprocess.TimeoutExpired:
            log.warning("pid %d could not be killed at its deadline", process.pid)
            self._stuck.append(process)
            return -signal.SIGKILL

    def _spawn(self, run: Run, out: _Output, err: _Output) -> subprocess.Popen[bytes]:
        out_writer = out.open()
        try:
            err_writer = err.open()
            try:
                return subprocess.Popen(
                    run.argv,
                    stdin=self._null,
                    stdout=out_writer,
                    stderr=err_writer,
                    env=self._environment,
                    cwd="/",
                    start_new_session=True,
                    **_as_user(run.user),
                )
            finally:
                os.close(err_writer)
        finally:
            os.close(out_writer)


def _kill_group(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)


class _Output:
    """One of the program's outputs: the pipe it comes through, what is kept of it, and whether there was more."""

    __slots__ = ("kept", "limit", "overflowed", "reader")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.kept = bytearray()
        self.overflowed = False
        self.reader = -1

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
        room = self.limit - len(self.kept)
        self.overflowed = self.overflowed or len(data) > room
        self.kept += data[:room]
        return len(data)


def _follow(pid: int, outputs: tuple[_Output, ...], deadline: float) -> bool:
    """Read both outputs until the program ends or the deadline passes; True when it passed.

    The end is seen by the program's pidfd, not by the end of its output: a grandchild may hold the pipe open for ever.
    """
    pidfd = os.pidfd_open(pid)
    try:
        poller = select.poll()
        poller.register(pidfd, select.POLLIN)
        # Most programs print little and end soon: one wait for the end spares the waits for their output.
        ended = bool(poller.poll(_SOON_MS))
        readers = {output.reader: output for output in outputs}
        for reader in readers:
            poller.register(reader, select.POLLIN)
        while not ended:
            left = deadline - time.monotonic()
            if left <= 0:
                return True
            ready = [fd for fd, _ in poller.poll(min(left, _POLL_STEP) * 1000 + 1)]
            ended = pidfd in ready
            _read(readers, ready, poller)
        _drain(readers, poller)
        return False
    finally:
        os.close(pidfd)


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


def _as_user(user: str) -> dict[str, Any]:
    """What Popen needs to run as that user, with no groups but its own. Costs a full fork; empty costs nothing."""
    if not user:
        return {}
    account = pwd.getpwnam(user)
    return {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}
