"""Commands on their way to agents, over real sockets."""

from __future__ import annotations

import time
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import pytest
from sqlalchemy import select, update

from monagent.server import connection, marks, schema
from monagent.server.database import Database
from monagent.server.dispatcher import Dispatcher
from monagent.server.names import Names
from monagent.server.records import Host
from monagent.server.ticket_list import cancel, stories
from monagent.server.ticketing import issue
from tests.support.fake_agent import FakeAgent, SilentAgent
from tests.support.ports import free_port
from tests.support.server import define, known_host, ticket_story, wait_until


@pytest.fixture
def dispatcher(database: Database) -> Iterator[Dispatcher]:
    """At work."""
    dispatcher = Dispatcher(database, Names())
    dispatcher.start()
    yield dispatcher
    dispatcher.stop()


@pytest.fixture
def agent() -> Iterator[FakeAgent]:
    """One that takes everything."""
    agent = FakeAgent()
    yield agent
    agent.stop()


def command(database: Database, host: Host, method: str = "cmd_status", *arguments: Any, **more: Any) -> str:
    """Issue one; its ticket."""
    with database.write() as db:
        return issue(db, host.id, method, list(arguments), time.time(), **more)


def ended(database: Database, ticket: str) -> bool:
    """Whether there is nothing more to be sent, and what became of it is written down."""
    story = ticket_story(database, ticket)
    return story.state != "issued"


def probes(database: Database, host: str, count: int, every: str = "1s") -> None:
    """Probes of a host that are due now."""
    definitions: dict[Any, Any] = {("sensor", "disk"): {}, ("schedule", "often"): {"every": every}}
    for number in range(count):
        definitions["probe", f"p{number}"] = {
            "sensor": "disk", "arguments": [f"/{number}"], "schedule": "often", "hosts": [host],
        }  # fmt: skip
    define(database, definitions)


def test_a_command_is_sent_and_its_story_written_down(
    database: Database, dispatcher: Dispatcher, agent: FakeAgent
) -> None:
    """Issued, sent, acknowledged, each with its time."""
    host = known_host(database, "web1", port=agent.port)
    before = time.time()
    ticket = command(database, host, "cmd_sync_backup", "data", "check")
    wait_until(lambda: ended(database, ticket), "sent")

    story = ticket_story(database, ticket)
    assert agent.commands == [("cmd_sync_backup", [ticket, "data", "check"])]
    assert (story.state, story.method, story.arguments, story.ended) == (
        "acknowledged",
        "cmd_sync_backup",
        ["data", "check"],
        None,
    )
    assert story.sent is not None
    assert story.acknowledged is not None
    assert before <= story.issued <= story.sent <= story.acknowledged <= time.time()


def test_what_the_agent_refuses_is_told_with_its_words(database: Database, dispatcher: Dispatcher) -> None:
    """And one refusal in a multicall is no other's."""
    agent = FakeAgent(refuses="bad")
    host = known_host(database, "web1", port=agent.port)
    tickets = [command(database, host, "cmd_send_mail", name) for name in ("good", "bad")]
    wait_until(lambda: all(ended(database, ticket) for ticket in tickets), "sent")
    agent.stop()

    good, bad = (ticket_story(database, ticket) for ticket in tickets)
    assert good.state == "acknowledged"
    assert (bad.state, bad.reason) == ("refused", "fault -32602: unknown sensor")


def test_a_command_to_a_dead_host_has_failed_at_once(database: Database, dispatcher: Dispatcher) -> None:
    """With the reason, and the host is not bothered for a while."""
    host = known_host(database, "web1", port=free_port())
    ticket = command(database, host)
    wait_until(lambda: ended(database, ticket), "given up")

    story = ticket_story(database, ticket)
    assert (story.state, story.sent, story.reason) == ("failed", None, "connection refused")
    with database.read() as db:
        row = db.execute(select(schema.host.c.failures, schema.host.c.retry_at)).one()
    assert row.failures == 1
    assert row.retry_at > time.time()


def test_a_host_that_never_answers_may_have_taken_it(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """The ticket stays open, and says so."""
    monkeypatch.setattr(connection, "EXCHANGE_SECONDS", 0.3)
    agent, dispatcher = SilentAgent(), Dispatcher(database, Names())
    dispatcher.start()
    ticket = command(database, known_host(database, "web1", port=agent.port))
    wait_until(lambda: ended(database, ticket), "given up")
    dispatcher.stop()
    agent.stop()

    story = ticket_story(database, ticket)
    assert (story.state, story.reason, story.ended) == ("sent", "it took too long to answer", None)


def test_the_probes_of_a_host_travel_in_one_multicall_over_one_connection(
    database: Database, dispatcher: Dispatcher, agent: FakeAgent
) -> None:
    """Round after round."""
    known_host(database, "web1", port=agent.port)
    probes(database, "web1", 10)
    wait_until(lambda: len(agent.commands) >= 30, "three rounds")

    assert agent.multicalls <= len(agent.commands) / 10 + 1
    assert agent.connections == 1
    assert {params[1] for _, params in agent.commands} == {"disk"}
    assert {tuple(params[2]) for _, params in agent.commands} == {(f"/{number}",) for number in range(10)}


def test_a_plain_agent_gets_single_calls(database: Database, dispatcher: Dispatcher) -> None:
    """It is asked for a multicall once, and then no more."""
    agent = FakeAgent(plain=True)
    known_host(database, "web1", port=agent.port)
    probes(database, "web1", 3)
    wait_until(lambda: len(agent.commands) >= 6, "two rounds")
    agent.stop()

    assert agent.multicalls == 0
    with database.read() as db:
        assert {story.state for story in stories(db)} <= {"acknowledged", "issued", "sent"}


def test_schedules_do_not_drift(database: Database, dispatcher: Dispatcher, agent: FakeAgent) -> None:
    """What is sent late does not make the next one later."""
    known_host(database, "web1", port=agent.port)
    probes(database, "web1", 1)
    wait_until(lambda: len(agent.commands) >= 4, "four rounds")

    with database.read() as db:
        due = [story.due for story in stories(db)]
        late = [story.sent - story.due for story in stories(db) if story.sent and story.due]
    steps = [round(one - other, 6) for one, other in pairwise(due) if one and other]
    assert set(steps) == {1.0}
    assert max(late) < 1.0


def test_dead_and_slow_hosts_keep_nobody_waiting(database: Database) -> None:
    """Twenty of them, due before a live one."""
    live, slow, silent = FakeAgent(), FakeAgent(slow=2.0), SilentAgent()
    dispatcher = Dispatcher(database, Names())
    for number in range(20):
        known_host(database, f"bad{number}", port=(slow, silent)[number % 2].port)
    known_host(database, "live", port=live.port)
    define(
        database,
        {
            ("sensor", "disk"): {},
            ("schedule", "often"): {"every": "1s"},
            ("probe", "p"): {"sensor": "disk", "schedule": "often", "everywhere": True},
        },
    )
    with database.write() as db:
        db.execute(update(schema.host_probe).values(due=time.time() - 5))
    dispatcher.start()
    wait_until(lambda: len(live.commands) >= 3, "three rounds of the live one")
    with database.read() as db:
        late = [
            one.sent - one.due for one in stories(db, host="live") if one.sent and one.due and one.due > one.issued - 3
        ]
    for one in (live, slow, silent):
        one.stop()
    dispatcher.stop()

    assert late
    assert max(late) < 1.0


def test_a_host_that_is_back_is_asked_again(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pauses grow while it is away, and end with the first answer."""
    monkeypatch.setattr(marks, "PAUSES", (0.2,) * 7)
    port = free_port()
    known_host(database, "web1", port=port)
    probes(database, "web1", 1)
    dispatcher = Dispatcher(database, Names())
    dispatcher.start()

    def failures() -> int:
        with database.read() as db:
            return int(db.execute(select(schema.host.c.failures)).scalar_one())

    wait_until(lambda: failures() >= 1, "a failure")
    with database.write() as db:
        db.execute(update(schema.host).values(retry_at=0.0))
    agent = FakeAgent()
    known_host(database, "web1", port=agent.port)
    wait_until(lambda: agent.commands, "a command")
    wait_until(lambda: failures() == 0, "forgiven")
    dispatcher.stop()
    agent.stop()


def test_what_a_killed_process_claimed_is_sent_by_another(database: Database, agent: FakeAgent) -> None:
    """After its lease; by the same ticket, so that it is done once."""
    host = known_host(database, "web1", port=agent.port)
    ticket = command(database, host)
    dead = Dispatcher(database, Names())
    with database.write() as db:
        batches, _ = dead.scheduler.claim(db, time.time())
    assert [one.ticket for commands in batches.values() for one in commands] == [ticket]
    with database.write() as db:
        db.execute(update(schema.ticket).values(send_at=time.time() - 1))
    other = Dispatcher(database, Names())
    other.start()
    wait_until(lambda: ended(database, ticket), "sent by the other one")
    other.stop()
    dead._loop.close()

    assert agent.commands == [("cmd_status", [ticket])]


def test_a_cancelled_ticket_is_not_sent(database: Database, agent: FakeAgent) -> None:
    """Nor one whose time is over."""
    host = known_host(database, "web1", port=agent.port)
    off, late, good = command(database, host), command(database, host, send_within=-1.0), command(database, host)
    with database.write() as db:
        assert cancel(db, database, off, time.time()) == "issued"
        assert cancel(db, database, "nothing", time.time()) is None
    dispatcher = Dispatcher(database, Names())
    dispatcher.start()
    wait_until(lambda: ended(database, good) and ended(database, late), "sent")
    dispatcher.stop()

    assert [params for _, params in agent.commands] == [[good]]
    assert ticket_story(database, off).state == "cancelled"
    assert (ticket_story(database, late).state, ticket_story(database, late).reason) == (
        "failed",
        "it could not be sent in time",
    )


def test_a_clock_that_was_ahead_does_not_stop_the_schedules(database: Database, agent: FakeAgent) -> None:
    """What it had planned for next year runs today."""
    known_host(database, "web1", port=agent.port)
    probes(database, "web1", 2)
    with database.write() as db:
        db.execute(update(schema.host_probe).values(due=time.time() + 365 * 86_400))
    dispatcher = Dispatcher(database, Names())
    dispatcher.start()
    wait_until(lambda: len(agent.commands) >= 2, "brought back")
    dispatcher.stop()
