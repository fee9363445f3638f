"""The agent's methods: a real journal and dispatcher behind real documents."""

from __future__ import annotations

import logging
import re
import xmlrpc.client
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from monagent.agent import commands
from monagent.agent.commands.kind import CommandKind
from monagent.agent.executor import QUEUE_LIMIT
from monagent.agent.face import Face
from monagent.agent.journal import Journal
from monagent.models import Job
from monagent.protocol import CAPABILITIES
from monagent.rpc.dispatch import Dispatcher
from monagent.sensors.runner import Runner
from tests.unit.agent.parts import rows, tools


class Agent:
    """A face with what stands around it; jobs are put into a list."""

    def __init__(self, journal: Journal, sensors: Path, kinds: dict[str, CommandKind], *, direct: bool) -> None:
        self.put: list[Job] = []
        self.room = QUEUE_LIMIT
        self.face = Face(
            kinds, tools(sensors, Runner().run), journal.accept, self.put.append, lambda: self.room, direct=direct
        )
        self._dispatcher = Dispatcher(self.face.methods(), self.face.settle, CAPABILITIES)

    def call(self, method: str, *params: Any) -> Any:
        """What a caller gets for this call."""
        body = xmlrpc.client.dumps(params, method, allow_none=True).encode()
        return xmlrpc.client.loads(self._dispatcher.answer(body, "127.0.0.1"))[0][0]

    def code(self, method: str, *params: Any) -> int:
        """The code of the fault that this call must end in."""
        with pytest.raises(xmlrpc.client.Fault) as refused:
            self.call(method, *params)
        return refused.value.faultCode


MakeAgent = Callable[..., Agent]


@pytest.fixture
def make(journal: Journal, tmp_path: Path) -> MakeAgent:
    """Makes agents that have one sensor, `echo`."""
    program = tmp_path / "sensors" / "echo" / "check"
    program.parent.mkdir(parents=True)
    program.write_text('#!/bin/sh\n[ "$1" = options ] && echo help || echo "$1"\n')
    program.chmod(0o755)

    def make(kinds: dict[str, CommandKind] | None = None, *, direct: bool = True) -> Agent:
        return Agent(journal, tmp_path / "sensors", kinds or commands.load(), direct=direct)

    return make


def test_an_accepted_command_is_journaled_queued_and_acknowledged(make: MakeAgent, journal: Journal) -> None:
    """Once, however often it comes."""
    agent = make()

    assert [agent.call("cmd_submit_reading", "t", "echo", ["5"]) for _ in range(3)] == ["OK"] * 3
    assert journal.unfinished() == agent.put
    assert [job.command.arguments for job in agent.put] == [["echo", ["5"]]]


def test_every_form_of_the_same_arguments_is_the_same_command(make: MakeAgent) -> None:
    """An array and its text, a number and its text, nothing and nil and an empty array."""
    agent = make()
    for form in (["a b", 1], ["a b", "1"], '"a b" 1', "'a b'   1"):
        assert agent.call("cmd_submit_reading", "with", "echo", form) == "OK"
    without: tuple[tuple[Any, ...], ...] = ((), (None,), ([],), ("",))
    for none in without:
        assert agent.call("cmd_submit_reading", "without", "echo", *none) == "OK"

    assert [job.command.arguments for job in agent.put] == [["echo", ["a b", "1"]], ["echo", []]]


def test_a_clash_queues_nothing(make: MakeAgent) -> None:
    """The first command goes on, the second is a fault."""
    agent = make()
    agent.call("cmd_submit_reading", "t", "echo", ["5"])

    assert agent.code("cmd_submit_reading", "t", "echo", ["6"]) == -32001
    assert agent.code("cmd_status", "t") == -32001
    assert len(agent.put) == 1


@pytest.mark.parametrize("method", sorted(commands.load()))
def test_a_bad_ticket_is_refused_by_every_command(make: MakeAgent, journal: Journal, method: str) -> None:
    """And nothing is journaled."""
    agent = make()
    for ticket in ("", "x" * 129, "é", "a\nb", "\x7f", True, 1.0, None, [1], {"t": 1}, b"t"):
        assert agent.code(method, ticket, "echo") == -32602

    assert rows(journal._path, "select * from command") == []


def test_the_commands_of_a_multicall_are_judged_one_by_one(make: MakeAgent, journal: Journal) -> None:
    """The good ones share one commit."""
    agent = make()
    commits: list[str] = []
    journal._connection.set_trace_callback(commits.append)
    entries = [
        {"methodName": "cmd_submit_reading", "params": ["a", "echo", ["1"]]},
        {"methodName": "cmd_submit_reading", "params": ["a", "echo", ["2"]]},
        {"methodName": "cmd_submit_reading", "params": ["b", "nothing"]},
        {"methodName": "cmd_submit_reading", "params": ["a", "echo", ["1"]]},
        {"methodName": "healthcheck", "params": []},
        {"methodName": "system.multicall", "params": [[]]},
        {"methodName": "cmd_status", "params": [7]},
    ]
    answers = agent.call("system.multicall", entries)

    assert [answer["faultCode"] if isinstance(answer, dict) else answer[0] for answer in answers] == [
        "OK", -32001, -32602, "OK", "OK", -32602, "OK",
    ]  # fmt: skip
    assert [job.command.ticket for job in agent.put] == ["a", 7]
    assert sum(statement.lower() == "commit" for statement in commits) == 1


def test_a_stopping_agent_takes_no_new_command(make: MakeAgent, journal: Journal) -> None:
    """Busy, which says that trying again can help."""
    agent = make()
    agent.face.draining = True

    assert agent.code("cmd_submit_reading", "t", "echo") == -32002
    assert rows(journal._path, "select * from command") == []
    assert agent.call("healthcheck") == "OK"


def test_a_full_queue_takes_no_new_command(make: MakeAgent, journal: Journal) -> None:
    """Not even some of those that come together."""
    agent = make()
    agent.room = 1
    entry = {"methodName": "cmd_submit_reading", "params": ["a", "echo"]}
    answers = agent.call("system.multicall", [entry, {**entry, "params": ["b", "echo"]}])

    assert [answer["faultCode"] for answer in answers] == [-32002, -32002]
    assert rows(journal._path, "select * from command") == []
    assert agent.call("cmd_submit_reading", "a", "echo") == "OK"


def test_a_bug_names_an_incident_and_nothing_else(make: MakeAgent, caplog: pytest.LogCaptureFixture) -> None:
    """The log holds what happened, under the incident's id; in a multicall the others are not touched."""
    caplog.set_level(logging.ERROR)

    def broken(*_: object) -> list[Any]:
        raise RuntimeError("a secret path")

    kinds = commands.load()
    kinds["cmd_broken"] = CommandKind("cmd_broken", "", ((),), "", broken, lambda _command, _tools: {})
    agent = make(kinds)
    with pytest.raises(xmlrpc.client.Fault) as refused:
        agent.call("cmd_broken", "t")
    entries = [{"methodName": "cmd_broken", "params": ["t"]}, {"methodName": "healthcheck", "params": []}]
    in_multicall, healthcheck = agent.call("system.multicall", entries)

    assert refused.value.faultCode == in_multicall["faultCode"] == -32603
    assert healthcheck == ["OK"]
    found = re.fullmatch(r"internal error, incident ([0-9a-f]{8}); the log tells more", refused.value.faultString)
    assert found
    assert f"incident {found[1]}" in caplog.text
    assert "a secret path" in caplog.text


def test_the_direct_form_answers_at_once(make: MakeAgent, journal: Journal) -> None:
    """A struct of names and help texts, and nothing is journaled."""
    assert make().call("cmd_list_sensors") == {"echo": "help"}
    assert rows(journal._path, "select * from command") == []


def test_the_direct_form_can_be_switched_off(make: MakeAgent) -> None:
    """Then it is a fault, the introspection knows no such form, and the one with a ticket still works."""
    agent = make(direct=False)

    assert agent.code("cmd_list_sensors") == -32602
    assert agent.call("system.methodSignature", "cmd_list_sensors") == [["string", "string"], ["string", "int"]]
    assert ["struct"] in make().call("system.methodSignature", "cmd_list_sensors")
    assert agent.call("cmd_list_sensors", "t") == "OK"


@pytest.mark.parametrize("method", ["cmd_submit_reading", "cmd_status"])
def test_other_commands_need_a_ticket(make: MakeAgent, method: str) -> None:
    """The fault tells how they are called."""
    with pytest.raises(xmlrpc.client.Fault, match=rf"the ticket is missing: {method}\(ticket"):
        make().call(method)


def test_the_healthcheck_takes_nothing(make: MakeAgent) -> None:
    """And answers OK."""
    agent = make()

    assert agent.call("healthcheck") == "OK"
    assert agent.code("healthcheck", 1) == -32602


def test_every_method_tells_how_it_is_called(make: MakeAgent) -> None:
    """Help and signatures for all that is listed, and the extended dialect is named."""
    agent = make()
    methods = agent.call("system.listMethods")

    assert {*commands.load(), "healthcheck"} < set(methods)
    for method in methods:
        assert agent.call("system.methodHelp", method)
        assert agent.call("system.methodSignature", method)
    assert {"monagent", "system.multicall", "introspect"} <= set(agent.call("system.getCapabilities"))
