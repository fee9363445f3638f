"""What the figures were measured on."""

from __future__ import annotations

import os
import platform
import sqlite3
import time
from pathlib import Path
from statistics import median

import monagent

_SYNCS = 100


def facts(folder: Path) -> dict[str, str]:
    """The machine, its software and the disk under `folder`, as texts for people."""
    load = ", ".join(f"{figure:.2f}" for figure in os.getloadavg())
    return {
        "monagent": monagent.__version__,
        "Python": f"{platform.python_implementation()} {platform.python_version()}, SQLite {sqlite3.sqlite_version}",
        "kernel": f"{platform.system()} {platform.release()} {platform.machine()}",
        "cores": f"{len(os.sched_getaffinity(0))} of {_model()}",
        "load before": f"{load} (1, 5 and 15 minutes)",
        "fdatasync": f"{sync_seconds(folder) * 1e6:.0f} µs for 4 KiB appended (median of {_SYNCS})",
    }


def sync_seconds(folder: Path) -> float:
    """How long a small append takes to reach the disk."""
    path, times = folder / "sync", []
    with path.open("wb", buffering=0) as file:
        for _ in range(_SYNCS):
            file.write(bytes(4096))
            started = time.perf_counter()
            os.fdatasync(file.fileno())
            times.append(time.perf_counter() - started)
    path.unlink()
    return median(times)


def _model() -> str:
    lines = Path("/proc/cpuinfo").read_text(errors="replace").splitlines()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
