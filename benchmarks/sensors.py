"""What changing and listing sensors takes, without the network: the parts that an agent uses, on a real disk."""

from __future__ import annotations

import io
import random
import tarfile
import time
from pathlib import Path

from benchmarks.rows import Row
from monagent.models import Run, RunResult
from monagent.sensors.backups import Backups
from monagent.sensors.occupancy import Occupancy
from monagent.sensors.runner import Runner
from monagent.sensors.store import SensorDefaults, SensorStore
from monagent.sensors.updater import Updater

MEBIBYTE = 1024 * 1024
CHECK = b"#!/bin/sh\necho 1\n"
INSTALLED = 500
UPDATES = 9


class _Timed:
    """Runs programs and adds up how long they took: the sensor's own test run is not ours."""

    def __init__(self) -> None:
        self._run = Runner().run
        self.seconds = 0.0

    def __call__(self, run: Run) -> RunResult:
        started = time.perf_counter()
        result = self._run(run)
        self.seconds += time.perf_counter() - started
        return result


def updates(folder: Path) -> list[Row]:
    """Installing a package of 1 MiB, compressed, that decompresses to as much: the slowest case of that size."""
    data = random.Random(1).randbytes(MEBIBYTE)
    rows = []
    for compression in ("bz2", "gz", "xz"):
        sensors = folder / f"sensors-{compression}"
        sensors.mkdir()
        timed = _Timed()
        store = SensorStore(SensorDefaults(sensors), {})
        updater = Updater(store, Backups(folder / f"backup-{compression}", 5), Occupancy(), timed)
        package = _package({"check": CHECK, "data": data}, compression)
        times = []
        for _ in range(UPDATES):
            timed.seconds, started = 0.0, time.perf_counter()
            updater.install("sensor", package)
            times.append((time.perf_counter() - started - timed.seconds) * 1000)
        rows.append(Row(f"update, 1 MiB {compression}, without its test run", "ms", tuple(times), "<", 150.0))
    return rows


def inventory(folder: Path) -> list[Row]:
    """Versions and digests of many sensors, nothing run."""
    sensors = folder / "sensors-many"
    for number in range(INSTALLED):
        (sensors / f"sensor{number}").mkdir(parents=True)
        program = sensors / f"sensor{number}" / "check"
        program.write_bytes(CHECK + bytes(3000))
        program.chmod(0o755)
    store = SensorStore(SensorDefaults(sensors), {})
    times = []
    for _ in range(UPDATES):
        started = time.perf_counter()
        for name in store.names():
            store.installed(name)
        times.append((time.perf_counter() - started) * 1000)
    return [Row(f"inventory of {INSTALLED} sensors", "ms", tuple(times), "<", 50.0)]


def _package(files: dict[str, bytes], compression: str) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=f"w:{compression}") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(f"sensor/{name}")
            member.size = len(content)
            member.mode = 0o755 if name == "check" else 0o644
            archive.addfile(member, io.BytesIO(content))
    return buffer.getvalue()
