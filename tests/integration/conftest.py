"""An agent with its server that the tests of one module share; each test uses tickets of its own."""

from __future__ import annotations

import contextlib
import os
import pwd
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import monagent
from tests.integration.served import ECHO, Served
from tests.support.agent import AgentProcess, write_sensor
from tests.support.monitor import Monitor


@pytest.fixture(scope="module", params=["plain", "extended"])
def served(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """An agent that hands in to a server of the original dialect, then one of the extended dialect."""
    yield from _serve(tmp_path_factory, extended=request.param == "extended")


@pytest.fixture(scope="module")
def extended(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """An agent that hands in to a server of the extended dialect."""
    yield from _serve(tmp_path_factory, extended=True)


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """An agent that hands in to a server of the original dialect."""
    yield from _serve(tmp_path_factory, extended=False)


def _serve(tmp_path_factory: pytest.TempPathFactory, *, extended: bool) -> Iterator[Served]:
    monitor = Monitor(extended=extended)
    monitor.start()
    agent = AgentProcess(tmp_path_factory.mktemp("agent"), monitor.url)
    write_sensor(agent.directory, "echo", ECHO)
    try:
        agent.start()
        yield Served(agent, monitor)
    finally:
        agent.kill()
        monitor.stop()


@pytest.fixture
def readable_python(monkeypatch: pytest.MonkeyPatch) -> None:
    """Agents are started with a Python that `nobody` can read: ours, or the system's with our packages."""
    packages = sorted({str(Path(module.__file__ or "").parent.parent) for module in (pytest, monagent)})
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(packages))
    for python in (sys.executable, "/usr/bin/python3"):
        with contextlib.suppress(OSError):
            done = subprocess.run(
                [python, "-c", "import encodings.idna, monagent.agent.service"],
                user="nobody",
                group=pwd.getpwnam("nobody").pw_gid,
                cwd="/",
                capture_output=True,
            )
            if done.returncode == 0:
                monkeypatch.setattr(sys, "executable", python)
                return
    pytest.skip("nobody cannot read any Python that this is installed for")
