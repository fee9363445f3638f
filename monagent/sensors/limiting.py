"""Have every program begin with its bounds: from its spawner, or from a program that becomes it.

A child inherits the limits of the process that starts it, so there is a spawner for each set of bounds. Limits that
are too tight for the spawner itself are set by prlimit(1), which then becomes the program.
"""

from __future__ import annotations

import functools
import os
import shutil
import stat
import sys

from monagent.models import Bounds, Run
from monagent.sensors.processes import LIMITS, values_of

_PRLIMIT = shutil.which("prlimit", path="/usr/bin:/bin:/usr/sbin:/sbin")
"""Of util-linux; busybox has none."""
_INSTEAD = """
import os, resource, sys
for kind, soft, hard in (map(int, word.split(":")) for word in sys.argv[1].split()):
    resource.setrlimit(kind, (soft, hard))
try:
    os.execv(sys.argv[2], sys.argv[2:])
except OSError as error:
    sys.exit(f"{sys.argv[2]}: {error.strerror}")
"""
_OPTIONS = dict(zip(LIMITS, ("data", "nproc", "nofile", "cpu", "fsize"), strict=True))
_LOOSE = (1 << 28, 4096, 256, 1 << 63, 0)
"""From here on a spawner can live with a limit for years. Its CPU time grows as long as it lives."""


@functools.lru_cache(maxsize=64)
def inherited(bounds: Bounds) -> Bounds:
    """The bounds of the spawner for a program with these: the same ones, or none but for its priorities."""
    tight = any(0 <= limit < loose for limit, loose in zip(bounds.limits, _LOOSE, strict=True))
    return Bounds(nice=bounds.nice, io=bounds.io) if tight else bounds


def limited(run: Run) -> tuple[str, ...]:
    """The program and its arguments, behind what sets its limits where its spawner does not."""
    if inherited(run.bounds) == run.bounds or not _can_start(run.argv[0]):
        return run.argv
    values = values_of(run.bounds.limits)
    if _PRLIMIT is None:
        words = " ".join(f"{kind}:{soft}:{hard}" for kind, (soft, hard) in values)
        return (sys.executable, "-I", "-S", "-c", _INSTEAD, words, *run.argv)
    options = (f"--{_OPTIONS[kind]}={soft}:{hard}" for kind, (soft, hard) in values)
    return (_PRLIMIT, *options, "--", *run.argv)


def _can_start(program: str) -> bool:
    """False where starting it fails for sure, which is told best under its own name."""
    try:
        mode = os.stat(program).st_mode
    except (FileNotFoundError, NotADirectoryError):
        return False
    except (OSError, ValueError):  # out of our sight, but perhaps not out of its user's
        return True
    return stat.S_ISREG(mode) and bool(mode & 0o111)
