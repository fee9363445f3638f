"""What can be read at a real agent's port, and by whom."""

from __future__ import annotations

import http.client
import socket
import time
import xmlrpc.client
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.support.agent import AgentProcess, write_sensor
from tests.support.monitor import Monitor

PATHS = ("/", "/metrics", "/healthz", "/readyz")


@pytest.fixture
def agent(tmp_path: Path, monitor: Monitor) -> Iterator[AgentProcess]:
    """An agent that is up."""
    one = AgentProcess(tmp_path / "agent", monitor.url)
    write_sensor(one.directory, "echo", "#!/bin/sh\necho $1\n")
    write_sensor(one.directory, "broken", "#!/bin/sh\nexit 3\n")
    one.start()
    yield one
    one.kill()


def get(
    agent: AgentProcess, path: str, verb: str = "GET", address: str = "127.0.0.1", body: bytes | None = None
) -> tuple[int, dict[str, str], str]:
    """Status, headers and body."""
    connection = http.client.HTTPConnection(address, agent.port, timeout=10)
    try:
        connection.request(verb, path, body)
        answer = connection.getresponse()
        return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read().decode()
    finally:
        connection.close()


def samples(agent: AgentProcess) -> dict[tuple[str, ...], float]:
    """All metrics by name and label values."""
    _, headers, text = get(agent, "/metrics")
    assert headers["content-type"].startswith("text/plain")
    return {
        (sample.name, *(sample.labels[label] for label in sorted(sample.labels, reverse=True))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_what_the_agent_did_is_in_its_metrics(agent: AgentProcess, monitor: Monitor) -> None:
    """Runs, calls, deliveries, refusals."""
    proxy = agent.proxy()
    for number in range(5):
        proxy.cmd_submit_reading(f"a{number}", "echo", [str(number)])
    proxy.cmd_submit_reading("b", "broken")
    proxy.cmd_status("c")
    with pytest.raises(xmlrpc.client.Fault):
        proxy.cmd_submit_reading("d", "no-such-sensor")
    monitor.wait_for(7)
    assert "command done ticket=c command=cmd_status status=ok" in agent.log.read_text()
    get(agent, "/nowhere")
    time.sleep(0.3)
    found = samples(agent)

    assert found["monagent_runs_total", "echo", "ok"] == 5
    assert found["monagent_runs_total", "broken", "exit"] == 1
    assert found["monagent_other_commands_total", "ok", "cmd_status"] == 1
    assert found["monagent_run_duration_seconds_bucket", "+Inf"] == 6
    assert found["monagent_calls_total", "accepted"] == 7
    assert found["monagent_calls_total", "-32602"] == 1
    assert found["monagent_requests_refused_total", "404"] == 1
    assert found[("monagent_deliveries_total",)] == 7
    assert found[("monagent_server_up",)] == 1
    assert found[("monagent_oldest_undelivered_seconds",)] == 0


def test_a_server_that_is_away_is_seen(agent: AgentProcess, monitor: Monitor) -> None:
    """In the metrics and on the page; commands are still taken, so the agent is ready."""
    monitor.stop()
    agent.proxy().cmd_submit_reading("a", "echo", ["1"])
    time.sleep(1.5)
    found = samples(agent)

    assert found[("monagent_server_up",)] == 0
    assert found[("monagent_oldest_undelivered_seconds",)] > 0.5
    assert "the server has been away" in get(agent, "/")[2]
    assert [get(agent, path)[0] for path in ("/healthz", "/readyz")] == [200, 200]


def test_the_page_shows_checks_and_refusals(agent: AgentProcess, monitor: Monitor) -> None:
    """With a line for the newest readings."""
    for number in range(3):
        agent.proxy().cmd_submit_reading(f"a{number}", "echo", [7])
    with pytest.raises(xmlrpc.client.Fault):
        agent.proxy().cmd_submit_reading("d", "<b>no-such-sensor</b>")
    monitor.wait_for(3)
    status, headers, text = get(agent, "/")

    assert status == 200
    assert "default-src 'none'" in headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff"
    assert "server" not in headers
    assert "echo 7" in text
    assert "3 readings from 7 to 7" in text
    assert "-32602" in text
    assert "<b>" not in text


def test_the_page_names_who_was_not_let_in(tmp_path: Path, monitor: Monitor) -> None:
    """So does the log."""
    agent = AgentProcess(tmp_path / "narrow", monitor.url, extra="[security]\nallow = 127.0.0.1")
    agent.start()
    try:
        with socket.create_connection(("127.0.0.1", agent.port), 10, ("127.0.0.2", 0)) as stranger:
            stranger.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            assert b"403" in stranger.recv(1000)
        assert "127.0.0.2" in get(agent, "/")[2]
    finally:
        agent.kill()

    assert "caller refused peer=127.0.0.2: not in [security] allow" in agent.log.read_text()


def test_an_agent_that_ends_is_not_ready(agent: AgentProcess) -> None:
    """While it lets work finish."""
    write_sensor(agent.directory, "slow", "#!/bin/sh\nsleep 2\necho 1\n")
    agent.proxy().cmd_submit_reading("a", "slow")
    time.sleep(0.3)
    agent.signal(15)
    time.sleep(0.3)

    assert get(agent, "/readyz")[0] == 503
    assert "ending" in get(agent, "/readyz")[2]
    assert get(agent, "/healthz")[0] == 200
    assert agent.wait() == 0


@pytest.mark.parametrize("path", PATHS)
def test_pages_can_only_be_read(agent: AgentProcess, path: str) -> None:
    """Other verbs are refused, a body is not taken, HEAD is GET without one."""
    assert get(agent, path, "POST")[0] == 405
    assert get(agent, path, "DELETE")[0] == 405
    assert get(agent, path, "GET", body=b"x")[0] == 413
    status, headers, text = get(agent, path, "HEAD")
    assert (status, text) == (200, "")
    assert int(headers["content-length"]) > 0


@pytest.mark.parametrize("path", PATHS)
def test_whoever_may_not_command_reads_nothing(tmp_path: Path, monitor: Monitor, path: str) -> None:
    """403, as for every other request."""
    agent = AgentProcess(tmp_path / "closed", monitor.url, extra="[security]\nallow = 127.0.0.9")
    agent.start()
    try:
        status, _, text = get(agent, path)
    finally:
        agent.kill()

    assert (status, text) == (403, "Forbidden\n")


def test_a_scrape_names_five_hundred_sensors(agent: AgentProcess, monitor: Monitor) -> None:
    """Each with its own counters."""
    proxy = agent.proxy()
    for number in range(500):
        write_sensor(agent.directory, f"s{number}", "#!/bin/sh\necho 1\n")
        proxy.cmd_submit_reading(f"t{number}", f"s{number}")
    monitor.wait_for(500)
    found = samples(agent)

    assert sum(1 for key in found if key[0] == "monagent_runs_total") == 500
