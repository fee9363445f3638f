"""Many server processes on one database, and many agents of one process."""

from __future__ import annotations

from pathlib import Path

from benchmarks.rows import Row
from benchmarks.server.databases import Kept
from benchmarks.server.fleet import Size
from benchmarks.server.sustained import HOSTS, Say, Station
from benchmarks.server.trials import LATEST, Effort, Trial

PROCESSES = 4
EACH, RATE = 150.0, 300.0
AGENTS = Size(agents=10_000, probes=3)


def processes(folder: Path, kept: Kept, effort: Effort, say: Say) -> list[Row]:
    """One process, and several: each as busy as the one, and all together as busy as the one."""
    with Station(folder, kept, effort, say, HOSTS) as station:
        one, alone = station.at(EACH), station.at(RATE)
    with Station(folder, kept, effort, say, HOSTS, PROCESSES) as station:
        several, idle = station.at(EACH * PROCESSES), station.at(RATE)
    return [
        Row(f"{PROCESSES} processes with {EACH:.0f} checks/s each", "/s", (several.rate,), note=several.astray),
        Row("  their CPU a check, of that of one with as many", "", (several.cpu / one.cpu,), "<=", 1.25),
        Row("  with the database's", "", (_all_cpu(several) / _all_cpu(one),), "<=", 1.25),
        Row(f"  sharing {RATE:.0f} checks/s, of one that has them all", "", (idle.cpu / alone.cpu,)),
        Row("  CPU a check with one process", "ms", (one.cpu * 1e3,)),
        Row("  and the database's", "ms", (one.database_cpu * 1e3,)),
        Row("  lateness p99", "s", (several.lateness[1],), "<", LATEST),
        Row("  callback p99", "ms", (several.callback[1] * 1e3,)),
    ]


def agents(folder: Path, kept: Kept, effort: Effort, say: Say) -> list[Row]:
    """A large fleet that is asked seldom."""
    with Station(folder, kept, effort, say, AGENTS) as station:
        defined = station.define(RATE)
        trial = station.at(RATE)
    return [
        Row(f"{AGENTS.agents} agents with {AGENTS.probes} probes: defined in", "s", (defined,), "<=", 30.0),
        Row(f"  at {RATE:.0f} checks/s", "/s", (trial.rate,), note=trial.astray),
        Row("  server's CPU a check", "ms", (trial.cpu * 1e3,)),
        Row("  lateness p99", "s", (trial.lateness[1],), "<", LATEST),
        Row("  memory", "MB", (trial.memory,)),
        Row("  callback p99", "ms", (trial.callback[1] * 1e3,)),
    ]


def _all_cpu(trial: Trial) -> float:
    return trial.cpu + trial.database_cpu
