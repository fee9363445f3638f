"""Compile the C programs that the measuring is done with, and run them within a time."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

SOURCES = {
    "tiny": ("tiny.c",),
    "spawn": ("spawn.c",),
    "load": ("load.c", "clients.c", "sink.c", "wire.c"),
}
COMPILE_SECONDS = 60.0


class BenchmarkError(Exception):
    """A figure could not be measured; the text says why."""


def compile_all(folder: Path) -> dict[str, Path]:
    """Compile every program into a directory.

    Returns:
        Where each one is, by its name.

    Raises:
        BenchmarkError: there is no C compiler, or it failed.
    """
    here = Path(__file__).parent
    compiler = os.environ.get("CC", "cc")
    programs = {name: folder / name for name in SOURCES}
    for name, sources in SOURCES.items():
        files = [str(here / source) for source in sources]
        output([compiler, "-O2", "-pthread", "-o", str(programs[name]), *files], COMPILE_SECONDS)
    return programs


def output(command: Sequence[str], seconds: float, keep: Sequence[int] = ()) -> str:
    """What a program prints.

    Args:
        command: the program with its arguments.
        seconds: when it is killed.
        keep: file descriptors that it inherits.

    Raises:
        BenchmarkError: it is not there, failed, or took too long.
    """
    name = Path(command[0]).name
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=seconds, pass_fds=keep, check=False)
    except subprocess.TimeoutExpired as error:
        raise BenchmarkError(f"{name} took more than {seconds:.0f} s") from error
    except OSError as error:
        raise BenchmarkError(f"{name}: {error.strerror}") from error
    if done.returncode:
        raise BenchmarkError(f"{name}: {done.stderr.strip()[-500:] or f'exit code {done.returncode}'}")
    return done.stdout


def spawn_rate(programs: dict[str, Path], threads: int, seconds: float) -> float:
    """How often a second this machine can run the tiny program now, with that many threads."""
    command = [str(programs["spawn"]), str(programs["tiny"]), str(threads), str(seconds)]
    return float(output(command, seconds + 10.0))
