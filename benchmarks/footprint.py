"""How soon an agent is there, and what it takes while nothing happens."""

from __future__ import annotations

import socket
import time
from pathlib import Path

from benchmarks.agent import Agent
from benchmarks.rows import Row

IDLE_SECONDS = 3.0


def memory(agent: Agent) -> Row:
    """Memory of an agent that has had nothing to do for a while."""
    time.sleep(IDLE_SECONDS)
    return Row("memory when idle (VmRSS)", "MB", (agent.memory() / 2**20,), "<=", 45.0)


def start(folder: Path, tiny: Path, runs: int) -> Row:
    """From starting the process to the acknowledgement of a first command. Nobody takes the results."""
    times = []
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))  # and never listens: a port where connections are refused
        url = f"http://127.0.0.1:{deaf.getsockname()[1]}/"
        for number in range(runs):
            with Agent(folder / f"start{number}", url, tiny) as agent:
                times.append(agent.start_seconds)
    return Row("start to first acknowledgement", "s", tuple(times), "<=", 0.5)
