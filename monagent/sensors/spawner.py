"""The program that runs sensors as another user: a few small processes with a closed protocol over a socket pair.

It imports nothing but the smallest modules of the standard library and `processes.py`: no HTTP, no XML, no threads.
It knows how to start a program, to end it with everything that came of it, and to tell how it ended. When the agent
goes, in whatever way, the socket closes, and this program ends with all that it started.

A request is one packet: `REQUEST`, then the program and its arguments separated by NUL; with it come three
descriptors: the program's output, its error output, and a pipe for the answer, which is `ANSWER`, once.
"""

from __future__ import annotations

import array
import heapq
import os
import resource
import select
import signal
import socket
import struct
import sys
import time

from monagent.sensors.processes import (
    MARK,
    Strays,
    become_subreaper,
    children_of,
    kill_group,
    reaped,
    restrict,
)

REQUEST = struct.Struct("<ddqqqqqqq")
"""Seconds until the deadline, seconds between TERM and KILL, then what `restrict()` takes: five limits, nice, io."""
ANSWER = struct.Struct("<iBi")
"""The exit status or minus the signal, one of the words below, and an errno where it could not start."""
ENDED, TIMED_OUT, NOT_STARTED, STUCK = range(4)

WORKERS = 4
"""Processes for one user. Each can only wait (vfork) while the program that it starts is being loaded."""
LONGEST_PACKET = 1 << 20
REAP_SECONDS = 2.0
"""After KILL. What is still there then sits in the kernel, and nobody waits for it any longer."""
SWEEP_SECONDS = 0.02
WATCH_SECONDS = 1.0

_ALL_SIGNALS = tuple(signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP})


class _Run:
    """A program that was started."""

    __slots__ = ("answer", "grace", "mark", "number", "pid", "pidfd", "stage")

    def __init__(self, number: int, mark: str, pid: int, answer: int, grace: float) -> None:
        self.number = number
        self.mark = mark
        self.pid = pid
        self.pidfd = os.pidfd_open(pid)
        self.answer = answer
        self.grace = grace
        self.stage = 0


class Spawner:
    """One of the processes; its runs."""

    def __init__(self, control: socket.socket, helpers: set[int]) -> None:
        """
        Args:
            control: where requests come from; shared with the other processes of this user.
            helpers: our children that were not started on request.
        """
        self._control = control
        self._poller = select.epoll()
        # One packet must not wake all of us.
        self._poller.register(control.fileno(), select.EPOLLIN | select.EPOLLEXCLUSIVE)
        self._runs: dict[int, _Run] = {}  # by pidfd
        self._deadlines: list[tuple[float, int, _Run]] = []
        self._count = 0
        self._helpers = helpers
        self._strays = Strays(self._stray_children)
        self._sweep_at = float("inf")
        self._environment = dict(os.environ)
        self._null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)

    def serve(self) -> None:
        """Until the agent is gone."""
        while True:
            now = time.monotonic()
            self._end_overdue(now)
            if now >= self._sweep_at:
                self._sweep(now)
            due = min(self._sweep_at, self._deadlines[0][0] if self._deadlines else float("inf"))
            wait = -1.0 if due == float("inf") else min(max(due - time.monotonic(), 0.0), 3600.0)
            for descriptor, _ in self._poller.poll(wait):
                if descriptor in self._runs:
                    self._ended(self._runs[descriptor])
                elif not self._take():
                    return

    def end_all(self) -> None:
        """The agent is gone, and everything goes with it."""
        until = time.monotonic() + REAP_SECONDS
        while self._runs or self._stray_children():
            for run in list(self._runs.values()):
                kill_group(run.pid, signal.SIGKILL)
                if reaped(run.pid):
                    self._forget(run)
            self._strays.sweep((), self._count + 1, self._count)
            if time.monotonic() > until:
                return
            time.sleep(SWEEP_SECONDS / 4)

    # -- starting -----------------------------------------------------------------------------------------------

    def _take(self) -> bool:
        """Take one request; False when the agent is gone."""
        try:
            packet, ancillary, _, _ = self._control.recvmsg(
                LONGEST_PACKET, socket.CMSG_SPACE(12), socket.MSG_CMSG_CLOEXEC
            )
        except BlockingIOError:  # another one of us was quicker
            return True
        except OSError:
            return False
        if not packet:
            return False
        descriptors = array.array("i")
        for _, _, data in ancillary:
            descriptors.frombytes(data)
        out, err, answer = descriptors
        try:
            self._start(packet, out, err, answer)
        except (OSError, ValueError) as error:
            _reply(answer, 0, NOT_STARTED, getattr(error, "errno", 0) or 22)
        finally:
            os.close(out)
            os.close(err)
        return True

    def _start(self, packet: bytes, out: int, err: int, answer: int) -> None:
        seconds, grace, *bounds = REQUEST.unpack_from(packet)
        argv = packet[REQUEST.size :].split(b"\0")
        self._count += 1
        mark = f"{os.getpid()}.{self._count}"
        self._environment[MARK] = mark
        pid = os.posix_spawn(
            argv[0],
            argv,
            self._environment,
            file_actions=[
                (os.POSIX_SPAWN_DUP2, self._null, 0),
                (os.POSIX_SPAWN_DUP2, out, 1),
                (os.POSIX_SPAWN_DUP2, err, 2),
            ],
            setsid=True,
            setsigmask=(),
            setsigdef=_ALL_SIGNALS,
        )
        restrict(pid, bounds[:5], bounds[5], bounds[6])
        run = _Run(self._count, mark, pid, answer, grace)
        self._runs[run.pidfd] = run
        self._poller.register(run.pidfd, select.EPOLLIN)
        now = time.monotonic()
        self._sweep_at = min(self._sweep_at, now + WATCH_SECONDS)
        heapq.heappush(self._deadlines, (now + seconds, run.number, run))

    # -- ending -------------------------------------------------------------------------------------------------

    def _end_overdue(self, now: float) -> None:
        """TERM at the deadline, KILL after the grace, and no waiting for what even that does not end."""
        while self._deadlines and self._deadlines[0][0] <= now:
            _, number, run = heapq.heappop(self._deadlines)
            if run.pidfd not in self._runs:
                continue
            run.stage += 1
            if run.stage > 2:
                self._give_up(run)
                continue
            word, wait = (signal.SIGTERM, run.grace) if run.stage == 1 else (signal.SIGKILL, REAP_SECONDS)
            kill_group(run.pid, word)
            self._strays.signal(run.mark, word)
            heapq.heappush(self._deadlines, (now + wait, number, run))

    def _ended(self, run: _Run) -> None:
        """Its leader has ended: end the rest, and tell."""
        # Before the leader is reaped: until then nobody else can own the group's number.
        kill_group(run.pid, signal.SIGKILL)
        _, status = os.waitpid(run.pid, 0)
        self._forget(run)
        _reply(run.answer, os.waitstatus_to_exitcode(status), TIMED_OUT if run.stage else ENDED, 0)
        self._strays.leave_group(run.pid)
        self._sweep(time.monotonic())

    def _give_up(self, run: _Run) -> None:
        self._forget(run)
        _reply(run.answer, -signal.SIGKILL, STUCK, 0)
        self._sweep_at = time.monotonic() + WATCH_SECONDS

    def _forget(self, run: _Run) -> None:
        self._poller.unregister(run.pidfd)
        os.close(run.pidfd)
        del self._runs[run.pidfd]

    def _stray_children(self) -> list[int]:
        known = {run.pid for run in self._runs.values()} | self._helpers
        return [pid for pid in children_of(os.getpid()) if pid not in known]

    def _sweep(self, now: float) -> None:
        running = {run.mark for run in self._runs.values()}
        oldest = min((run.number for run in self._runs.values()), default=self._count + 1)
        soon = self._strays.sweep(running, oldest, self._count)
        watching = running or self._stray_children()
        self._sweep_at = now + (SWEEP_SECONDS if soon else WATCH_SECONDS if watching else float("inf"))


def _reply(answer: int, code: int, word: int, number: int) -> None:
    try:
        os.write(answer, ANSWER.pack(code, word, number))
    except OSError:  # nobody waits for it any more
        pass
    finally:
        os.close(answer)


def _share_work() -> set[int]:
    """Become several processes; returns the children of this one."""
    made: set[int] = set()
    for _ in range(WORKERS - 1):
        pid = os.fork()
        if pid == 0:
            return set()
        made.add(pid)
    return made


def main(arguments: list[str]) -> None:
    """`FD UID GID`: serve the socket with that number as that user."""
    control, user, group = map(int, arguments)
    os.set_inheritable(control, False)  # noqa: FBT003 - it takes no keyword
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # the agent decides when this ends, by closing the socket
    if os.geteuid() == 0:
        os.setgroups([])
        os.setgid(group)
        os.setuid(user)
    become_subreaper()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    taken = socket.socket(fileno=control)
    taken.settimeout(0)
    spawner = Spawner(taken, _share_work())
    try:
        spawner.serve()
    finally:
        spawner.end_all()


if __name__ == "__main__":
    main(sys.argv[1:])
