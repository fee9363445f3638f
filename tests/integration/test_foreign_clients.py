"""Clients that share no code with the agent: it must understand each of them, and they must understand it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.integration.clients import curl
from tests.integration.served import ECHO
from tests.support.agent import AgentProcess, write_sensor
from tests.support.monitor import Monitor
from tests.unit.sensors_stock.runner import missing

CLIENTS = Path(__file__).parent / "clients"
NPM_SECONDS = 90
TALK_SECONDS = 60


@dataclass(frozen=True)
class Conversation:
    """What one client heard from an agent, and the server that the results went to."""

    heard: dict[str, dict[str, Any]]
    monitor: Monitor

    def value(self, name: str) -> Any:
        """The value that a call was answered with."""
        assert "value" in self.heard[name], self.heard[name]
        return self.heard[name]["value"]


@pytest.fixture(scope="module", params=["python", "perl", "node", "curl"])
def conversation(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Conversation]:
    """One client's whole conversation with an agent of its own."""
    speak = {"python": _python, "perl": _perl, "node": _node, "curl": _curl}[request.param]
    monitor = Monitor(extended=True)
    monitor.start()
    agent = AgentProcess(tmp_path_factory.mktemp("agent"), monitor.url)
    write_sensor(agent.directory, "echo", ECHO)
    try:
        agent.start()
        yield Conversation(speak(agent.url, tmp_path_factory), monitor)
    finally:
        agent.kill()
        monitor.stop()


def test_a_foreign_client_is_told_that_the_agent_is_up(conversation: Conversation) -> None:
    """The healthcheck is answered OK."""
    assert conversation.value("healthcheck") == "OK"


def test_a_foreign_client_can_ask_what_there_is_to_call(conversation: Conversation) -> None:
    """The methods are listed, and each tells how it is called."""
    methods = conversation.value("methods")

    assert {"cmd_submit_reading", "cmd_list_sensors", "cmd_status", "healthcheck", "system.multicall"} <= set(methods)
    assert methods == sorted(methods)
    assert conversation.value("help").startswith("cmd_submit_reading(ticket, sensor, [arguments])")


@pytest.mark.parametrize(
    ("form", "ticket", "number"),
    [("text, array", "text-1", "1.5"), ("text, string", "007", "2"), ("int, array", 42, "3"), ("int, string", 43, "4")],
)
def test_a_reading_comes_back_under_the_very_ticket_that_a_foreign_client_sent(
    conversation: Conversation, form: str, ticket: int | str, number: str
) -> None:
    """Text stays text and an integer stays an integer, whichever form the arguments have."""
    assert conversation.value(form) == "OK"
    assert conversation.monitor.wait_for_ticket(ticket).content[:2] == [0, number]


@pytest.mark.parametrize(("name", "code"), [("no sensor", -32602), ("no method", -32601)])
def test_a_foreign_client_learns_what_was_wrong(conversation: Conversation, name: str, code: int) -> None:
    """A mistake is answered with a fault, its code and a sentence, and no result follows."""
    # Perl knows no difference between a number and its text.
    assert int(conversation.heard[name]["fault"]) == code
    assert conversation.heard[name]["text"].startswith("no such")
    assert 44 not in conversation.monitor.tickets()


def test_a_foreign_client_gets_each_entry_of_a_multicall_judged_on_its_own(conversation: Conversation) -> None:
    """The entries before and after a wrong one are accepted, and their results arrive."""
    first, second, third = conversation.value("multicall")

    assert (first, third) == (["OK"], ["OK"])
    assert int(second["faultCode"]) == -32601
    assert conversation.monitor.wait_for_ticket("m-1").content[:2] == [0, "5"]
    assert conversation.monitor.wait_for_ticket(77).content[:2] == [0, "6"]


def _python(url: str, _temporary: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    return _heard([sys.executable, "-I", str(CLIENTS / "talk.py"), url])


def _perl(url: str, _temporary: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    perl = shutil.which("perl")
    if perl is None or subprocess.run([perl, "-MRPC::XML::Client", "-e", "1"], capture_output=True).returncode != 0:
        missing("Perl's RPC::XML (Debian: librpc-xml-perl)")
    return _heard([perl, str(CLIENTS / "talk.pl"), url])


def _node(url: str, temporary: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    node = shutil.which("node")
    if node is None:
        missing("node")
    modules = os.environ.get("MONAGENT_NODE_MODULES") or _installed_by_npm(temporary.mktemp("npm"))
    return _heard([node, str(CLIENTS / "talk.js"), url], NODE_PATH=modules)


def _installed_by_npm(prefix: Path) -> str:
    npm = shutil.which("npm")
    if npm is None:
        missing("npm")
    command = [npm, "install", "xmlrpc", "--prefix", str(prefix), "--no-audit", "--no-fund", "--fetch-retries=1"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=NPM_SECONDS)
    except subprocess.TimeoutExpired:
        missing(f"Node's xmlrpc package (npm did not bring it within {NPM_SECONDS} s)")
    if done.returncode != 0:
        missing(f"Node's xmlrpc package (npm: {done.stderr.strip()[-200:]})")
    return str(prefix / "node_modules")


def _curl(url: str, _temporary: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    program = shutil.which("curl")
    if program is None:
        missing("curl")
    return curl.talk(program, url)


def _heard(command: list[str], **environment: str) -> dict[str, dict[str, Any]]:
    done = subprocess.run(
        command, env={**os.environ, **environment}, capture_output=True, text=True, timeout=TALK_SECONDS
    )
    assert done.returncode == 0, done.stderr
    heard: dict[str, dict[str, Any]] = json.loads(done.stdout)
    return heard
