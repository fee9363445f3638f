"""Start the program that stands beside the agent and runs sensors, and talk to it."""

from __future__ import annotations

import array
import contextlib
import errno
import os
import pwd
import socket
import struct
import subprocess
import sys
import threading
import weakref
from pathlib import Path

import monagent
from monagent.models import Bounds, Run
from monagent.sensors import spawner

SEND_SECONDS = 5
END_SECONDS = 3.0
GRACE_SECONDS = 1.0
"""What a program gets between TERM and KILL when its time is up."""

_LOADER = "import sys; sys.path.append(sys.argv[1]); from monagent.sensors.spawner import main; main(sys.argv[2:])"


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


def _start_program(*arguments: str, descriptor: int) -> subprocess.Popen[bytes]:
    """Start `spawner.py` in a process of its own that holds nothing of ours but one descriptor."""
    place = str(Path(monagent.__file__).parent.parent)
    return subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", _LOADER, place, str(descriptor), *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        env=clean_environment(),
        cwd="/",
        pass_fds=[descriptor],
        # A Ctrl-C is for us, and we decide what becomes of the sensors.
        start_new_session=True,
    )


class Spawning:
    """The spawner for one user and one set of bounds. Any thread may call `start()`."""

    def __init__(self, user: str, bounds: Bounds, policy: int = os.SCHED_OTHER) -> None:
        """Start it.

        Args:
            user: empty for our own, with all the groups that we have.
            bounds: of all that it starts, and its own; see `limiting.inherited()`.
            policy: how it is scheduled, see sched(7).

        Raises:
            KeyError: there is no such user.
            PermissionError: we may not become that user.
            OSError: it cannot be started.
        """
        identity = _identity_of(user) if user else ()
        numbers = map(str, (policy, *bounds.limits, bounds.nice, bounds.io))
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, spawner.LONGEST_PACKET)
            # A time-out of the socket's own would cost a poll() for each request.
            ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("@ll", SEND_SECONDS, 0))
            process = self._process = _start_program(*numbers, *identity, descriptor=theirs.fileno())
        self._socket = ours
        self._end = weakref.finalize(self, _end, ours, process)
        self._lock = threading.Lock()
        self._runs = 0
        self._retired = False

    @property
    def pid(self) -> int:
        """Of its first process."""
        return self._process.pid

    def start(self, run: Run, out: int, err: int, answer: int) -> None:
        """Have a program started with these descriptors as its outputs; the answer comes through the third. `over()` follows.

        Raises:
            OSError: the request cannot be sent.
            ValueError: an argument holds a NUL.
        """
        argv = [os.fsencode(word) for word in run.argv]
        if any(b"\0" in word for word in argv):
            raise ValueError("embedded null byte")
        packet = spawner.REQUEST.pack(run.timeout, GRACE_SECONDS) + b"\0".join(argv)
        if len(packet) > spawner.LONGEST_PACKET:
            raise OSError(errno.E2BIG, os.strerror(errno.E2BIG))
        rights = array.array("i", [out, err, answer])
        with self._lock:
            self._runs += 1  # before it is sent: `retire()` must not end what is just being started
        try:
            self._socket.sendmsg([packet], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)], socket.MSG_NOSIGNAL)
        except OSError as error:
            self.over()
            if error.errno == errno.EBADF:  # another thread was quicker to find that it has ended
                raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE)) from error
            raise

    def over(self) -> None:
        """A run that `start()` has begun has come to its end, or is not waited for any longer."""
        with self._lock:
            self._runs -= 1
            last = self._retired and not self._runs
        if last:
            self.end()

    def retire(self) -> None:
        """End with the last run that is under way."""
        with self._lock:
            self._retired = True
            over = not self._runs
        if over:
            self.end()

    def has_ended(self, within: float) -> bool:
        """Whether its first process is gone, or is so soon, in seconds."""
        try:
            self._process.wait(within)
        except subprocess.TimeoutExpired:
            return False
        return True

    def close(self) -> None:
        """Tell it to end, and do not wait for that."""
        self._socket.close()

    def end(self) -> None:
        """Let it end everything that it started, and itself. It also does so when we are forgotten."""
        self._end()


def _identity_of(user: str) -> tuple[str, str]:
    account = pwd.getpwnam(user)
    if os.geteuid() not in (0, account.pw_uid):
        raise PermissionError(1, os.strerror(1))
    return str(account.pw_uid), str(account.pw_gid)


def _end(ours: socket.socket, process: subprocess.Popen[bytes]) -> None:
    ours.close()
    try:
        process.wait(END_SECONDS)
    except subprocess.TimeoutExpired:
        # Stopped, perhaps. Once we have given up root it is not ours to kill.
        with contextlib.suppress(PermissionError, subprocess.TimeoutExpired):
            process.kill()
            process.wait(END_SECONDS)
