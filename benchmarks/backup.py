"""Backup syncs beside rsync, on trees that are made on the spot; both take turns, round by round."""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from benchmarks.programs import BenchmarkError
from benchmarks.rows import Row
from monagent.sync.job import FULL_CHECK, SYNC, SyncJob, request_of

SMALL_FILES, LARGE_FILES, SILENT = 50_000, 200, 50
NEEDED = 16 << 30
"""Bytes of disk. Copies are removed at the end: ext4 is slow to use inodes that were freed within the last seconds."""


@dataclass(frozen=True)
class Cost:
    """Of one run: seconds of all its processors, seconds on the clock, most bytes in memory of one process."""

    cpu: float
    wall: float
    memory: int


def rows(folder: Path, rounds: int, share: float) -> list[Row]:
    """All of them.

    Args:
        folder: where the trees are made.
        rounds: of both programs.
        share: of the full sizes.
    """
    if shutil.which("rsync") is None:
        raise BenchmarkError("rsync is not installed")
    if shutil.disk_usage(folder.parent).free < NEEDED * share:
        raise BenchmarkError(f"{NEEDED >> 30} GiB of disk are needed in {folder}")
    folder.mkdir()
    small, large = folder / "small", folder / "large"
    dice = random.Random(1)
    for number in range(int(SMALL_FILES * share)):
        _write(
            small / f"d{number % 20:02}" / f"s{number % 500:03}" / f"file-{number}",
            dice.randbytes(dice.randint(1024, 8192)),
        )
    for number in range(int(LARGE_FILES * share)):
        _write(large / f"large-{number:03}", dice.randbytes(dice.randint(1 << 20, 20 << 20)))
    os.sync()
    time.sleep(2)
    nursery = Nursery()
    try:
        return _small(nursery, folder, small, rounds, dice) + _large(nursery, folder, large, rounds)
    finally:
        nursery.close()
        shutil.rmtree(folder)


def _small(nursery: Nursery, folder: Path, tree: Path, rounds: int, dice: random.Random) -> list[Row]:
    first, rescan, found, changed, memory = [], [], [], [], []
    files = sorted(path for path in tree.rglob("file-*"))
    for number in range(rounds):
        ours, theirs = folder / f"small-ours{number}", folder / f"small-theirs{number}"
        job = SyncJob("small", tree, ours, folder / f"state-small{number}")
        mine, other = nursery.sync(job), _rsync("-a", tree, theirs)
        first.append(mine.cpu / other.cpu)
        memory.append(mine.memory / 2**20)
        time.sleep(0.1)
        rescan.append(nursery.sync(job).cpu / _rsync("-a", tree, theirs).cpu)
        _change(dice.sample(files, len(files) // 100 or 1))
        silent = dice.sample(files, min(SILENT, len(files)))
        _change(silent, silently=True)
        time.sleep(0.1)
        changed.append(nursery.sync(job).cpu / _rsync("-ac", tree, theirs).cpu)
        found.append(sum((ours / path.relative_to(tree)).read_bytes() == path.read_bytes() for path in silent))
    name = f"{len(files):,} files of 1-8 KiB"
    return [
        Row(f"backup: first copy of {name}, CPU", "of rsync -a", tuple(first), "<=", 0.85),
        Row("backup: nothing changed, CPU beside an agent", "of rsync -a", tuple(rescan), "<=", 1.3),
        Row("backup: 1 % changed, CPU", "of rsync -ac", tuple(changed), "<=", 1.0),
        Row(
            f"backup: found of {min(SILENT, len(files))} silent changes", "files", tuple(map(float, found)), ">=", 50.0
        ),
        Row("backup: memory of the largest process", "MB", tuple(memory), "<=", 60.0),
    ]


def _large(nursery: Nursery, folder: Path, tree: Path, rounds: int) -> list[Row]:
    first, proof = [], []
    for number in range(min(rounds, 2)):
        ours, theirs = folder / f"large-ours{number}", folder / f"large-theirs{number}"
        job = SyncJob("large", tree, ours, folder / f"state-large{number}")
        mine, other = nursery.sync(job), _rsync("-a", tree, theirs)
        first.append(mine.wall / other.wall)
        os.sync()
        proof += [nursery.sync(job, FULL_CHECK).wall / _rsync("-nac", tree, theirs).wall for _ in range(2)]
    return [
        Row(f"backup: first copy of {LARGE_FILES} files of 1-20 MiB, wall", "of rsync -a", tuple(first), "<=", 0.6),
        Row("backup: full proof of them, wall", "of rsync -nac", tuple(proof), "<=", 0.9),
    ]


_NURSERY = """
import json, os, sys, time
from monagent.sync.job import asked
from monagent.sync.run import run
for line in sys.stdin:
    job, mode = asked(line.encode())
    begun = time.monotonic()
    pid = os.fork()
    if pid == 0:
        os._exit(run(job, mode).exit_code)
    _, status, used = os.wait4(pid, 0)
    print(json.dumps([status, used.ru_utime + used.ru_stime, time.monotonic() - begun, used.ru_maxrss * 1024]), flush=True)
"""
"""Runs each job as an agent does: in a process that is forked from one where everything is loaded."""


class Nursery:
    """What stands beside an agent."""

    def __init__(self) -> None:
        self._program = subprocess.Popen(
            [sys.executable, "-c", _NURSERY], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def sync(self, job: SyncJob, mode: str = SYNC) -> Cost:
        """Run a job once."""
        assert self._program.stdin is not None
        assert self._program.stdout is not None
        self._program.stdin.write(request_of(job, mode).decode() + "\n")
        self._program.stdin.flush()
        status, *cost = json.loads(self._program.stdout.readline())
        if status:
            raise BenchmarkError("a sync has failed")
        return Cost(*cost)

    def close(self) -> None:
        """End it."""
        self._program.communicate()


def _rsync(options: str, source: Path, target: Path) -> Cost:
    return _cost(["rsync", options, f"{source}/", f"{target}/"])


def _cost(program: list[str]) -> Cost:
    begun = time.monotonic()
    _, status, used = os.wait4(subprocess.Popen(program, stdout=subprocess.DEVNULL).pid, 0)
    if status:
        raise BenchmarkError(f"{program[0]} has failed")
    return Cost(used.ru_utime + used.ru_stime, time.monotonic() - begun, used.ru_maxrss * 1024)


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def _change(files: list[Path], *, silently: bool = False) -> None:
    for path in files:
        status = path.stat()
        content = path.read_bytes()
        path.write_bytes(bytes([content[0] ^ 1]) + content[1:])
        if silently:
            os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
