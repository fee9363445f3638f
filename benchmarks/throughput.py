"""Checks a second and what each costs, next to what the machine can do at the same moment."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks.agent import Agent
from benchmarks.load import Figures, Shape, Sink
from benchmarks.programs import spawn_rate
from benchmarks.rows import Row

THREADS = (2, 4)
"""Of the spawn loop; the better one is the machine's limit."""
STEADY = 1.15
"""How far the fastest and the slowest spawn loop may lie apart on a machine that nobody else is using."""


@dataclass(frozen=True)
class Effort:
    """How long to measure: rounds, and seconds of one agent run and of one spawn loop."""

    rounds: int
    run: float
    loop: float


MULTI, SINGLE_4, SINGLE_8 = "multicalls of 100", "single, 4 connections", "single, 8 connections"
LIMITS = {MULTI: (0.60, 350.0), SINGLE_4: (0.38, 800.0), SINGLE_8: (0.38, 800.0)}
"""At least this part of the spawn limit, at most these µs of agent CPU a check."""


def shapes(seconds: float) -> dict[str, Shape]:
    """The loads that are measured, by the names of their rows."""
    return {
        MULTI: Shape(connections=2, per_call=100, window=1500, seconds=seconds),
        SINGLE_4: Shape(connections=4, seconds=seconds),
        SINGLE_8: Shape(connections=8, seconds=seconds),
    }


class Throughput:
    """Loop, load, loop, load, …: each load is compared with the mean of the loops beside it, so that drift cancels."""

    def __init__(self, programs: dict[str, Path], sink: Sink, effort: Effort) -> None:
        self._programs = programs
        self._sink = sink
        self._effort = effort
        self.loops: dict[int, list[float]] = defaultdict(list)
        self.figures: dict[str, list[Figures]] = defaultdict(list)
        self.ratios: dict[str, list[float]] = defaultdict(list)

    def measure(self, agent: Agent, say: Callable[[str], None]) -> list[Row]:
        """Warm the agent up, then go round. `say` gets what is under way."""
        for shape in shapes(self._effort.run / 3).values():
            self._sink.load(agent, shape)
        before = self._loop()
        for number in range(1, self._effort.rounds + 1):
            for name, shape in shapes(self._effort.run).items():
                say(f"{name}, round {number} of {self._effort.rounds}")
                figures = self._sink.load(agent, shape)
                after = self._loop()
                self.figures[name].append(figures)
                self.ratios[name].append(figures.rate / ((before + after) / 2))
                before = after
        return self._rows()

    def _loop(self) -> float:
        """Checks a second that the machine can do now."""
        for threads in THREADS:
            self.loops[threads].append(spawn_rate(self._programs, threads, self._effort.loop))
        return max(rates[-1] for rates in self.loops.values())

    def _rows(self) -> list[Row]:
        steady = all(max(rates) / min(rates) <= STEADY for rates in self.loops.values())
        note = "" if steady else "UNSTEADY: others use this machine; do not trust the ratios"
        rows = [
            Row(f"spawn loop, {threads} threads", "/s", tuple(rates), note=note)
            for threads, rates in self.loops.items()
        ]
        for name, (part, cpu) in LIMITS.items():
            runs = self.figures[name]
            rows += [
                Row(name, "/s", tuple(run.rate for run in runs)),
                Row("  of the spawn limit", "", tuple(self.ratios[name]), ">=", part),
                Row("  agent CPU a check", "µs", tuple(run.agent_cpu * 1e6 for run in runs), "<=", cpu),
                Row("  load generator's CPU a check", "µs", tuple(run.load_cpu * 1e6 for run in runs)),
            ]
        return rows


def latency(sink: Sink, agent: Agent, effort: Effort) -> list[Row]:
    """Command to callback with one command under way at a time."""
    runs = [sink.load(agent, Shape(connections=1, window=1, seconds=effort.run)) for _ in range(effort.rounds)]
    return [
        Row("one command at a time: callback p50", "ms", tuple(run.delivered[0] * 1e3 for run in runs), "<", 6.0),
        Row("  p99", "ms", tuple(run.delivered[1] * 1e3 for run in runs)),
        Row("  agent CPU a check", "µs", tuple(run.agent_cpu * 1e6 for run in runs)),
    ]


def logging_on(sink: Sink, agent: Agent, seconds: float) -> list[Row]:
    """Single commands with an agent that logs every check, as by default."""
    figures = sink.load(agent, shapes(seconds)[SINGLE_8])
    return [
        Row(f"{SINGLE_8}, default logging", "/s", (figures.rate,)),
        Row("  agent CPU a check", "µs", (figures.agent_cpu * 1e6,)),
    ]
