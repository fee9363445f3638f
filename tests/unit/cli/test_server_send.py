"""`monserver send`: with a real server, and an agent that answers what the test wants."""

from __future__ import annotations

import json
import re
import threading
import time
import xmlrpc.client
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from socketserver import ThreadingMixIn
from typing import Any
from xmlrpc.server import SimpleXMLRPCRequestHandler, SimpleXMLRPCServer

import pytest

from monagent.cli import server_send
from tests.support.ports import free_port
from tests.unit.cli.program import Done, monserver, running

FORMS = {
    "list-sensors": ("cmd_list_sensors", []),
    "status": ("cmd_status", []),
    "update-config": ("cmd_update_config", []),
    "update-sensor": ("cmd_update_sensor_code", ["disk"]),
    "restore-sensor": ("cmd_restore_sensor_code", ["disk"]),
}


class _Handler(SimpleXMLRPCRequestHandler):
    rpc_paths = ("/xmlrpc/",)


class _Server(ThreadingMixIn, SimpleXMLRPCServer):
    daemon_threads = True


class Agent:
    """Takes every command, and hands in `outcome`; an update fetches the package first."""

    def __init__(self, server_url: str) -> None:
        self.port = free_port()
        self.outcome: dict[str, Any] | None = None
        self.taken: list[tuple[str, list[Any]]] = []
        self.package: bytes | None = None
        self._server_url = server_url
        self._server = _Server(("127.0.0.1", self.port), _Handler, logRequests=False)
        self._server.register_instance(self)
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def stop(self) -> None:
        """Go away."""
        self._server.shutdown()
        self._server.server_close()

    def _dispatch(self, method: str, params: tuple[Any, ...]) -> str:
        ticket, *arguments = params
        self.taken.append((method, arguments))
        if self.outcome is not None:
            threading.Thread(target=self._hand_in, args=(ticket, method, arguments), daemon=True).start()
        return "OK"

    def _hand_in(self, ticket: str, method: str, arguments: list[Any]) -> None:
        with xmlrpc.client.ServerProxy(self._server_url) as server:
            if method == "cmd_update_sensor_code" and self.package is None:
                try:
                    self.package = server.cmd_get_sensor_code(*arguments).data  # type: ignore[union-attr]
                except xmlrpc.client.Fault as fault:
                    self.outcome = {"status": "error", "message": fault.faultString}
            when = xmlrpc.client.DateTime(datetime.now(UTC))
            server.cmd_store_command_result(ticket, method.removeprefix("cmd_"), self.outcome, when)


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The configuration of a running server."""
    directory = tmp_path_factory.mktemp("server")
    config, log = directory / "server.cfg", directory / "server.log"
    config.write_text(f"[server]\nport = {free_port()}\n")
    with running("monserver", "run", "-c", config, log=log):
        until = time.monotonic() + 30
        while not log.read_text() and time.monotonic() < until:
            time.sleep(0.02)
        yield config


@pytest.fixture
def agent(config: Path) -> Iterator[Agent]:
    """A new agent, which the server knows as `web1`."""
    agent = Agent(f"http://127.0.0.1:{config.read_text().split()[-1]}/xmlrpc/")
    monserver("host", "remove", "web1", "-c", config)
    done = monserver("host", "add", "web1", "127.0.0.1", "--port", str(agent.port), "-c", config)
    assert done.returncode == 0, done.stderr
    yield agent
    agent.stop()


def send(config: Path, *words: str) -> Done:
    """Run `monserver send web1 …`."""
    return monserver("send", "web1", *words, "-c", config)


@pytest.mark.parametrize("command", FORMS)
def test_a_command_is_sent_and_its_outcome_is_printed(config: Path, agent: Agent, command: str) -> None:
    """JSON on stdout, the message on stderr."""
    method, arguments = FORMS[command]
    agent.outcome, agent.package = {"status": "ok", "message": "done it", "more": [1, "ä"]}, b"not asked for again"
    done = send(config, command, *arguments)

    assert json.loads(done.stdout) == agent.outcome
    assert (done.returncode, done.stderr.splitlines()[-1]) == (0, "done it")
    assert agent.taken == [(method, arguments)]


def test_an_outcome_that_is_not_ok_is_a_negative_answer(config: Path, agent: Agent) -> None:
    """1, with the same outputs."""
    agent.outcome = {"status": "error", "message": "there is no backup of disk"}
    done = send(config, "restore-sensor", "disk")

    assert json.loads(done.stdout) == agent.outcome
    assert (done.returncode, done.stderr) == (1, "there is no backup of disk\n")


def test_an_update_fetches_the_package_from_here(config: Path, agent: Agent) -> None:
    """From `[sensor] source_dir`, relative to server.cfg; nothing is warned of."""
    (config.parent / "packages").mkdir()
    (config.parent / "packages" / "fetched.tar.gz").write_bytes(b"\0\xff package")
    agent.outcome = {"status": "ok", "message": "installed"}
    done = send(config, "update-sensor", "fetched")

    assert (done.returncode, done.stderr) == (0, "installed\n")
    assert agent.package == b"\0\xff package"


def test_a_package_that_is_not_there_is_warned_of(config: Path, agent: Agent) -> None:
    """The command is sent all the same, and the agent tells what came of it."""
    agent.outcome = {"status": "ok", "message": "never said"}
    done = send(config, "update-sensor", "missing")
    warning, message = done.stderr.splitlines()

    assert warning == (
        "monserver: there is none of missing.tar.bz2, missing.tar.gz, missing.tar.xz in "
        f"{config.parent}/packages; the agent will find no package"
    )
    assert message == "there is no package of that sensor here"
    assert (done.returncode, json.loads(done.stdout)["status"]) == (1, "error")


def test_what_an_agent_says_cannot_paint_the_terminal(config: Path, agent: Agent) -> None:
    """Escape sequences and line ends are taken out."""
    agent.outcome, agent.package = {"status": "ok", "message": "a\nb\x7f\x9b2Jc"}, b""
    done = send(config, "status")

    assert done.stderr == "a b  2Jc\n"


@pytest.mark.parametrize("command", FORMS)
def test_an_outcome_that_does_not_come_in_time_is_told(config: Path, agent: Agent, command: str) -> None:
    """75, with the ticket."""
    done = send(config, command, *FORMS[command][1], "--wait", "0.1")

    assert (done.returncode, done.stdout) == (75, "")
    assert re.search(r"monserver: the agent took ticket \S{32}, but no result came within", done.stderr)
    assert ("hands in at its new server" in done.stderr) == (command == "update-config")


@pytest.mark.parametrize(
    ("words", "form"),
    [
        (["update-sensor"], "update-sensor takes one SENSOR: monserver send HOST update-sensor SENSOR"),
        (["update-sensor", "a", "b"], "update-sensor takes one SENSOR: monserver send HOST update-sensor SENSOR"),
        (["restore-sensor"], "restore-sensor takes one SENSOR: monserver send HOST restore-sensor SENSOR"),
        (["status", "disk"], "status takes no argument: monserver send HOST status"),
        (["list-sensors", "disk"], "list-sensors takes no argument: monserver send HOST list-sensors"),
        (["update-config", "http://new/"], "update-config takes no argument: monserver send HOST update-config"),
        (["update-sensor", "../x"], "'../x' is not the name of a sensor"),
        (["restore-sensor", ""], "'' is not the name of a sensor"),
        (["update-sensor", "x" * 65], "is not the name of a sensor"),
        (["fly"], "'fly' is not one of"),
    ],
    ids=lambda value: " ".join(value)[:30] if isinstance(value, list) else "",
)
def test_a_mistake_of_usage_names_the_right_form(config: Path, words: list[str], form: str) -> None:
    """2, before anything is looked up or sent."""
    done = send(config, *words)

    assert (done.returncode, done.stdout) == (2, "")
    assert "Usage: " in done.stderr
    assert form in done.stderr


def test_every_command_has_its_example_in_the_help() -> None:
    """As it is typed."""
    shown = monserver("send", "--help").stdout

    for command, (_, arguments) in FORMS.items():
        assert f"monserver send {' '.join(['web1', command, *arguments])} " in shown


def test_slow_commands_are_waited_for_longer() -> None:
    """Two minutes where something is fetched, tested and moved."""
    slow = {name for name, sendable in server_send._SENDABLE.items() if sendable.seconds == 120}

    assert slow == {"update-sensor", "restore-sensor", "update-config", "send-mail"}
    assert {one.seconds for one in server_send._SENDABLE.values()} == {60, 120, 3600}
