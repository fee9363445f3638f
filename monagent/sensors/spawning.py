"""Start the small programs that stand beside the agent, and talk to them."""

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
from collections.abc import Collection
from pathlib import Path

import monagent
from monagent.models import Run
from monagent.sensors import spawner

SEND_SECONDS = 5
END_SECONDS = 3.0
GRACE_SECONDS = 1.0
"""What a program gets between TERM and KILL when its time is up."""

_LOADER = "import sys; sys.path.append(sys.argv[1]); from monagent.sensors.{0} import main; main(sys.argv[2:])"


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


def start_program(module: str, descriptor: int, *arguments: str) -> subprocess.Popen[bytes]:
    """Start `monagent.sensors.MODULE` in a process of its own that holds nothing of ours but one descriptor.

    Raises:
        OSError: it cannot be started.
    """
    place = str(Path(monagent.__file__).parent.parent)
    return subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", _LOADER.format(module), place, str(descriptor), *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        env=clean_environment(),
        cwd="/",
        pass_fds=[descriptor],
        # A Ctrl-C is for us, and we decide what becomes of the sensors.
        start_new_session=True,
    )


class Spawning:
    """The spawner of one user. Any thread may call `start()`."""

    def __init__(self, user: str) -> None:
        """Start it.

        Raises:
            KeyError: there is no such user.
            PermissionError: we may not become that user.
            OSError: it cannot be started.
        """
        account = pwd.getpwnam(user)
        if os.geteuid() not in (0, account.pw_uid):
            raise PermissionError(1, os.strerror(1))
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, spawner.LONGEST_PACKET)
            # A time-out of the socket's own would cost a poll() for each request.
            ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("@ll", SEND_SECONDS, 0))
            self._process = start_program("spawner", theirs.fileno(), str(account.pw_uid), str(account.pw_gid))
        self._socket = ours

    @property
    def pid(self) -> int:
        """Of its first process."""
        return self._process.pid

    def start(self, run: Run, out: int, err: int, answer: int) -> None:
        """Have a program started with these descriptors as its outputs; the answer comes through the third.

        Raises:
            OSError: the request cannot be sent.
            ValueError: an argument holds a NUL.
        """
        argv = [os.fsencode(word) for word in run.argv]
        if any(b"\0" in word for word in argv):
            raise ValueError("embedded null byte")
        limits = [min(limit, spawner.LARGEST) for limit in run.bounds.limits]
        header = spawner.REQUEST.pack(run.timeout, GRACE_SECONDS, *limits, run.bounds.nice, run.bounds.io)
        packet = header + b"\0".join(argv)
        if len(packet) > spawner.LONGEST_PACKET:
            raise OSError(errno.E2BIG, os.strerror(errno.E2BIG))
        rights = array.array("i", [out, err, answer])
        self._socket.sendmsg([packet], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)], socket.MSG_NOSIGNAL)

    def end(self) -> None:
        """Let it end everything that it started, and itself."""
        self._socket.close()
        try:
            self._process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            # Stopped, perhaps. Once we have given up root it is not ours to kill.
            with contextlib.suppress(PermissionError, subprocess.TimeoutExpired):
                self._process.kill()
                self._process.wait(END_SECONDS)


class Guard:
    """The program that ends what we ran when we are gone, see `guard.py`."""

    def __init__(self, token: str) -> None:
        """
        Raises:
            OSError: it cannot be started.
        """
        reader, self._writer = os.pipe2(os.O_CLOEXEC)
        try:
            self._process = start_program("guard", reader)
            os.write(self._writer, token.encode())
        finally:
            os.close(reader)

    @property
    def pid(self) -> int:
        """Of the process."""
        return self._process.pid

    def dismiss(self) -> None:
        """Let it end, now that nothing runs any more."""
        os.close(self._writer)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(END_SECONDS)


def helpers_of(programs: Collection[Spawning | Guard]) -> set[int]:
    """The processes of these programs that are our own children."""
    return {program.pid for program in programs}
