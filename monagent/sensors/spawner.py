"""The program that runs sensors, as one user and with the same bounds: a few small processes with a closed protocol over a socket pair.

It imports nothing but the smallest modules of the standard library and `processes.py`: no HTTP, no XML, no threads.
It knows how to start a program, to end it with everything that came of it, and to tell how it ended. When the agent
goes, in whatever way, the socket closes, and this program ends with all that it started.

A request is one packet: `REQUEST`, then the program and its arguments separated by NUL; with it come three
descriptors: the program's output, its error output, and a pipe for the answer, which is `ANSWER`, once.

The first process keeps a few workers going, and starts no programs itself. A worker that is killed, or waits too long
for a program to be loaded, is replaced, and what it was running ends. When the first process is killed, the workers end with what they are running.
"""

from __future__ import annotations

import array
import contextlib
import mmap
import os
import resource
import select
import signal
import socket
import struct
import sys
import time

from monagent.sensors.processes import (
    LIMITS,
    MARK,
    REAP_SECONDS,
    Strays,
    become_subreaper,
    bound_ourselves,
    children_of,
    kill,
    kill_group,
    reaped,
)

REQUEST = struct.Struct("<dd")
"""Seconds until the deadline, and seconds between TERM and KILL."""
ANSWER = struct.Struct("<iBi")
"""The exit status or minus the signal, one of the words below, and an errno where it could not start."""
ENDED, TIMED_OUT, NOT_STARTED, STUCK = range(4)

WORKERS = 4
"""Processes for one user. Each can only wait (vfork) while the program that it starts is being loaded."""
LONGEST_PACKET = 1 << 20
SWEEP_SECONDS = 0.02
WATCH_SECONDS = 1.0
AGAIN_SECONDS = 0.1
START_SECONDS = 5.0
"""For a program to be loaded. A worker that waits for longer, on a file system that hangs, is killed and replaced."""
_FOREVER = float("inf")
_SINCE = struct.Struct("=d")

_EINVAL = 22
_DESCRIPTORS = 3
_CUT = int(socket.MSG_TRUNC | socket.MSG_CTRUNC)
_CLOEXEC = int(socket.MSG_CMSG_CLOEXEC)
_ROOM = socket.CMSG_SPACE(_DESCRIPTORS * 4)
_BEGUN, _TOLD, _KILLED = range(3)


class _Run:
    """A program that was started, what comes next for it, and when."""

    __slots__ = ("answer", "due", "grace", "mark", "pid", "pidfd", "stage")

    def __init__(self, pid: int, pidfd: int, mark: str, answer: int, seconds: float, grace: float) -> None:
        self.pid = pid
        self.pidfd = pidfd
        self.mark = mark
        self.answer = answer
        self.due = time.monotonic() + seconds
        self.grace = grace
        self.stage = _BEGUN


class Spawner:
    """One of the workers; its runs."""

    def __init__(self, control: socket.socket, keeper: int, starting: Starting) -> None:
        """
        Args:
            control: where requests come from; shared with the other workers.
            keeper: a descriptor that becomes readable when the first process has ended.
            starting: where we say that we wait for a program to be loaded.
        """
        self._starting = starting
        self._control = control
        self._keeper = keeper
        self._poller = select.epoll()
        # One packet must not wake all of us.
        self._poller.register(control.fileno(), select.EPOLLIN | select.EPOLLEXCLUSIVE)
        self._poller.register(keeper, select.EPOLLIN)
        self._packet = memoryview(bytearray(LONGEST_PACKET))
        self._runs: dict[int, _Run] = {}  # by pidfd
        self._marks: dict[str, int] = {}
        self._pid = os.getpid()
        self._count = 0
        self._strays = Strays(self._stray_children)
        self._sweep_at = _FOREVER
        self._environment = dict(os.environb)
        # Those that are handled become so by themselves; Python, we and who started us ignore some.
        self._ignored = [number for number in signal.valid_signals() if signal.getsignal(number) == signal.SIG_IGN]

    def serve(self) -> None:
        """Until the agent or the keeper is gone."""
        while True:
            now = time.monotonic()
            for run in [run for run in self._runs.values() if run.due <= now]:
                try:
                    self._go_on(run, now)
                except Exception:  # noqa: BLE001 - one program, whatever it does, must not cost the others
                    kill_group(run.pid, signal.SIGKILL)
                    run.due = now + REAP_SECONDS
            if now >= self._sweep_at:
                self._sweep(now)
            due = min([self._sweep_at, *[run.due for run in self._runs.values()]])
            wait = -1.0 if due == _FOREVER else min(max(due - time.monotonic(), 0.0), 3600.0)
            for descriptor, event in self._poller.poll(wait):
                if descriptor in self._runs:
                    self._ended(self._runs[descriptor])
                elif descriptor == self._keeper or (not self._take() and event & select.EPOLLHUP):
                    return

    def end_all(self) -> None:
        """The agent is gone, and everything goes with it."""
        until = time.monotonic() + REAP_SECONDS
        while self._runs or self._stray_children():
            for run in list(self._runs.values()):
                kill_group(run.pid, signal.SIGKILL)
                if reaped(run.pid):
                    self._forget(run)
            self._strays.sweep({}, self._count)
            if time.monotonic() > until:
                return
            time.sleep(SWEEP_SECONDS / 4)

    # -- starting -----------------------------------------------------------------------------------------------

    def _take(self) -> bool:
        """Take one request, whatever it is; False when there was none."""
        try:
            length, ancillary, flags, _ = self._control.recvmsg_into([self._packet], _ROOM, _CLOEXEC)
        except OSError:  # another one of us was quicker, or the agent is gone
            return False
        descriptors = array.array("i")
        for _, _, data in ancillary:
            descriptors.frombytes(data[: len(data) // 4 * 4])
        if len(descriptors) == _DESCRIPTORS and not flags & _CUT:
            self._answer(bytes(self._packet[:length]), *descriptors)
        else:
            for descriptor in descriptors:
                os.close(descriptor)
        return bool(length)

    def _answer(self, packet: bytes, out: int, err: int, answer: int) -> None:
        """Start what is asked for; its end will be the answer, or that it cannot be started is."""
        try:
            self._start(packet, out, err, answer)
        except (OSError, ValueError, struct.error) as error:
            _reply(answer, 0, NOT_STARTED, getattr(error, "errno", 0) or _EINVAL)
        finally:
            os.close(out)
            os.close(err)

    def _start(self, packet: bytes, out: int, err: int, answer: int) -> None:
        seconds, grace = REQUEST.unpack_from(packet)
        if not (0 <= seconds < _FOREVER and 0 <= grace < _FOREVER):
            raise ValueError("no such time")
        argv = packet[REQUEST.size :].split(b"\0")
        self._count += 1
        mark = f"{self._pid}.{self._count}"
        self._environment[MARK.encode()] = mark.encode()
        self._starting.note(time.monotonic())
        try:
            pid = os.posix_spawn(
                argv[0],
                argv,
                self._environment,
                # Our own input is what theirs shall be: /dev/null.
                file_actions=((os.POSIX_SPAWN_DUP2, out, 1), (os.POSIX_SPAWN_DUP2, err, 2)),
                setsid=True,
                setsigmask=(),
                setsigdef=self._ignored,
            )
        finally:
            self._starting.note(0.0)
        try:
            pidfd = os.pidfd_open(pid)
            self._poller.register(pidfd, select.EPOLLIN)
        except OSError:
            kill_group(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            raise
        self._runs[pidfd] = _Run(pid, pidfd, mark, answer, seconds, grace)
        self._marks[mark] = self._count
        self._sweep_at = min(self._sweep_at, time.monotonic() + WATCH_SECONDS)

    # -- ending -------------------------------------------------------------------------------------------------

    def _go_on(self, run: _Run, now: float) -> None:
        """TERM at the deadline, KILL after the grace, and no waiting for what even that does not end."""
        run.stage += 1
        if run.stage == _TOLD:
            self._signal(run, signal.SIGTERM)
            run.due = now + run.grace
        elif run.stage == _KILLED:
            self._signal(run, signal.SIGKILL)
            run.due = now + REAP_SECONDS
        else:
            self._give_up(run)

    def _signal(self, run: _Run, number: int) -> None:
        kill_group(run.pid, number)
        self._strays.signal(run.mark, number)

    def _ended(self, run: _Run) -> None:
        """Its leader has ended: end the rest, and tell."""
        # Before the leader is reaped: until then nobody else can own the group's number.
        kill_group(run.pid, signal.SIGKILL)
        _, status = os.waitpid(run.pid, 0)
        self._forget(run)
        if run.stage < _TOLD:
            self._sweep(time.monotonic())
        else:  # what left the group was told to end just now, and has a moment for it
            self._sweep_at = min(self._sweep_at, time.monotonic() + SWEEP_SECONDS)
        _reply(run.answer, os.waitstatus_to_exitcode(status), TIMED_OUT if run.stage >= _TOLD else ENDED, 0)

    def _give_up(self, run: _Run) -> None:
        self._forget(run)
        _reply(run.answer, -signal.SIGKILL, STUCK, 0)
        self._sweep_at = time.monotonic() + WATCH_SECONDS

    def _forget(self, run: _Run) -> None:
        del self._runs[run.pidfd]
        del self._marks[run.mark]
        self._poller.unregister(run.pidfd)  # closing is not enough: a program being started holds it for a moment
        os.close(run.pidfd)

    def _stray_children(self) -> list[int]:
        known = {run.pid for run in self._runs.values()}
        return [pid for pid in children_of(self._pid) if pid not in known]

    def _sweep(self, now: float) -> None:
        soon = self._strays.sweep(self._marks, self._count)
        watching = self._runs or self._strays.there
        self._sweep_at = now + (SWEEP_SECONDS if soon else WATCH_SECONDS if watching else _FOREVER)


def _reply(answer: int, code: int, word: int, number: int) -> None:
    try:
        os.write(answer, ANSWER.pack(code, word, number))
    except OSError:  # nobody waits for it any more
        pass
    finally:
        os.close(answer)


def _work(control: int, keeper: int, starting: Starting) -> None:
    """Be a worker, until the agent or the keeper is gone."""
    become_subreaper()  # a child of ours is none by birth
    taken = socket.socket(fileno=control)
    taken.settimeout(0)
    spawner = Spawner(taken, keeper, starting)
    try:
        spawner.serve()
    finally:
        taken.close()  # so that whoever asks from now on knows that nobody answers
        spawner.end_all()


class Starting:
    """Since when a worker has been waiting for a program to be loaded; in memory that it shares with the keeper."""

    def __init__(self, shared: mmap.mmap, slot: int) -> None:
        self._shared = shared
        self._at = slot * _SINCE.size
        self.note(0.0)

    def note(self, since: float) -> None:
        """Monotonic seconds; 0 when it does not wait."""
        _SINCE.pack_into(self._shared, self._at, since)


def _has_been_starting(shared: mmap.mmap, slot: int) -> float:
    """For how many seconds a worker has been waiting, and so has seen to nothing else."""
    (since,) = _SINCE.unpack_from(shared, slot * _SINCE.size)
    return time.monotonic() - since if since else 0.0


class _Keeper:
    """Keeps the workers going until the agent is gone: one that has ended, or is stuck, is replaced."""

    def __init__(self, control: int) -> None:
        self._control = control
        self._alive, self._ours = os.pipe2(os.O_CLOEXEC)  # closes in the workers' hands when we end
        self._shared = mmap.mmap(-1, WORKERS * _SINCE.size)
        self._workers: dict[int, tuple[int, int]] = {}  # pid: slot and pidfd
        self._poller = select.poll()
        self._poller.register(control, 0)  # tells of the agent's end, and nothing else

    def run(self) -> None:
        """In the workers this returns, too, at their end."""
        while True:
            for slot in {*range(WORKERS)} - {slot for slot, _ in self._workers.values()}:
                if not self._start(slot):
                    return
            if self._control in [descriptor for descriptor, _ in self._poller.poll(WATCH_SECONDS * 1000)]:
                break
            if self._reap():
                time.sleep(AGAIN_SECONDS)  # one that cannot live must not keep us busy
            for pid, (slot, _) in self._workers.items():
                if _has_been_starting(self._shared, slot) > START_SECONDS:
                    kill(pid, signal.SIGKILL)
        self._end()

    def _start(self, slot: int) -> bool:
        """False in the worker, at its end."""
        try:
            pid = os.fork()
        except OSError:  # no process or memory to spare; those that are there go on
            time.sleep(AGAIN_SECONDS)
            return True
        if pid == 0:
            os.close(self._ours)
            for _, descriptor in self._workers.values():
                os.close(descriptor)
            _work(self._control, self._alive, Starting(self._shared, slot))
            return False
        descriptor = os.pidfd_open(pid)
        self._poller.register(descriptor, select.POLLIN)
        self._workers[pid] = slot, descriptor
        return True

    def _reap(self) -> bool:
        """Reap who has ended, and kill what an ended worker left; whether a worker was among them."""
        ended = [pid for pid in self._workers if reaped(pid)]
        for pid in ended:
            _, descriptor = self._workers.pop(pid)
            self._poller.unregister(descriptor)
            os.close(descriptor)
        for stray in children_of(os.getpid()):
            if stray not in self._workers:
                kill(stray, signal.SIGKILL)
                reaped(stray)
        return bool(ended)

    def _end(self) -> None:
        """The agent is gone: the workers end what they run, and themselves."""
        until = time.monotonic() + REAP_SECONDS + WATCH_SECONDS
        self._poller.unregister(self._control)
        while self._workers or children_of(os.getpid()):
            self._poller.poll(SWEEP_SECONDS * 1000)
            self._reap()
            if time.monotonic() > until:
                for pid in self._workers:
                    kill(pid, signal.SIGKILL)
            if time.monotonic() > until + REAP_SECONDS:
                return


def main(arguments: list[str]) -> None:
    """`FD POLICY LIMIT... NICE IO [UID GID]`: serve that socket, scheduled and bounded like that, as that user."""
    control, policy, *numbers = map(int, arguments)
    limits, (nice, io, *identity) = numbers[: len(LIMITS)], numbers[len(LIMITS) :]
    os.set_inheritable(control, False)  # noqa: FBT003 - it takes no keyword
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # the agent decides when this ends, by closing the socket
    with contextlib.suppress(OSError):  # the thread that started us may be scheduled in a way of its own
        os.sched_setscheduler(0, policy, os.sched_param(0))
    if identity and os.geteuid() == 0:
        user, group = identity
        os.setgroups([])
        os.setgid(group)
        os.setuid(user)
    become_subreaper()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    bound_ourselves(tuple(limits), nice, io)
    _Keeper(control).run()


if __name__ == "__main__":
    main(sys.argv[1:])
