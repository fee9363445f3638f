"""What a process asks the kernel for itself: to give way to others, and to end with its parent."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal

_IOPRIO_WHO_PROCESS = 1
_PR_SET_PDEATHSIG = 1
_SYS_IOPRIO_SET = {
    "x86_64": 251,
    "aarch64": 30,
    "riscv64": 30,
    "ppc64le": 273,
    "s390x": 282,
    "i686": 289,
    "armv7l": 314,
}
"""Numbers of the system call, which the C library does not offer."""


def give_way(nice: int, io: int) -> None:
    """Change our priorities, and those of all that we start from now on, as far as we may.

    Args:
        nice: as setpriority(2) has it; 0 changes nothing.
        io: class and level as ioprio_set(2) has them; -1 changes nothing.
    """
    if nice:
        with contextlib.suppress(PermissionError):
            os.setpriority(os.PRIO_PROCESS, 0, nice)
    number = _SYS_IOPRIO_SET.get(os.uname().machine)
    if io >= 0 and number is not None:
        ctypes.CDLL(None).syscall(number, _IOPRIO_WHO_PROCESS, 0, io)


def end_with_parent() -> None:
    """Have this process killed when the one that forked it ends (prctl(2), PR_SET_PDEATHSIG)."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
