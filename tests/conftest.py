"""Fixtures of the tests that run real agents against real servers."""

from __future__ import annotations

import os
import tracemalloc  # noqa: F401 - pytest imports it when it tells of what was not closed; two threads must not do so at once
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from tests.support.agent import AgentProcess
from tests.support.monitor import Monitor

# A busy machine is no reason to fail; what takes too long for good runs into the tests' own time-out.
settings.register_profile("monagent", deadline=None)
settings.load_profile("monagent")

StartAgent = Callable[..., AgentProcess]


@pytest.fixture
def plain_monitor() -> Iterator[Monitor]:
    """A server of the original dialect."""
    monitor = Monitor(extended=False)
    monitor.start()
    yield monitor
    monitor.stop()


@pytest.fixture
def monitor() -> Iterator[Monitor]:
    """A server of the extended dialect."""
    monitor = Monitor(extended=True)
    monitor.start()
    yield monitor
    monitor.stop()


@pytest.fixture
def make_agent(tmp_path: Path) -> Iterator[StartAgent]:
    """Makes agents that are killed at the end; each gets a directory of its own."""
    made: list[AgentProcess] = []

    def make(server_url: str, extra: str = "") -> AgentProcess:
        agent = AgentProcess(tmp_path / f"agent{len(made)}", server_url, extra)
        made.append(agent)
        return agent

    yield make
    for agent in made:
        agent.kill()


@pytest.fixture
def own_umask() -> Iterator[None]:
    """For tests that run a sync in their own process: it sets one, as the process of its own that it is elsewhere."""
    former = os.umask(0o022)
    yield
    os.umask(former)
