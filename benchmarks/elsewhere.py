"""Sensors that run as another user, through the program that stands beside the agent, next to those that run as itself."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from benchmarks.agent import Agent
from benchmarks.load import Sink
from benchmarks.rows import Row
from benchmarks.throughput import MULTI, SINGLE_8, Effort, shapes

USER = "nobody"


def rows(folder: Path, tiny: Path, sink: Sink, effort: Effort) -> list[Row]:
    """Rates as a part of those of an agent that runs its sensors itself, taken in turns. Only root can measure it."""
    if os.geteuid() != 0:
        return []
    ratios: dict[str, list[float]] = defaultdict(list)
    with (
        _opened(tiny) as program,
        Agent(folder / "itself", sink.url, tiny) as itself,
        Agent(folder / "other", sink.url, tiny, more=f"user = {USER}\ncommand = {program}\n") as other,
    ):
        for number in range(effort.rounds * 2):
            for name, shape in shapes(effort.run / 2).items():
                pair = [itself, other] if number % 2 else [other, itself]
                rate = {agent: sink.load(agent, shape).rate for agent in pair}
                ratios[name].append(rate[other] / rate[itself])
    return [
        Row(f"{name}, run as another user: of its own", "", tuple(ratios[name]), ">=", 0.95)
        for name in (MULTI, SINGLE_8)
    ]


@contextlib.contextmanager
def _opened(program: Path) -> Iterator[Path]:
    """A copy of a program that every user can reach."""
    with tempfile.TemporaryDirectory(prefix="monagent-benchmark-") as name:
        Path(name).chmod(0o755)
        yield Path(shutil.copy(program, name))
