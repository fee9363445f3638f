"""Server and agent behind TLS, each with a certificate that the other one asks for; and behind a balancer."""

from __future__ import annotations

import http.client
import socket
import ssl
import subprocess
import sys
import xmlrpc.client
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest

from monagent.errors import StoreError
from monagent.server.service import Server
from tests.conftest import StartAgent
from tests.support.agent import write_sensor
from tests.support.authority import Authority
from tests.support.fake_agent import FakeAgent
from tests.support.server import define, issue, known_host, reading, server_in, wait_until


@contextmanager
def running(server: Server) -> Iterator[Server]:
    """Until the end of the block."""
    server.start()
    try:
        yield server
    finally:
        server.stop()


def listens(port: int) -> bool:
    """Whether somebody is there."""
    with socket.socket() as sock:
        return sock.connect_ex(("127.0.0.1", port)) == 0


def monserver(directory: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The command line, on the server of that directory."""
    command = [sys.executable, "-m", "monagent.cli.server", *arguments, "-c", str(directory / "server.cfg")]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_checks_and_results_travel_in_tls_both_ways(tmp_path: Path, make_agent: StartAgent) -> None:
    """With certificates on both sides; a caller without one gets nowhere."""
    authority = Authority(tmp_path)
    ours, theirs = authority.issue("127.0.0.1"), authority.issue("127.0.0.1")
    own = f"certificate = {ours.certificate}\nkey = {ours.key}\n"
    agents = f"[agents]\nca = {authority.file}\n{own}"
    server = server_in(tmp_path, agents)
    config = (
        (tmp_path / "server.cfg").read_text().replace("[server]\n", f"[server]\n{own}client_ca = {authority.file}\n")
    )
    port = config.split("port = ")[1].split()[0]
    server = server_from(tmp_path, config)
    known = f"certificate = {theirs.certificate}\nkey = {theirs.key}\n"
    agent = make_agent(
        f"https://127.0.0.1:{port}/xmlrpc/",
        f"[security]\n{known}client_ca = {authority.file}\npeers = 127.0.0.1\n",
    )
    client = agent.directory / "client.cfg"
    client.write_text(client.read_text().replace("[monitor]\n", f"[monitor]\nca = {authority.file}\n{known}"))
    write_sensor(agent.directory, "echo", '#!/bin/sh\necho "$1"\n')
    with running(server):
        agent.launch()
        wait_until(lambda: listens(agent.port), "the agent is up")
        define(server.database, {("host", "web1"): {"address": "127.0.0.1", "port": agent.port, "tls": True}})
        done = monserver(tmp_path, "check", "web1", "echo", "2.5")
        stranger = xmlrpc.client.ServerProxy(
            f"https://127.0.0.1:{port}/xmlrpc/", context=ssl.create_default_context(cafile=str(authority.file))
        )

        assert (done.returncode, done.stdout) == (0, "2.5\n"), done.stderr
        with pytest.raises((ssl.SSLError, OSError, http.client.HTTPException)):
            stranger.healthcheck()


def server_from(directory: Path, config: str) -> Server:
    """A server with this configuration, not started."""
    from monagent.config import server_settings  # noqa: PLC0415

    (directory / "server.cfg").write_text(config)
    return Server(server_settings.load(directory / "server.cfg"))


def test_an_agent_whose_certificate_is_a_strangers_gets_no_command(tmp_path: Path) -> None:
    """The ticket says why."""
    agent = FakeAgent()  # speaks no TLS at all
    with running(server_in(tmp_path)) as server:
        define(server.database, {("host", "web1"): {"address": "127.0.0.1", "port": agent.port, "tls": True}})
        done = monserver(tmp_path, "check", "web1", "echo")
        agent.stop()

        assert done.returncode == 69
        assert "TLS" in done.stderr


def test_behind_a_balancer_the_address_that_it_tells_counts(tmp_path: Path) -> None:
    """From nobody else it is believed."""
    when = xmlrpc.client.DateTime(datetime.now(UTC))
    for extra, believed in (("proxies = 127.0.0.1\n", True), ("", False)):
        directory = tmp_path / str(believed)
        directory.mkdir()
        server = server_in(directory)
        server = server_from(
            directory, (directory / "server.cfg").read_text().replace("[server]\n", f"[server]\n{extra}")
        )
        with running(server):
            issue(server.database, known_host(server.database, "far", "198.51.100.7"), "t")
            port = int(server.url.split(":")[2].split("/")[0])
            body = xmlrpc.client.dumps(("t", [0, "1"], when), "cmd_store_probe_data")
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
            headers = {"Content-Type": "text/xml", "X-Forwarded-For": "203.0.113.5, 198.51.100.7"}
            connection.request("POST", "/xmlrpc/", body, headers)
            answer = connection.getresponse().read()
            connection.close()

            assert (b"OK" in answer) == believed
            assert (reading(server.database, "t") is not None) == believed


def test_a_database_that_is_none_ends_the_server(tmp_path: Path) -> None:
    """It is not waited for: nobody would put another one there."""
    (tmp_path / "monitor.db").write_bytes(b"garbage" * 1000)
    with pytest.raises(StoreError):
        server_in(tmp_path).start()


def test_a_scheduled_probe_of_a_real_agent_brings_its_readings(tmp_path: Path, make_agent: StartAgent) -> None:
    """From the definition to the state, by itself."""
    with running(server_in(tmp_path)) as server:
        agent = make_agent(server.url)
        write_sensor(agent.directory, "echo", '#!/bin/sh\necho "$1"\n')
        agent.start()
        define(
            server.database,
            {
                ("host", "web1"): {"address": "127.0.0.1", "port": agent.port},
                ("sensor", "echo"): {},
                ("schedule", "often"): {"every": "1s"},
                ("probe", "nine"): {
                    "sensor": "echo",
                    "arguments": ["9"],
                    "critical": "5",
                    "schedule": "often",
                    "hosts": ["web1"],
                },
            },
        )
        wait_until(lambda: "critical" in monserver(tmp_path, "incident", "list").stdout, "an incident")
        listed = monserver(tmp_path, "ticket", "list", "--state", "done", "--json")

        assert listed.returncode == 0
        assert '"state": "done"' in listed.stdout
