"""What acknowledging costs when nothing is run: journal and endpoint alone.

The agent has one worker, and a sensor that sleeps has taken it: new tickets are checked, journaled and queued as
ever, and that is all. So is a ticket that is known already, but without a write. `healthcheck()` touches neither.
"""

from __future__ import annotations

import time

from benchmarks.agent import Agent
from benchmarks.load import Shape, Sink
from benchmarks.rows import Row

QUEUED = 9_000
"""Commands left waiting in all; the agent's queue takes 10,000."""
WORKERS = 1


def rows(sink: Sink, agent: Agent, runs: int, seconds: float) -> list[Row]:
    """Measure an agent of `WORKERS` workers, several times, for so many seconds each."""
    agent.submit("long", "long")
    time.sleep(0.3)  # the worker takes it
    share = QUEUED // (runs * 5)
    several = [sink.load(agent, _shape(8, seconds, share * 4)) for _ in range(runs)]
    alone = [sink.load(agent, _shape(1, seconds, share)) for _ in range(runs)]
    known = sink.load(agent, Shape(connections=8, seconds=seconds, kind="repeated", callbacks=False))
    health = sink.load(agent, Shape(connections=8, seconds=seconds, kind="healthcheck", callbacks=False))
    return [
        Row("acknowledged, 8 connections", "/s", tuple(run.rate for run in several), ">=", 2500),
        Row("  agent CPU a command", "µs", tuple(run.agent_cpu * 1e6 for run in several)),
        Row("  load generator's CPU a command", "µs", tuple(run.load_cpu * 1e6 for run in several)),
        Row("acknowledged, one client: p50", "ms", tuple(run.acknowledged[0] * 1e3 for run in alone), "<", 1.0),
        Row("  p99", "ms", tuple(run.acknowledged[1] * 1e3 for run in alone)),
        Row("known tickets, 8 connections", "/s", (known.rate,)),
        Row("healthcheck, 8 connections", "/s", (health.rate,)),
    ]


def _shape(connections: int, seconds: float, most: int) -> Shape:
    return Shape(connections=connections, seconds=seconds, most=most, callbacks=False)
