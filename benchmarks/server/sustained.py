"""How many checks a second a server sustains on each kind of database, and what they cost."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Self

from benchmarks.rows import Row
from benchmarks.server import trials
from benchmarks.server.databases import Kept
from benchmarks.server.fleet import Fleet, Size
from benchmarks.server.processes import Server
from benchmarks.server.trials import Effort, Trial

HOSTS = Size(agents=1_000, probes=20)
"""Whose checks come one by one, which costs the server most."""
TOGETHER = replace(HOSTS, apart=False)
"""Whose checks have one schedule, so that a host's go in one multicall, and their results, too."""
STEP = 1.4
MOST_STEPS = 8
EASY = 0.7
"""Of the sustained rate: a load as it should be in everyday life."""

Say = Callable[[str], None]


class Station:
    """One or more server processes on one database, and a fleet that they command."""

    def __init__(
        self, folder: Path, kept: Kept, effort: Effort, say: Say, size: Size = HOSTS, processes: int = 1
    ) -> None:
        self._folder = folder
        self._kept = kept
        self._effort = effort
        self._say = say
        self._fleet = Fleet(size)
        self._processes = processes
        self._rate = 0.0

    def __enter__(self) -> Self:
        with ExitStack() as opened:
            self.servers = [opened.enter_context(Server(self._folder, self._kept.url)) for _ in range(self._processes)]
            opened.enter_context(self._fleet.reporting_to(*(server.url for server in self.servers)))
            self._opened = opened.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._opened.close()

    def at(self, rate: float) -> Trial:
        """Work at a rate."""
        if rate != self._rate:
            self.define(rate)
        self._say(f"{rate:.0f} checks/s")
        return trials.run(self._kept, self.servers, self._fleet, rate, self._effort)

    def define(self, rate: float) -> float:
        """Let the definitions amount to a rate; how many seconds it took to apply them."""
        site = self._folder / "site.toml"
        self._fleet.define(site, rate)
        self._rate = rate
        return self.servers[0].apply(site)


def rows(name: str, station: Station, least: float) -> list[Row]:
    """Step up from the rate that is promised, and down where that is too much; then work at an easy rate.

    Args:
        name: of the database.
        station: what is measured.
        least: checks a second that must be sustained.
    """
    tried = _tried(station, least)
    if not any(trial.keeps_up for trial in tried):
        return [Row(f"{name}: sustained", "/s", (), note="; ".join(map(str, tried)))]
    best = max((trial for trial in tried if trial.keeps_up), key=lambda trial: trial.asked)
    easy = station.at(EASY * best.rate)
    return [
        Row(f"{name}: sustained", "/s", (best.rate,), ">=", least, best.astray),
        *_details(best),
        Row(f"{name}: at 70 % of that", "/s", (easy.rate,), note=easy.astray),
        *_details(easy)[:-1],
        Row("  callback p99", "ms", (easy.callback[1] * 1e3,), "<", 250.0),
    ]


def together(name: str, station: Station, rate: float) -> list[Row]:
    """One trial with a fleet whose hosts have their checks all at once."""
    trial = station.at(rate)
    return [
        Row(f"{name}: {HOSTS.probes} checks of a host at once", "/s", (trial.rate,), note=trial.astray),
        Row("  server's CPU a check", "ms", (trial.cpu * 1e3,)),
        Row("  callback p99", "ms", (trial.callback[1] * 1e3,)),
    ]


def _details(trial: Trial) -> list[Row]:
    rows = [
        Row("  server's CPU a check", "ms", (trial.cpu * 1e3,), "<=", 1.5),
        Row("  database's CPU a check", "ms", (trial.database_cpu * 1e3,)),
        Row("  lateness p50", "s", (trial.lateness[0],)),
        Row("  lateness p99", "s", (trial.lateness[1],), "<", trials.LATEST),
        Row("  memory", "MB", (trial.memory,), "<=", 120.0),
        Row("  fleet's own share of a core", "", (trial.fleet_cpu,)),
        Row("  callback p99", "ms", (trial.callback[1] * 1e3,)),
    ]
    return rows if trial.database_cpu else [rows[0], *rows[2:]]


def _tried(station: Station, least: float) -> list[Trial]:
    """Trials up to the first that is too much; where the first one is, down to one that is not."""
    made = [station.at(least)]
    upwards = made[0].keeps_up
    while made[-1].keeps_up is upwards and len(made) < MOST_STEPS:
        asked = made[-1].asked
        made.append(station.at(asked * STEP if upwards else asked / STEP))
    return made
