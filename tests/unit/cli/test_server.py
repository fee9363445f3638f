"""`monserver`: hosts, checks and commands, with a real server and a real agent behind them."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.agent import AgentProcess, write_sensor
from tests.support.ports import free_port
from tests.unit.cli.program import monserver, running


@pytest.fixture
def server_config(tmp_path: Path) -> Path:
    """A server.cfg with its database in the same directory."""
    path = tmp_path / "server.cfg"
    path.write_text(f"[server]\nport = {free_port()}\n")
    return path


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The configuration of a running server that knows a running agent as `web1`, and `away`."""
    directory = tmp_path_factory.mktemp("fleet")
    config, port = directory / "server.cfg", free_port()
    config.write_text(f"[server]\nport = {port}\n")
    agent = AgentProcess(directory / "agent", f"http://127.0.0.1:{port}/xmlrpc/")
    write_sensor(agent.directory, "echo", '#!/bin/sh\n[ "$2" ] && echo "$2" >&2\necho "$1"\nexit "${3:-0}"\n')
    with running("monserver", "run", "-c", config, log=directory / "server.log"):
        try:
            agent.start()
            until = time.monotonic() + 30
            while not (directory / "server.log").read_text() and time.monotonic() < until:
                time.sleep(0.02)
            for name, where in (("web1", agent.port), ("away", free_port())):
                done = monserver("host", "add", name, "127.0.0.1", "--port", str(where), "-c", config)
                assert done.returncode == 0, done.stderr
            yield config
        finally:
            agent.kill()


# -- hosts --------------------------------------------------------------------------------------------------------


def test_hosts_are_added_listed_shown_and_removed(server_config: Path) -> None:
    """Data on stdout, for programs as JSON."""
    add = monserver("host", "add", "web1", "192.0.2.1", "--from", "10.0.0.0/8", "--from", "::1", "-c", server_config)
    monserver("host", "add", "b", "host.example.org", "--port", "9", "-c", server_config)
    listed, shown = (
        monserver("host", "list", "-c", server_config),
        monserver("host", "show", "web1", "-c", server_config),
    )
    web1 = {"name": "web1", "address": "192.0.2.1", "port": 8080, "sources": ["10.0.0.0/8", "::1"]}

    assert (add.returncode, add.stdout, add.stderr) == (0, "", "added web1, 192.0.2.1 port 8080\n")
    assert listed.stdout == "b     host.example.org:9\nweb1  192.0.2.1:8080  10.0.0.0/8 ::1\n"
    assert json.loads(monserver("host", "list", "--json", "-c", server_config).stdout)[1] == web1
    assert "address  192.0.2.1\n" in shown.stdout
    assert json.loads(monserver("host", "show", "web1", "--json", "-c", server_config).stdout) == web1
    assert monserver("host", "remove", "web1", "-c", server_config).returncode == 0
    assert monserver("host", "list", "-c", server_config).stdout == "b  host.example.org:9\n"


def test_a_host_that_is_there_twice_or_not_at_all_is_a_negative_answer(server_config: Path) -> None:
    """1, by its name."""
    monserver("host", "add", "web1", "192.0.2.1", "-c", server_config)
    again = monserver("host", "add", "web1", "192.0.2.2", "-c", server_config)

    assert (again.returncode, again.stderr) == (1, "monserver: there is a host 'web1' already\n")
    for command in (["host", "show"], ["host", "remove"]):
        done = monserver(*command, "web2", "-c", server_config)
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr == "monserver: there is no host 'web2'; monserver host list names them all\n"
    for command in (["check", "web2", "disk"], ["send", "web2", "status"]):
        assert monserver(*command, "-c", server_config).returncode == 1


def test_an_empty_list_is_empty(server_config: Path) -> None:
    """For people and for programs; where there is no database at all, that is told instead."""
    nothing = monserver("host", "list", "-c", server_config)
    assert (nothing.returncode, nothing.stdout) == (74, "")
    assert "there is no database" in nothing.stderr
    monserver("host", "add", "web1", "192.0.2.1", "-c", server_config)
    monserver("host", "remove", "web1", "-c", server_config)
    assert monserver("host", "list", "-c", server_config).stdout == ""
    assert json.loads(monserver("host", "list", "--json", "-c", server_config).stdout) == []


def test_the_file_may_be_missing_and_is_found_by_the_environment(tmp_path: Path, server_config: Path) -> None:
    """Without a file there are the defaults; the database lies in the directory."""
    assert monserver("host", "add", "here", "192.0.2.1", cwd=tmp_path).returncode == 0
    assert (tmp_path / "monitor.db").exists()
    assert monserver("host", "list", MONSERVER_CONFIG=str(server_config)).stdout.startswith("here ")


@pytest.mark.parametrize(
    ("url", "code"),
    [
        ("sqlite:////no/such/directory/monitor.db", 74),
        ("sqlite:///garbage.db", 74),
        ("nonsense://localhost/db", 78),
    ],
)
@pytest.mark.parametrize("command", [["host", "list"], ["run"]])
def test_a_database_that_cannot_be_used_is_told(tmp_path: Path, command: list[str], url: str, code: int) -> None:
    """By one sentence and an exit code, not by a traceback."""
    (tmp_path / "garbage.db").write_bytes(b"garbage" * 1000)
    config = tmp_path / "server.cfg"
    config.write_text(f"[server]\nport = 0\n[database]\nurl = {url}\n")
    done = monserver(*command, "-c", config)

    assert "Traceback" not in done.stderr
    assert done.returncode == code
    assert done.stderr.startswith("monserver: ")


# -- checks and commands ------------------------------------------------------------------------------------------


def test_a_check_prints_its_reading(fleet: Path) -> None:
    """The number on stdout, the complaints on stderr."""
    done = monserver("check", "web1", "echo", "2.50", "grumble", "-c", fleet)

    assert (done.returncode, done.stdout, done.stderr) == (0, "2.50\n", "grumble\n")


def test_a_check_can_be_had_as_json(fleet: Path) -> None:
    """With ticket, host, sensor, arguments and time."""
    done = monserver("check", "web1", "echo", "5", "--json", "-c", fleet)
    reading = json.loads(done.stdout)

    assert done.returncode == 0
    assert (reading["host"], reading["sensor"], reading["arguments"]) == ("web1", "echo", ["5"])
    assert (reading["ret_code"], reading["data"], reading["error"]) == (0, "5", "")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", reading["finished"])


def test_a_reading_that_cannot_be_trusted_is_a_negative_answer(fleet: Path) -> None:
    """1, and stderr says how it ended."""
    done = monserver("check", "web1", "echo", "text", "", "3", "-c", fleet)

    assert (done.returncode, done.stdout, done.stderr) == (1, "nan\n", "(ended with 3, not-a-number)\n")


def test_a_refused_command_is_a_negative_answer(fleet: Path) -> None:
    """1, in the agent's words."""
    done = monserver("check", "web1", "no-such-sensor", "-c", fleet)

    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "monserver: the agent of web1 refused: no such sensor here; cmd_list_sensors names them all\n"


@pytest.mark.parametrize("command", [["check", "away", "echo"], ["send", "away", "status"]])
def test_an_agent_that_is_away_is_told(fleet: Path, command: list[str]) -> None:
    """69."""
    done = monserver(*command, "-c", fleet)

    assert (done.returncode, done.stdout) == (69, "")
    assert "connection refused" in done.stderr


def test_a_result_that_does_not_come_in_time_is_told(fleet: Path) -> None:
    """75, with the ticket."""
    write_sensor(fleet.parent / "agent", "slow", "#!/bin/sh\nsleep 5\necho 1\n")
    done = monserver("check", "web1", "slow", "--wait", "0.3", "-c", fleet)

    assert (done.returncode, done.stdout) == (75, "")
    assert re.match(r"monserver: the agent took ticket \S{32}, but no result came", done.stderr)


def test_commands_print_their_outcome(fleet: Path) -> None:
    """As JSON."""
    status, sensors = (
        monserver("send", "web1", "status", "-c", fleet),
        monserver("send", "web1", "list-sensors", "-c", fleet),
    )

    assert (status.returncode, sensors.returncode) == (0, 0)
    assert json.loads(status.stdout)["version"]
    assert "echo" in json.loads(sensors.stdout)["sensors"]
