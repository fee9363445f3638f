"""Have a program begin with its limits, where it could exceed them before they are set from outside."""

from __future__ import annotations

import functools
import os
import resource
import shutil

from monagent.models import Run
from monagent.sensors.processes import values_of

_PRLIMIT = shutil.which("prlimit", path="/usr/bin:/bin:/usr/sbin:/sbin")
"""Of util-linux; without it (busybox has none) limits are set a moment after the start."""
_OPTIONS = {
    resource.RLIMIT_DATA: "data",
    resource.RLIMIT_NPROC: "nproc",
    resource.RLIMIT_NOFILE: "nofile",
    resource.RLIMIT_CPU: "cpu",
    resource.RLIMIT_FSIZE: "fsize",
}
_LOOSE = (1 << 30, 4096, 1024, 1, 1 << 30)
"""What nobody exceeds within some hundredths of a second. For such limits another program need not be loaded."""


@functools.lru_cache(maxsize=64)
def _are_tight(limits: tuple[int, ...]) -> bool:
    return any(0 <= limit < loose for limit, loose in zip(limits, _LOOSE, strict=True))


def limited(run: Run) -> tuple[str, ...]:
    """The program and its arguments, behind prlimit(1) where that is needed and can be told from the program's own errors."""
    limits = run.bounds.limits
    if not _are_tight(limits) or _PRLIMIT is None or not os.access(run.argv[0], os.X_OK):
        return run.argv
    options = (f"--{_OPTIONS[kind]}={soft}:{hard}" for kind, (soft, hard) in values_of(limits))
    return (_PRLIMIT, *options, "--", *run.argv)
