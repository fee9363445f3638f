"""How soon an agent is there, and what it takes while nothing happens."""

from __future__ import annotations

import shutil
import socket
import time
import urllib.request
from pathlib import Path

from benchmarks.agent import Agent
from benchmarks.load import Sink
from benchmarks.rows import Row

IDLE_SECONDS = 3.0
WATCHED_SECONDS = 10.0
SENSORS = 500
SCRAPES = 9


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


def idle(agent: Agent) -> Row:
    """Processor time of the agent and of what stands beside it, as a share of one core."""
    time.sleep(IDLE_SECONDS)
    before = agent.cpu_of_all()
    time.sleep(WATCHED_SECONDS)
    return Row(
        "idle, with all its processes",
        "% of a core",
        ((agent.cpu_of_all() - before) / WATCHED_SECONDS * 100,),
        "<=",
        0.2,
    )


def scrape(folder: Path, tiny: Path, sink: Sink) -> Row:
    """/metrics of an agent that has run many sensors; the first one, which loads the library, is not counted."""
    with Agent(folder, sink.url, tiny) as agent:
        for number in range(SENSORS):
            directory = folder / "sensors" / f"s{number}"
            directory.mkdir()
            shutil.copy(tiny, directory / "check")
            agent.submit(f"scrape-{number}", directory.name)
        url = f"http://127.0.0.1:{agent.port}/metrics"
        until = time.monotonic() + IDLE_SECONDS * 10
        while _scraped(url)[1].count(b"monagent_run_seconds_total{") < SENSORS and time.monotonic() < until:
            time.sleep(0.1)
        times = [_scraped(url)[0] * 1000 for _ in range(SCRAPES)]
    return Row(f"/metrics of {SENSORS} sensors", "ms", tuple(times), "<", 20.0)


def _scraped(url: str) -> tuple[float, bytes]:
    started = time.perf_counter()
    with urllib.request.urlopen(url, timeout=10) as answer:
        text = answer.read()
    return time.perf_counter() - started, text
