"""Have every program begin with its bounds: from its spawner, or from a program that becomes it.

A child inherits the limits of the process that starts it, so there is a spawner for each set of bounds. Limits that
are too tight for the spawner itself are set by prlimit(1), which then becomes the program.
"""

from __future__ import annotations

import errno
import functools
import os
import shutil
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
    sys.stderr.write(f"prlimit: failed to execute {sys.argv[2]}: {error.strerror}")
    sys.exit(127 if error.errno == 2 else 126)
"""
"""Slower. It also knows no shell: prlimit gives what the kernel does not take for a program to /bin/sh."""
_FAILED = b"prlimit: failed to execute "
_PROGRAMS = (b"#!", b"\x7fE")
_OPTIONS = dict(zip(LIMITS, ("data", "nproc", "nofile", "cpu", "fsize"), strict=True))
_LOOSE = (1 << 28, 4096, 1024, 1 << 63, 0)
"""From here on a spawner can live with a limit for years. It holds two files for each run; its CPU time grows and grows."""


@functools.lru_cache(maxsize=64)
def inherited(bounds: Bounds) -> Bounds:
    """The bounds of the spawner for a program with these: the same ones, or none but for its priorities."""
    tight = any(0 <= limit < loose for limit, loose in zip(bounds.limits, _LOOSE, strict=True))
    return Bounds(nice=bounds.nice, io=bounds.io) if tight else bounds


def limited(run: Run) -> tuple[str, ...]:
    """The program and its arguments, behind what sets its limits where its spawner does not."""
    if inherited(run.bounds) == run.bounds:
        return run.argv
    values = values_of(run.bounds.limits, of_root=not run.user and os.geteuid() == 0)
    if _PRLIMIT is None or not _is_program(run.argv[0]):
        words = " ".join(f"{kind}:{soft}:{hard}" for kind, (soft, hard) in values)
        return (sys.executable, "-I", "-S", "-c", _INSTEAD, words, *run.argv)
    options = (f"--{_OPTIONS[kind]}={soft}:{hard}" for kind, (soft, hard) in values)
    return (_PRLIMIT, *options, "--", *run.argv)


def failure(code: int, told: bytes) -> int:
    """Why what stood before the program could not start it, as an errno; 0 when it could."""
    if code not in (126, 127) or not told.startswith(_FAILED):
        return 0
    reason = told.rpartition(b": ")[2].strip().decode("utf-8", "replace")
    known = {os.strerror(number): number for number in errno.errorcode}
    return known.get(reason, errno.ENOENT if code == 127 else errno.EACCES)


def _is_program(path: str) -> bool:
    """Whether the kernel knows how to run it, as far as we may look."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except (OSError, ValueError):
        return True
    try:
        return os.read(descriptor, 2) in _PROGRAMS
    except OSError:
        return True
    finally:
        os.close(descriptor)
