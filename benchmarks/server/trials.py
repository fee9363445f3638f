"""Let a fleet and its server work at a given rate for a while, and see what that took."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.fleet.crowd import Nature
from benchmarks.programs import BenchmarkError
from benchmarks.server.databases import Kept
from benchmarks.server.fleet import Fleet
from benchmarks.server.ledger import SETTLE_SECONDS, account
from benchmarks.server.processes import Server

PACE = 0.93
"""Of the rate that was asked for; less means that the server does not keep up. A short time has more and less of it by chance."""
LATEST = 2.0
"""Seconds that a command may be late (99th percentile)."""


@dataclass(frozen=True)
class Effort:
    """Seconds: of warming up, and of measuring."""

    warm: float
    run: float


@dataclass(frozen=True)
class Trial:
    """What came of it.

    Attributes:
        asked: results a second that the definitions amount to.
        rate: that were stored.
        cpu: seconds of all server processes for one of them.
        database_cpu: likewise, of the database's own processes.
        memory: megabytes of the largest server process.
        lateness: seconds that commands to hosts that are well left after their time: median and 99th percentile.
        callback: seconds from an agent's beginning to hand in to its answer, likewise.
        fleet_cpu: of the fleet, as a share of one core.
        astray: what went wrong, for people; empty: nothing was lost, nothing came twice.
    """

    asked: float
    rate: float
    cpu: float
    database_cpu: float
    memory: float
    lateness: tuple[float, float]
    callback: tuple[float, float]
    fleet_cpu: float
    astray: str

    @property
    def keeps_up(self) -> bool:
        """Whether the server did all that it was asked for, in time."""
        return self.rate >= PACE * self.asked and self.lateness[1] < LATEST and not self.astray

    def __str__(self) -> str:
        late, callback = self.lateness[1], self.callback[1]
        told = f"{self.rate:.0f} of {self.asked:.0f} checks/s, lateness p99 {late:.1f} s, callback p99 {callback:.2f} s"
        return f"{told}, {self.astray}" if self.astray else told


def run(kept: Kept, servers: Sequence[Server], fleet: Fleet, rate: float, effort: Effort) -> Trial:
    """Wait until a fleet has settled that was defined for a rate, and measure.

    Raises:
        BenchmarkError: something did not work at all.
    """
    time.sleep(effort.warm)
    fleet.mark()
    begin, before, database_before = time.time(), sum(server.cpu() for server in servers), kept.cpu()
    time.sleep(effort.run)
    told, end = fleet.mark(), time.time()
    after, database_after = sum(server.cpu() for server in servers), kept.cpu()
    memory = max(server.memory() for server in servers)
    time.sleep(min(SETTLE_SECONDS, effort.run / 2))
    found = account(kept.url, begin, end, fleet.names(Nature.LIVE))
    if not found.kept or found.lateness is None or told["callback"] is None:
        raise BenchmarkError(f"nothing came within {effort.run:.0f} s: {told}; {_last_words(servers)}")
    return Trial(
        asked=rate,
        rate=found.kept / (end - begin),
        cpu=(after - before) / found.kept,
        database_cpu=(database_after - database_before) / found.kept,
        memory=memory,
        lateness=(found.lateness.p50, found.lateness.p99),
        callback=(told["callback"]["p50"], told["callback"]["p99"]),
        fleet_cpu=told["cpu"] / told["seconds"],
        astray=_astray(found.missing, found.wrong, told),
    )


def _astray(missing: int, wrong: int, told: dict[str, dict[str, int]]) -> str:
    counts = {"without a reading": missing, "wrong": wrong, "refused": sum(told["refused"].values())}
    return ", ".join(f"{count} {name}" for name, count in counts.items() if count)


def _last_words(servers: Sequence[Server]) -> str:
    return " / ".join(line for server in servers for line in server.warnings()[-3:])
