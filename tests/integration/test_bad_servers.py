"""A server that has gone bad: whatever it answers, the agent goes on, stays small, and says what was wrong."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

import pytest

from tests.conftest import StartAgent
from tests.integration.served import ECHO, wait_until
from tests.support.agent import AgentProcess, digest_of, pack_sensor, unpack_sensor, write_sensor
from tests.support.bad_server import BAD, MIB, Counter
from tests.support.monitor import Monitor

TIMEOUT = 3.0
SLACK = 2.0
GROWTH = 32 * MIB
ONE = {"check": "#!/bin/sh\necho 1\n"}


class Watch:
    """Calls an agent all the time and remembers the longest wait for an answer."""

    def __init__(self, agent: AgentProcess) -> None:
        self.slowest = 0.0
        self._proxy = agent.proxy()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._thread.join(20)

    def _run(self) -> None:
        while True:
            started = time.monotonic()
            assert self._proxy.healthcheck() == "OK"
            self.slowest = max(self.slowest, time.monotonic() - started)
            if self._stopping.wait(0.02):
                return


@contextlib.contextmanager
def bounded(agent: AgentProcess, seconds: float) -> Iterator[None]:
    """What is done within must not take longer, nor cost much memory, nor keep the agent from answering."""
    before, started = agent.forget_peak(), time.monotonic()
    with Watch(agent) as watch:
        yield
    took, growth = time.monotonic() - started, agent.peak() - before

    assert took < seconds
    assert growth < GROWTH, f"{growth / MIB:.1f} MiB"
    assert 0 < watch.slowest < 1.0


def told(monitor: Monitor, ticket: str, *words: str) -> None:
    """The outcome of that ticket is an error whose one line says why."""
    outcome: dict[str, Any] = monitor.wait_for_ticket(ticket).content[1]
    assert outcome["status"] == "error"
    assert all(word in outcome["message"] for word in words), outcome["message"]
    assert "internal error" not in outcome["message"]
    assert outcome["message"].isprintable()
    assert len(outcome["message"]) < 1000


@pytest.fixture
def agent(monitor: Monitor, make_agent: StartAgent) -> AgentProcess:
    """An agent that waits three seconds for its server, with one sensor."""
    agent = make_agent(monitor.url)
    agent.edit("timeout = 5", f"timeout = {TIMEOUT:.0f}")
    unpack_sensor(agent.directory / "sensors" / "tale", ONE)
    agent.start()
    return agent


@pytest.mark.parametrize("bad", BAD)
def test_a_bad_answer_instead_of_a_package_installs_nothing(monitor: Monitor, agent: AgentProcess, bad: str) -> None:
    """The sensor stays as it is, and the outcome says what the server did."""
    before = digest_of(agent.directory / "sensors" / "tale")
    monitor.spoilt["cmd_get_sensor_code"] = BAD[bad].spoil
    with bounded(agent, TIMEOUT + SLACK):
        agent.proxy().cmd_update_sensor_code("t", "tale")
        told(monitor, "t", "tale was left as it is: ")

    assert digest_of(agent.directory / "sensors" / "tale") == before
    assert [path.name for path in (agent.directory / "sensors").iterdir()] == ["tale"]


@pytest.mark.parametrize("bad", BAD)
def test_a_bad_answer_on_the_way_to_a_new_server_moves_nobody(
    monitor: Monitor, plain_monitor: Monitor, agent: AgentProcess, bad: str
) -> None:
    """Neither the old server's answer where to go nor the new one's healthcheck is trusted; the file stays as it was."""
    before = agent.config.read_bytes()
    monitor.next_url = plain_monitor.url
    monitor.spoilt["cmd_get_new_monitor_url"] = plain_monitor.spoilt["healthcheck"] = BAD[bad].spoil
    with bounded(agent, TIMEOUT + SLACK):
        agent.proxy().cmd_update_config("where to")
        told(monitor, "where to", f"still with {monitor.url}: ")
    monitor.spoilt.clear()
    with bounded(agent, TIMEOUT + SLACK):
        agent.proxy().cmd_update_config("there")
        told(monitor, "there", f"still with {monitor.url}: ", plain_monitor.url)

    assert agent.config.read_bytes() == before
    assert set(plain_monitor.called) == {"healthcheck"}


@pytest.mark.parametrize("bad", BAD)
def test_a_bad_answer_to_a_result_loses_nothing(monitor: Monitor, agent: AgentProcess, bad: str) -> None:
    """The log says what was wrong; when the server is well again, the result arrives."""
    write_sensor(agent.directory, "echo", ECHO)
    monitor.spoilt["cmd_store_probe_data"] = BAD[bad].spoil
    with bounded(agent, TIMEOUT + SLACK):
        agent.proxy().cmd_submit_reading("t", "echo", [5])
        wait_until(lambda: _complaints(agent), "the log complains")
    monitor.spoilt.clear()

    assert monitor.wait_for_ticket("t", 10).content[:2] == [0, "5"]
    assert all(line.isprintable() and len(line) < 1000 for line in _complaints(agent))


def _complaints(agent: AgentProcess) -> list[str]:
    lines = agent.log.read_text().splitlines()
    return [line for line in lines if "server is away" in line or "result refused" in line]


@pytest.mark.parametrize("bad", list(BAD)[::5])
def test_a_bad_answer_about_what_it_speaks_loses_nothing(monitor: Monitor, agent: AgentProcess, bad: str) -> None:
    """Whichever dialect the agent then takes it for: the reading arrives, at the latest when the server is well again."""
    write_sensor(agent.directory, "echo", ECHO)
    monitor.spoilt["system.getCapabilities"] = BAD[bad].spoil
    with bounded(agent, TIMEOUT + SLACK):
        agent.proxy().cmd_submit_reading("t", "echo", [5])
        wait_until(lambda: monitor.handed or _complaints(agent), "the reading arrives, or the log complains")
    monitor.spoilt.clear()

    assert monitor.wait_for_ticket("t", 10).content[:2] == [0, "5"]


@pytest.mark.parametrize(
    "status", ["301 Moved", "302 Found", "303 See Other", "307 Temporary Redirect", "308 Permanent"]
)
@pytest.mark.parametrize(
    "method", ["cmd_get_sensor_code", "cmd_get_new_monitor_url", "healthcheck", "cmd_store_probe_data"]
)
def test_no_redirect_is_followed(
    monitor: Monitor, plain_monitor: Monitor, agent: AgentProcess, method: str, status: str
) -> None:
    """Nobody ever connects to where a redirect leads."""
    monitor.next_url = plain_monitor.url
    with Counter().listening() as counter:
        monitor.spoilt[method] = plain_monitor.spoilt[method] = counter.redirect(status)
        if method == "cmd_get_sensor_code":
            agent.proxy().cmd_update_sensor_code("t", "tale")
            told(monitor, "t", f"HTTP {status[:3]}")
        elif method == "cmd_store_probe_data":
            agent.proxy().cmd_submit_reading("t", "tale")
            wait_until(
                lambda: f"server is away: the server answered HTTP {status[:3]}" in agent.log.read_text(), "a word"
            )
        else:
            agent.proxy().cmd_update_config("t")
            told(monitor, "t", f"HTTP {status[:3]}")

    assert counter.count == 0


def test_a_hanging_server_does_not_hold_up_checks(monitor: Monitor, agent: AgentProcess) -> None:
    """While two updates and a move wait for answers that never come, readings are taken and delivered."""
    for method in ("cmd_get_sensor_code", "cmd_get_new_monitor_url"):
        monitor.spoilt[method] = BAD["no answer"].spoil
    write_sensor(agent.directory, "echo", ECHO)
    proxy = agent.proxy()
    started = time.monotonic()
    for ticket in ("u1", "u2"):
        proxy.cmd_update_sensor_code(ticket, "tale")
    proxy.cmd_update_config("move")
    for number in range(20):
        proxy.cmd_submit_reading(number, "echo", [number])
        monitor.wait_for_ticket(number, 1)
    assert time.monotonic() - started < TIMEOUT

    for ticket in ("u1", "u2", "move"):
        told(monitor, ticket, "timed out")


def test_an_answer_that_comes_just_in_time_is_taken(monitor: Monitor, agent: AgentProcess) -> None:
    """A server that is slow but honest is not a bad one."""
    monitor.packages["tale"] = pack_sensor("tale", {"check": "#!/bin/sh\necho 2\n"})
    honest = monitor._sensor_code

    def slow(sensor: str) -> Any:
        time.sleep(TIMEOUT - 1)
        return honest(sensor)

    monitor.stop()
    monitor._sensor_code = slow  # type: ignore[method-assign]
    monitor.start()
    agent.proxy().cmd_update_sensor_code("t", "tale")

    assert monitor.wait_for_ticket("t").content[1]["status"] == "ok"


def test_a_bad_server_for_hours_leaves_no_memory_and_no_connections_behind(
    monitor: Monitor, agent: AgentProcess
) -> None:
    """A hundred bad answers one after the other: the agent holds as many files as before, and no more memory."""
    quick = [bad for bad in BAD.values() if not bad.slow]
    names = iter(range(10_000))

    def ask(count: int) -> None:
        for number in range(count):
            ticket = f"t{next(names)}"
            monitor.spoilt["cmd_get_sensor_code"] = quick[number % len(quick)].spoil
            agent.proxy().cmd_update_sensor_code(ticket, "tale")
            told(monitor, ticket)

    opened = Path(f"/proc/{agent.pid}/fd")
    ask(len(quick))
    files, memory = len(list(opened.iterdir())), agent.forget_peak()
    ask(2 * len(quick))

    wait_until(lambda: len(list(opened.iterdir())) <= files + 2, "its files are closed")
    assert agent.peak() - memory < GROWTH
