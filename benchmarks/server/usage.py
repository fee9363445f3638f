"""What processes have used, as the kernel tells it."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")


def cpu(pid: int, *, family: bool = False) -> float:
    """Seconds of processor time, user and system.

    Args:
        pid: of a process that is there.
        family: with its children, those that have ended included.
    """
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    own = sum(map(int, fields[11:13])) / _TICKS
    if not family:
        return own
    ended = sum(map(int, fields[13:15])) / _TICKS
    living = 0.0
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            living += cpu(int(child))
    return own + ended + living


def memory(pid: int) -> float:
    """Megabytes that are its own now (VmRSS)."""
    lines = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return int(lines["VmRSS"].split()[0]) / 1024
