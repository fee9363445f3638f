"""Tickets, commands and faults, as the protocol's page promises them, against real agents."""

from __future__ import annotations

import itertools
import signal
import time
import xmlrpc.client
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import StartAgent
from tests.integration.served import ECHO, Served, call, fault_of, submission, wait_until
from tests.support.agent import AgentProcess, write_sensor
from tests.support.monitor import Monitor

_numbers = itertools.count(1)


def fresh() -> str:
    """A ticket that no other test of this process uses."""
    return f"fresh-{next(_numbers)}"


def submit(served: Served, *params: Any) -> Any:
    """Call `cmd_submit_reading` as a standard client does."""
    return served.agent.proxy().cmd_submit_reading(*params)


def refusal(served: Served, *params: Any) -> int:
    """The code of the fault that such a call must end in."""
    return fault_of(lambda: submit(served, *params)).faultCode


# -- tickets ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ticket", ["t", " ", "~", "a b", "<&>\"'", "x" * 128, "00", 0, 1, -1, 2**31 - 1, -(2**31)])
def test_a_ticket_comes_back_exactly_as_it_was_sent(served: Served, ticket: int | str) -> None:
    """Text of 1 to 128 printable ASCII characters, or an integer."""
    assert submit(served, ticket, "echo", ["5"]) == "OK"
    assert served.monitor.wait_for_ticket(ticket).content[:2] == [0, "5"]


@pytest.mark.parametrize("number", [2**31, 2**63 - 1, -(2**63)])
def test_an_integer_ticket_may_have_64_bits(served: Served, number: int) -> None:
    """By the extension `i8`."""
    assert call(served.agent.port, submission(f"<i8>{number}</i8>", "echo", "5")) == "OK"
    assert served.monitor.wait_for_ticket(number).content[:2] == [0, "5"]


@pytest.mark.parametrize(
    "ticket",
    [
        pytest.param("<string></string>", id="empty"),
        pytest.param("<string/>", id="empty element"),
        pytest.param("", id="untyped and empty"),
        pytest.param(f"<string>{'x' * 129}</string>", id="129 characters"),
        pytest.param("<string>ticket-é</string>", id="not ASCII"),
        pytest.param("<string>a\tb</string>", id="a tabulator"),
        pytest.param("<string>a\nb</string>", id="a line feed"),
        pytest.param("<string>\x7f</string>", id="DEL"),
        pytest.param("<boolean>1</boolean>", id="boolean"),
        pytest.param("<double>1.0</double>", id="double"),
        pytest.param("<nil/>", id="nil"),
        pytest.param("<array><data><value>t</value></data></array>", id="array"),
        pytest.param("<struct/>", id="struct"),
        pytest.param("<base64>dA==</base64>", id="base64"),
        pytest.param("<dateTime.iso8601>20260101T00:00:00</dateTime.iso8601>", id="dateTime"),
    ],
)
def test_anything_else_is_no_ticket(served: Served, ticket: str) -> None:
    """-32602, and nothing is journaled."""
    before = _journaled(served)
    fault = fault_of(lambda: call(served.agent.port, submission(ticket, "echo", "5")))

    assert fault.faultCode == -32602
    assert "ticket" in fault.faultString
    assert _journaled(served) == before


def test_an_integer_and_its_decimal_text_are_the_same_ticket(served: Served) -> None:
    """Leading zeros make another one."""
    flag = served.agent.directory / "hold"
    flag.touch()
    write_sensor(served.agent.directory, "hold", f'#!/bin/sh\nwhile [ -e {flag} ]; do sleep 0.02; done\necho "$1"\n')
    try:
        assert submit(served, 700, "hold", ["1"]) == "OK"
        assert submit(served, "700", "hold", ["1"]) == "OK"
        assert refusal(served, "700", "hold", ["2"]) == -32001
        assert submit(served, "0700", "hold", ["3"]) == "OK"
    finally:
        flag.unlink()
    assert served.monitor.wait_for_ticket(700).content[:2] == [0, "1"]
    assert served.monitor.wait_for_ticket("0700").content[:2] == [0, "3"]
    assert "700" not in served.monitor.tickets()


def test_the_same_command_again_is_acknowledged_and_not_run_again(served: Served) -> None:
    """While it is under way."""
    ticket = fresh()
    runs, flag = served.agent.directory / f"{ticket}.runs", served.agent.directory / f"{ticket}.hold"
    flag.touch()
    write_sensor(
        served.agent.directory,
        ticket,
        f"#!/bin/sh\necho run >> {runs}\nwhile [ -e {flag} ]; do sleep 0.02; done\necho 5\n",
    )
    assert [submit(served, ticket, ticket, "a b") for _ in range(5)] == ["OK"] * 5
    assert submit(served, ticket, ticket, ["a", "b"]) == "OK"
    flag.unlink()
    served.monitor.wait_for_ticket(ticket)

    assert runs.read_text() == "run\n"
    assert served.monitor.tickets().count(ticket) == 1


def test_another_command_under_a_ticket_is_a_clash_and_nothing_runs(served: Served) -> None:
    """-32001 for another sensor, other arguments and another method; the first one goes on."""
    ticket = fresh()
    ran, flag = served.agent.directory / f"{ticket}.ran", served.agent.directory / f"{ticket}.hold"
    flag.touch()
    write_sensor(served.agent.directory, f"{ticket}-other", f"#!/bin/sh\ntouch {ran}\necho 6\n")
    write_sensor(served.agent.directory, ticket, f"#!/bin/sh\nwhile [ -e {flag} ]; do sleep 0.02; done\necho 5\n")
    submit(served, ticket, ticket)

    assert refusal(served, ticket, f"{ticket}-other") == -32001
    assert refusal(served, ticket, ticket, ["x"]) == -32001
    assert fault_of(lambda: served.agent.proxy().cmd_status(ticket)).faultCode == -32001
    flag.unlink()
    assert served.monitor.wait_for_ticket(ticket).content[:2] == [0, "5"]
    assert not ran.exists()
    assert [entry.method for entry in served.known(ticket)] == ["cmd_submit_reading"]


def test_a_delivered_ticket_is_still_known_after_a_restart_where_the_server_is_extended(
    monitor: Monitor, make_agent: StartAgent
) -> None:
    """The same again is acknowledged and not run; another command clashes."""
    agent, runs = _counting(make_agent(monitor.url))
    agent.start()
    assert agent.proxy().cmd_submit_reading(1, "count") == "OK"
    monitor.wait_for(1)
    _wait_for_state(agent, 1, "delivered")
    agent.stop()
    agent.start()

    assert agent.proxy().cmd_submit_reading(1, "count") == "OK"
    assert fault_of(lambda: agent.proxy().cmd_submit_reading("1", "count", ["x"])).faultCode == -32001
    time.sleep(0.5)
    assert runs.read_text() == "run\n"
    assert len(monitor.handed) == 1


def test_a_delivered_ticket_is_free_again_where_the_server_is_plain(
    plain_monitor: Monitor, make_agent: StartAgent
) -> None:
    """Before and after a restart: a server that counts from 1 again gets every one of its tickets done."""
    agent, runs = _counting(make_agent(plain_monitor.url))
    agent.start()
    for number in (1, 2):
        assert agent.proxy().cmd_submit_reading(1, "count") == "OK"
        plain_monitor.wait_for(number)
        _wait_for_state(agent, 1, "delivered")
    agent.stop()
    agent.start()
    assert agent.proxy().cmd_submit_reading("1", "count", ["other"]) == "OK"
    plain_monitor.wait_for(3)

    assert plain_monitor.tickets() == [1, 1, "1"]
    assert runs.read_text() == "run\n" * 3


# -- arguments ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "printed"),
    [
        ((), ""),
        ((None,), ""),
        (([],), ""),
        (("",), ""),
        ((["a b", "", "*", "$HOME", 7, -8, 2.5],), "<a b><><*><$HOME><7><-8><2.5>"),
        (("'a b' \"c d\" e\\ f '' $HOME * `id` ; | >x",), "<a b><c d><e f><><$HOME><*><`id`><;><|><>x>"),
        ((["ü€🙂", "<&>"],), "<ü€🙂><<&>>"),
        ((["x" * 10_000],), f"<{'x' * 10_000}>"),
    ],
    ids=["none", "nil", "empty array", "empty text", "mixed array", "as a shell would", "not ASCII", "long"],
)
def test_a_sensor_gets_exactly_the_arguments_that_were_given(
    served: Served, given: tuple[Any, ...], printed: str
) -> None:
    """An array as it is, a text split as a shell would; no shell ever expands anything."""
    ticket = fresh()
    shown = served.agent.directory / ticket
    write_sensor(
        served.agent.directory, ticket, f'#!/bin/sh\nfor one; do printf "<%s>" "$one"; done > {shown}\necho $#\n'
    )
    assert submit(served, ticket, ticket, *given) == "OK"
    served.monitor.wait_for_ticket(ticket)

    assert shown.read_text() == printed


@pytest.mark.parametrize(
    "params",
    [
        [],
        ["echo", ["x"], "more"],
        [5],
        [None],
        [["echo"]],
        [True],
        ["no-such-sensor"],
        ["../echo"],
        ["/bin/sh"],
        [""],
        [".hidden"],
        ["echo", 5],
        ["echo", 5.5],
        ["echo", True],
        ["echo", {"a": "b"}],
        pytest.param(["echo", xmlrpc.client.Binary(b"x")], id="base64"),
        ["echo", [None]],
        ["echo", [False]],
        ["echo", [["x"]]],
        ["echo", [{"a": 1}]],
        ["echo", "an 'unbalanced quote"],
    ],
    ids=str,
)
def test_wrong_arguments_are_refused_and_nothing_is_journaled(served: Served, params: list[Any]) -> None:
    """-32602 for count, type, quotes and unknown sensors."""
    ticket = fresh()

    assert refusal(served, ticket, *params) == -32602
    assert served.known(ticket) == []


# -- faults -------------------------------------------------------------------------------------------------------

_HEALTHY = "<methodCall><methodName>healthcheck</methodName></methodCall>"


@pytest.mark.parametrize(
    ("code", "body"),
    [
        pytest.param(-32700, b"", id="nothing"),
        pytest.param(-32700, b"hello", id="no XML"),
        pytest.param(-32700, b"<methodCall><methodName>healthcheck</methodName>", id="cut off"),
        pytest.param(-32700, b"<methodCall><methodName>\xff\xfe</methodName></methodCall>", id="not UTF-8"),
        pytest.param(-32700, _HEALTHY.encode("utf-16"), id="UTF-16"),
        pytest.param(
            -32700,
            b"<?xml version='1.0' encoding='iso-8859-1'?><methodCall><methodName>\xc3\xa9</methodName></methodCall>",
            id="declared otherwise",
        ),
        pytest.param(-32600, b"<html/>", id="another document"),
        pytest.param(-32600, b"<methodResponse/>", id="an answer"),
        pytest.param(-32600, b"<methodCall/>", id="no name"),
        pytest.param(-32600, f"<!DOCTYPE x>{_HEALTHY}".encode(), id="a document type"),
        pytest.param(-32600, f"<?x y?>{_HEALTHY}".encode(), id="a processing instruction"),
        pytest.param(
            -32600, submission(f"{'<array><data><value>' * 50}{'</value></data></array>' * 50}").encode(), id="too deep"
        ),
        pytest.param(-32600, submission(*["x"] * 6000).encode(), id="too many values"),
        pytest.param(-32600, submission("<int>1_0</int>").encode(), id="a number that is none"),
        pytest.param(-32600, submission(f"<int>{'9' * 4300}</int>").encode(), id="a number of 4,300 digits"),
        pytest.param(-32600, submission("<bigdecimal>1E999999999</bigdecimal>").encode(), id="an unknown type"),
        pytest.param(-32600, submission("<double>nan</double>").encode(), id="not a number"),
        pytest.param(-32601, b"<methodCall><methodName>cmd_fly</methodName></methodCall>", id="an unknown method"),
        pytest.param(-32601, b"<methodCall><methodName></methodName></methodCall>", id="an empty name"),
        pytest.param(
            -32601, b"<methodCall><methodName>healthcheck.__func__</methodName></methodCall>", id="an attribute"
        ),
        pytest.param(-32602, submission().encode(), id="no arguments"),
    ],
)
def test_every_mistake_has_its_code(extended: Served, code: int, body: bytes) -> None:
    """And the agent goes on as if nothing had been."""
    assert fault_of(lambda: call(extended.agent.port, body)).faultCode == code
    assert call(extended.agent.port, _HEALTHY) == "OK"


def test_a_fault_says_nothing_of_the_inside(extended: Served) -> None:
    """Neither paths nor names of Python things."""
    texts = [
        fault_of(lambda body=body: call(extended.agent.port, body)).faultString  # type: ignore[misc]
        for body in (b"<x", b"<x/>", submission("t", "../../etc/passwd"), submission("<boolean>1</boolean>", "echo"))
    ]

    for text in texts:
        assert not any(word in text for word in ("/", "Error", "Traceback", "monagent", "None", "<"))


def test_a_full_queue_answers_busy(monitor: Monitor, make_agent: StartAgent) -> None:
    """-32002; what was acknowledged before is kept."""
    agent = make_agent(monitor.url, "workers = 1")
    write_sensor(agent.directory, "slow", "#!/bin/sh\nexec sleep 30\n")
    agent.start()
    codes: set[int] = set()
    accepted = 0
    for part in range(110):
        batch = xmlrpc.client.MultiCall(agent.proxy())
        for number in range(100):
            batch.cmd_submit_reading(f"{part}-{number}", "slow")
        results: list[Any] = batch().results
        accepted += sum(isinstance(one, list) for one in results)
        codes |= {one["faultCode"] for one in results if isinstance(one, dict)}
        if codes:
            break

    assert codes == {-32002}
    assert 9_900 <= accepted <= 10_100


def test_a_full_journal_answers_busy(make_agent: StartAgent, monitor: Monitor) -> None:
    """-32002, while what is in it is still delivered."""
    monitor.stop()
    agent = make_agent(monitor.url, "journal_limit = 300K")
    write_sensor(agent.directory, "echo", ECHO)
    agent.start()
    proxy = agent.proxy()
    accepted: list[int] = []
    until = time.monotonic() + 60
    fault = None
    while fault is None:
        assert time.monotonic() < until, "the journal never said that it is full"
        try:
            proxy.cmd_submit_reading(len(accepted), "echo", [1, "x" * 2000])
            accepted.append(len(accepted))
        except xmlrpc.client.Fault as refused:
            fault = refused

    assert fault.faultCode == -32002
    monitor.start()
    monitor.wait_for(len(accepted), 60)
    assert sorted(monitor.tickets(), key=int) == accepted


def test_a_stopping_agent_answers_busy(monitor: Monitor, make_agent: StartAgent) -> None:
    """-32002 to new commands while running work gets its time."""
    agent = make_agent(monitor.url)
    begun, go = agent.directory / "begun", agent.directory / "go"
    write_sensor(agent.directory, "slow", f"#!/bin/sh\n> {begun}\nwhile [ ! -e {go} ]; do sleep 0.05; done\necho 1\n")
    agent.start()
    proxy = agent.proxy()
    proxy.cmd_submit_reading("running", "slow")
    wait_until(begun.exists, "the sensor runs")
    agent.signal(signal.SIGTERM)
    codes: list[int] = []

    def refused() -> bool:
        try:
            proxy.cmd_submit_reading(fresh(), "slow")
        except xmlrpc.client.Fault as fault:
            codes.append(fault.faultCode)
        return bool(codes)

    wait_until(refused, "commands are refused", seconds=8)
    go.touch()
    assert codes == [-32002]
    assert agent.wait() == 0


# -- introspection and multicall ----------------------------------------------------------------------------------


def test_the_agent_describes_itself(extended: Served) -> None:
    """Methods, help, signatures and the capability that names the extended dialect."""
    proxy: Any = extended.agent.proxy()
    methods = proxy.system.listMethods()

    assert methods == sorted(methods)
    for method in methods:
        assert proxy.system.methodHelp(method)
        assert all(isinstance(word, str) for signature in proxy.system.methodSignature(method) for word in signature)
    assert ["string", "int", "string", "array"] in proxy.system.methodSignature("cmd_submit_reading")
    assert "monagent" in proxy.system.getCapabilities()
    assert fault_of(lambda: proxy.system.methodHelp("cmd_fly")).faultCode == -32602


def test_a_multicall_has_its_bounds(extended: Served) -> None:
    """At most 100 calls, no nesting, and each wrong entry is its own fault."""
    multicall: Callable[[list[Any]], list[Any]] = getattr(extended.agent.proxy(), "system.multicall")
    healthy = {"methodName": "healthcheck", "params": []}

    assert multicall([]) == []
    assert multicall([healthy] * 100) == [["OK"]] * 100
    assert fault_of(lambda: multicall([healthy] * 101)).faultCode == -32600
    entries: list[Any] = [healthy, "x", {}, {**healthy, "more": 1}, {"methodName": "system.multicall", "params": [[]]}]
    answers = multicall(entries)
    assert answers[0] == ["OK"]
    assert [answer["faultCode"] for answer in answers[1:]] == [-32602] * 4


def _journaled(served: Served) -> int:
    import sqlite3  # noqa: PLC0415 - looks past the program's own readers

    connection = sqlite3.connect(served.agent.directory / "var" / "journal.db")
    try:
        return int(connection.execute("select count(*) from command").fetchone()[0])
    finally:
        connection.close()


def _counting(agent: AgentProcess) -> tuple[AgentProcess, Path]:
    runs = agent.directory / "runs"
    write_sensor(agent.directory, "count", f"#!/bin/sh\necho run >> {runs}\necho 5\n")
    return agent, runs


def _wait_for_state(agent: AgentProcess, ticket: int, state: str) -> None:
    served = Served(agent, Monitor(extended=False))
    wait_until(lambda: {entry.state for entry in served.known(ticket)} == {state}, f"ticket {ticket} is {state}")
