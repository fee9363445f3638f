"""Sending commands to agents that answer in every way they can."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from typing import Any
from xmlrpc.client import Fault as XmlRpcFault
from xmlrpc.server import SimpleXMLRPCRequestHandler, SimpleXMLRPCServer

import pytest

from monagent.errors import Fault, Unavailable
from monagent.rpc.client import Client
from monagent.server.dispatcher import Dispatcher
from monagent.server.records import Host
from monagent.server.store import Store
from tests.support.ports import free_port
from tests.unit.server.conftest import known_host


class _Handler(SimpleXMLRPCRequestHandler):
    rpc_paths = ("/xmlrpc/",)

    def log_message(self, *_: object) -> None:
        pass


class Agent:
    """A stand-in that notes what it is told, and refuses the sensor `bad`."""

    def __init__(self, store: Store) -> None:
        self.told: list[tuple[Any, ...]] = []
        self.states: list[str] = []
        self._store = store
        self.server = SimpleXMLRPCServer(("127.0.0.1", 0), _Handler, allow_none=True, logRequests=False)
        self.server.register_function(self._submit, "cmd_submit_reading")
        self.server.register_function(self._status, "cmd_status")
        self.server.register_multicall_functions()
        self.port = self.server.server_address[1]

    def _submit(self, *params: Any) -> str:
        self.told.append(params)
        self.states.append(self._store.tickets([params[0]])[params[0]][0].state)
        if params[1] == "bad":
            raise XmlRpcFault(-32602, "no such sensor")
        return "OK"

    def _status(self, *params: Any) -> str:
        self.told.append(params)
        return "OK"


@pytest.fixture
def agent(store: Store) -> Iterator[Agent]:
    """A stand-in for an agent, listening."""
    agent = Agent(store)
    threading.Thread(target=agent.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    yield agent
    agent.server.shutdown()
    agent.server.server_close()


@pytest.fixture
def host(store: Store, agent: Agent) -> Host:
    """The host of that agent."""
    return known_host(store, "web1", "127.0.0.1", agent.port)


def ticket_of(store: Store, name: str) -> tuple[str, str | None]:
    """State and refusal of a ticket."""
    ticket, _ = store.tickets([name])[name]
    return ticket.state, ticket.refusal


def test_a_ticket_is_on_disk_before_it_leaves(store: Store, agent: Agent, host: Host) -> None:
    """And acknowledged when the agent has it."""
    ticket = Dispatcher(store).send(host, "cmd_submit_reading", ["disk", ["/"]])

    assert agent.told == [(ticket, "disk", ["/"])]
    assert agent.states == ["issued"]
    assert ticket_of(store, ticket) == ("acknowledged", None)


def test_a_command_without_arguments_is_its_ticket(store: Store, agent: Agent, host: Host) -> None:
    """Nothing is added to it."""
    ticket = Dispatcher(store).send(host, "cmd_status")

    assert agent.told == [(ticket,)]
    assert store.tickets([ticket])[ticket][0].arguments == []


def test_a_refused_command_is_noted_with_the_reason(store: Store, agent: Agent, host: Host) -> None:
    """And the caller learns it."""
    with pytest.raises(Fault, match="no such sensor"):
        Dispatcher(store).send(host, "cmd_submit_reading", ["bad", []])

    assert ticket_of(store, agent.told[0][0]) == ("refused", "fault -32602: no such sensor")


def test_an_agent_that_is_away_may_have_taken_the_command(store: Store) -> None:
    """The ticket stays issued, for a result may come."""
    away = known_host(store, "away", "127.0.0.1", free_port())
    sent: list[str] = []
    issue = store.issue

    def noting(host: Host, method: str, commands: Sequence[tuple[str, list[Any]]]) -> None:
        sent.extend(ticket for ticket, _ in commands)
        issue(host, method, commands)

    store.issue = noting  # type: ignore[method-assign]
    with pytest.raises(Unavailable):
        Dispatcher(store).send(away, "cmd_submit_reading", ["disk", []])
    with pytest.raises(Unavailable):
        Dispatcher(store).send_checks(away, [("disk", []), ("load", [])])

    assert len(sent) == 3
    assert {ticket_of(store, ticket) for ticket in sent} == {("issued", None)}


def test_checks_go_out_together_and_are_answered_one_by_one(store: Store, agent: Agent, host: Host) -> None:
    """A ticket for each that was taken, the fault for each that was not."""
    first, second, third = Dispatcher(store).send_checks(host, [("disk", ["/"]), ("bad", []), ("load", [])])

    assert isinstance(first, str)
    assert isinstance(second, Fault)
    assert isinstance(third, str)
    assert [params[1:] for params in agent.told] == [("disk", ["/"]), ("bad", []), ("load", [])]
    assert (ticket_of(store, first)[0], ticket_of(store, third)[0]) == ("acknowledged", "acknowledged")
    assert ticket_of(store, agent.told[1][0])[0] == "refused"
    assert second.code == -32602


def test_every_connection_is_closed(store: Store, host: Host) -> None:
    """After an answer as after a fault."""
    made: list[Client] = []

    def connect(url: str) -> Client:
        made.append(Client(url, timeout=10))
        return made[-1]

    dispatcher = Dispatcher(store, connect)
    dispatcher.send(host, "cmd_status")
    with pytest.raises(Fault):
        dispatcher.send(host, "cmd_submit_reading", ["bad", []])
    dispatcher.send_checks(host, [("disk", [])])

    assert len(made) == 3
    assert all(client.fresh() for client in made)


@pytest.mark.parametrize(
    ("address", "url"),
    [("192.0.2.1", "http://192.0.2.1:8080/xmlrpc/"), ("2001:db8::1", "http://[2001:db8::1]:8080/xmlrpc/")],
)
def test_an_address_of_either_family_makes_a_url(store: Store, address: str, url: str) -> None:
    """IPv6 goes into brackets."""
    asked: list[str] = []

    def connect(wanted: str) -> Client:
        asked.append(wanted)
        return Client(f"http://127.0.0.1:{free_port()}/", timeout=5)

    with pytest.raises(Unavailable):
        Dispatcher(store, connect).send(known_host(store, "far", address), "cmd_status")

    assert asked == [url]
