"""The promise: whatever dies during a move, the agent ends up with a server that answers, and no ticket is lost."""

from __future__ import annotations

import contextlib
import json
import random
import sqlite3
import threading
import time
import xmlrpc.client
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from monagent.config import settings
from tests.support.agent import AgentProcess, write_sensor
from tests.support.bad_server import BAD
from tests.support.monitor import Handed, Monitor
from tests.support.ports import free_port

KILLS = 30  # in each of four tests: 120 in all
PROBATION = 3.0
SLACK = 2.0
ECHO = '#!/bin/sh\necho "$1"\n'
FAILURES = (OSError, xmlrpc.client.ProtocolError)


@pytest.fixture
def new() -> Iterator[Monitor]:
    """The server to move to; `monitor` is the old one."""
    monitor = Monitor(extended=True)
    monitor.start()
    yield monitor
    monitor.stop()


@pytest.fixture
def agent(tmp_path: Path, monitor: Monitor, new: Monitor) -> Iterator[AgentProcess]:
    """An agent whose server names the new one, and that gives it three seconds."""
    monitor.next_url = new.url
    agent = AgentProcess(tmp_path / "agent", monitor.url)
    agent.edit("timeout = 5", f"timeout = 2\nprobation = {PROBATION:.0f}")
    write_sensor(agent.directory, "echo", ECHO)
    agent.start()
    yield agent
    agent.kill()


def wait_until(is_so: Callable[[], object], what: str, seconds: float = 20.0) -> None:
    """Wait until a condition holds."""
    until = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < until, f"not within {seconds} s: {what}"
        time.sleep(0.005)


def server_of(agent: AgentProcess) -> str:
    """The server that its file names, which must be whole."""
    return settings.load(agent.config).monitor.url


def went_back(agent: AgentProcess, monitor: Monitor, new: Monitor, ticket: str = "move") -> None:
    """The agent is with the old server again, which learns of it and gets all that waits."""
    outcome = monitor.wait_for_ticket(ticket).content[1]
    agent.proxy().cmd_submit_reading(f"{ticket} after", "echo", [2])
    reading = monitor.wait_for_ticket(f"{ticket} after").content

    assert (outcome["status"], outcome["url"], outcome["tried"]) == ("error", monitor.url, new.url)
    assert outcome["message"].startswith(f"went back to {monitor.url}: {new.url} took no result")
    assert reading[:2] == [0, "2"]
    assert server_of(agent) == monitor.url
    assert outcome["message"] in agent.log.read_text()
    assert not (agent.directory / "var" / "move.json").exists()


# -- probation ----------------------------------------------------------------------------------------------------


def dying(server: Monitor) -> Callable[[], str]:
    """A healthcheck that is the last thing that this server does."""

    def healthy() -> str:
        threading.Thread(target=server.stop).start()
        time.sleep(0.2)
        return "OK"

    return healthy


def test_an_agent_goes_back_when_the_new_server_dies_after_the_move(
    monitor: Monitor, new: Monitor, agent: AgentProcess
) -> None:
    """After the probation, and not before: file, results and the outcome of the move are the old server's again."""
    before = agent.config.read_text()
    new.healthy = dying(new)
    started = time.monotonic()
    agent.proxy().cmd_update_config("move")
    wait_until(lambda: server_of(agent) == new.url, "the agent moves")
    for number in range(10):
        agent.proxy().cmd_submit_reading(number, "echo", [number])
    went_back(agent, monitor, new)
    took = time.monotonic() - started

    for number in range(10):
        assert monitor.wait_for_ticket(number).content[:2] == [0, str(number)]
    assert PROBATION <= took < PROBATION + SLACK + 2
    assert agent.config.read_text() == before
    assert new.handed == []


@pytest.mark.parametrize(
    "bad", ["a Fault", "HTTP 500", "a web page", "the end at once", "a string", "no answer", "HTTP 401"]
)
def test_an_agent_goes_back_from_a_server_that_is_well_and_takes_nothing(
    monitor: Monitor, new: Monitor, agent: AgentProcess, bad: str
) -> None:
    """Its healthcheck is fine all the time."""
    for method in ("cmd_store_probe_data", "cmd_store_command_result", "system.multicall"):
        new.spoilt[method] = BAD[bad].spoil
    agent.proxy().cmd_update_config("move")
    wait_until(lambda: server_of(agent) == new.url, "the agent moves")
    agent.proxy().cmd_submit_reading("between", "echo", [1])
    went_back(agent, monitor, new)

    assert monitor.wait_for_ticket("between").content[:2] == [0, "1"]
    assert new.handed == []


def test_one_result_that_the_new_server_takes_settles_the_move(
    monitor: Monitor, new: Monitor, agent: AgentProcess
) -> None:
    """Also when it dies right after: the agent stays, and all arrives when the server is back."""
    agent.proxy().cmd_update_config("move")
    new.wait_for_ticket("move")
    wait_until(lambda: "from now on" in agent.log.read_text(), "the move is settled")
    new.stop()
    agent.proxy().cmd_submit_reading("late", "echo", [1])
    time.sleep(PROBATION + 1)
    assert server_of(agent) == new.url
    assert monitor.handed == []
    new.start()

    assert new.wait_for_ticket("late").content[:2] == [0, "1"]
    assert new.results()["move"].content[1]["status"] == "ok"


def test_a_server_that_was_handed_nothing_and_is_well_stays(
    monitor: Monitor, new: Monitor, agent: AgentProcess
) -> None:
    """A move that sends no result, and no other work: a second healthcheck is all that there is to go by."""
    agent.proxy().cmd_register_new_server()
    wait_until(lambda: server_of(agent) == new.url, "the agent moves")
    wait_until(lambda: "asked to take nothing, and is well" in agent.log.read_text(), "the move is settled", 6)
    agent.proxy().cmd_submit_reading("after", "echo", [1])

    assert new.wait_for_ticket("after").content[:2] == [0, "1"]
    assert new.called.count("healthcheck") == 2
    assert not (agent.directory / "var" / "move.json").exists()


def test_a_server_that_was_handed_nothing_and_has_died_is_left(
    monitor: Monitor, new: Monitor, agent: AgentProcess
) -> None:
    """Nothing waits for it, but nothing would arrive there either."""
    new.healthy = dying(new)
    agent.proxy().cmd_register_new_server()
    wait_until(lambda: server_of(agent) == new.url, "the agent moves")
    wait_until(lambda: server_of(agent) == monitor.url, "the agent goes back", PROBATION + SLACK + 2)
    agent.proxy().cmd_submit_reading("after", "echo", [1])

    assert monitor.wait_for_ticket("after").content[:2] == [0, "1"]
    assert monitor.tickets() == ["after"]


def test_what_the_new_server_has_refused_for_good_is_offered_to_the_old_one_again(
    monitor: Monitor, new: Monitor, tmp_path: Path
) -> None:
    """It issued those tickets; the server on probation knew none of them, and has not proved to know anything."""
    monitor.next_url = new.url
    agent = AgentProcess(tmp_path / "other", monitor.url)
    agent.edit("timeout = 5", "timeout = 2\nprobation = 6")
    write_sensor(agent.directory, "echo", ECHO)
    new.refuse = lambda _ticket: True
    agent.start()
    try:
        agent.proxy().cmd_update_config("move")
        wait_until(lambda: server_of(agent) == new.url, "the agent moves")
        agent.proxy().cmd_submit_reading("between", "echo", [1])
        wait_until(lambda: "result refused ticket=between" in agent.log.read_text(), "the new server refuses")
        _half_a_minute_passes(agent)
        wait_until(lambda: "result rejected ticket=between" in agent.log.read_text(), "it refuses for good", 5)
        monitor.wait_for_ticket("move")

        assert monitor.wait_for_ticket("between", 5).content[:2] == [0, "1"]
    finally:
        agent.kill()


def _half_a_minute_passes(agent: AgentProcess) -> None:
    """As many tries as an agent makes in that time, but for the last one."""
    with contextlib.closing(sqlite3.connect(agent.directory / "var" / "journal.db", timeout=10)) as journal:
        journal.execute("update command set attempts = 4, next_try = 0 where ticket = 'between'")
        journal.commit()


def test_a_probation_goes_on_after_a_restart(monitor: Monitor, new: Monitor, agent: AgentProcess) -> None:
    """From its beginning: the new server gets all its time from the moment that the agent is up."""
    new.healthy = dying(new)
    agent.proxy().cmd_update_config("move")
    wait_until(lambda: server_of(agent) == new.url, "the agent moves")
    time.sleep(1)
    agent.kill()
    agent.start()
    started = time.monotonic()
    time.sleep(PROBATION - 1)
    assert server_of(agent) == new.url
    went_back(agent, monitor, new)

    assert time.monotonic() - started < PROBATION + SLACK + 2


def test_a_probation_goes_on_after_a_stop_during_which_the_new_server_has_come_to_life(
    monitor: Monitor, new: Monitor, agent: AgentProcess
) -> None:
    """It takes the outcome of the move, and stays."""
    new.healthy = dying(new)
    agent.proxy().cmd_update_config("move")
    wait_until(lambda: server_of(agent) == new.url, "the agent moves")
    agent.stop()
    new.start()
    agent.start()

    assert new.wait_for_ticket("move").content[1]["status"] == "ok"
    time.sleep(PROBATION + 1)
    assert server_of(agent) == new.url
    assert monitor.handed == []


def test_a_file_that_a_person_has_changed_between_two_runs_is_obeyed(
    monitor: Monitor, new: Monitor, agent: AgentProcess
) -> None:
    """The agent was on probation, was stopped, and its file names a third server now: nobody goes anywhere."""
    third = Monitor(extended=True)
    third.start()
    new.healthy = dying(new)
    agent.proxy().cmd_update_config("move")
    wait_until(lambda: server_of(agent) == new.url, "the agent moves")
    agent.stop()
    agent.edit(new.url, third.url)
    agent.start()
    try:
        third.wait_for_ticket("move")
        time.sleep(PROBATION + 1)
        assert server_of(agent) == third.url
        agent.proxy().cmd_submit_reading("after", "echo", [1])
        third.wait_for_ticket("after")
    finally:
        third.stop()


def test_from_two_bad_servers_in_a_row_an_agent_goes_back_to_the_last_good_one(
    monitor: Monitor, new: Monitor, agent: AgentProcess
) -> None:
    """The second move was made while the first was on probation; neither server has ever taken anything."""
    third = Monitor(extended=True)
    third.start()
    new.next_url = third.url
    for server in (new, third):
        server.refuse = lambda _ticket: True
    try:
        for ticket, there in (("first", new), ("second", third)):
            agent.proxy().cmd_update_config(ticket)
            wait_until(lambda: server_of(agent) == there.url, f"the {ticket} move is made")  # noqa: B023
        outcome = monitor.wait_for_ticket("second").content[1]
        first = monitor.wait_for_ticket("first").content[1]

        assert (outcome["status"], outcome["url"], outcome["tried"]) == ("error", monitor.url, third.url)
        assert first["status"] == "error", f"the old server reads {first['message']!r}"
        assert server_of(agent) == monitor.url
    finally:
        third.stop()


def test_a_server_that_comes_and_goes_is_left_and_may_be_tried_again(
    monitor: Monitor, new: Monitor, agent: AgentProcess
) -> None:
    """After having gone back the agent is as before: the next move, to a server that is well now, lasts."""
    new.refuse = lambda _ticket: True
    agent.proxy().cmd_update_config("move")
    went_back(agent, monitor, new)
    new.refuse = lambda _ticket: False
    agent.proxy().cmd_update_config("again")

    assert new.wait_for_ticket("again").content[1]["status"] == "ok"
    time.sleep(PROBATION + 0.5)
    assert server_of(agent) == new.url


def test_a_result_that_is_taken_just_when_the_probation_ends_is_told_to_the_server_that_the_agent_is_with(
    monitor: Monitor, new: Monitor, agent: AgentProcess
) -> None:
    """The new server was so slow to say OK that the agent has gone back: the old server hears of that, or it stays."""
    agent.edit("timeout = 2", "timeout = 6")
    agent.reload()
    new.on_taken = lambda: time.sleep(PROBATION + 1)
    agent.proxy().cmd_update_config("move")
    wait_until(lambda: server_of(agent) == new.url, "the agent moves")
    time.sleep(PROBATION + 3)

    if server_of(agent) == monitor.url:
        went_back(agent, monitor, new)
    else:
        agent.proxy().cmd_submit_reading("after", "echo", [1])
        new.wait_for_ticket("after")


def test_a_file_that_cannot_be_written_back_does_not_keep_an_agent_with_a_dead_server(
    monitor: Monitor, new: Monitor, agent: AgentProcess
) -> None:
    """It was broken by somebody during the probation: results go back, and the log says what the file names."""
    new.healthy = dying(new)
    agent.proxy().cmd_update_config("move")
    wait_until(lambda: server_of(agent) == new.url, "the agent moves")
    broken = agent.config.read_text() + "nonsense\n"
    agent.config.write_text(broken)
    outcome = monitor.wait_for_ticket("move").content[1]
    agent.proxy().cmd_submit_reading("after", "echo", [1])

    assert outcome["status"] == "error"
    assert monitor.wait_for_ticket("after").content[:2] == [0, "1"]
    assert agent.config.read_text() == broken
    assert f"still names {new.url}" in agent.log.read_text()


# -- kill -9 ------------------------------------------------------------------------------------------------------


def on_probation_and_killed(agent: AgentProcess, new: Monitor) -> dict[str, Any]:
    """Let it move to a server that refuses everything, and kill it there; what it has written down of the move."""
    new.refuse = lambda _ticket: True
    agent.proxy().cmd_update_config("move")
    wait_until(lambda: server_of(agent) == new.url, "the agent moves")
    wait_until(lambda: "result refused ticket=move" in agent.log.read_text(), "the new server refuses")
    agent.kill()
    return dict(json.loads((agent.directory / "var" / "move.json").read_text()))


def test_a_way_back_that_was_cut_off_is_finished_before_anything_is_delivered(
    monitor: Monitor, new: Monitor, agent: AgentProcess
) -> None:
    """The crash came when the file named the old server again: that server must not read that the agent has moved."""
    record = on_probation_and_killed(agent, new)
    message = f"went back to {monitor.url}: {new.url} took no result for 3 s"
    record["outcome"] |= {"status": "error", "message": message, "url": monitor.url, "tried": new.url}
    record["returning"] = True
    (agent.directory / "var" / "move.json").write_text(json.dumps(record))
    agent.edit(new.url, monitor.url)
    time.sleep(1.5)  # the refused outcome may be tried again at once
    agent.start()

    went_back(agent, monitor, new)


def test_a_second_move_that_was_cut_off_leaves_the_first_on_probation_however_often_it_starts(
    monitor: Monitor, new: Monitor, agent: AgentProcess
) -> None:
    """The crash came before the file named the third server; the next one comes right after the start."""
    record = on_probation_and_killed(agent, new)
    third = f"http://127.0.0.1:{free_port()}/xmlrpc/"
    second = {"origin": new.url, "url": third, "token": '[99, "second", "cmd_update_config", []]'}
    record |= second | {"earlier": [record["token"]]}
    (agent.directory / "var" / "move.json").write_text(json.dumps(record))
    agent.start()
    agent.kill()
    agent.start()

    went_back(agent, monitor, new)


class Operator:
    """Commands moves one after the other, and checks all the time, each until it is acknowledged."""

    def __init__(self, agent: AgentProcess, servers: tuple[Monitor, Monitor]) -> None:
        self.acknowledged: list[str] = []
        self._agent = agent
        self._servers = servers
        self._finished = threading.Event()
        self._threads = [threading.Thread(target=self._move), threading.Thread(target=self._check)]

    def start(self) -> None:
        """Begin."""
        for thread in self._threads:
            thread.start()

    def finish(self) -> None:
        """Send nothing new."""
        self._finished.set()
        for thread in self._threads:
            thread.join(60)

    def _move(self) -> None:
        number = 0
        while not self._finished.is_set():
            number += 1
            self._send(f"m{number}", lambda proxy, ticket: proxy.cmd_update_config(ticket))
            while not self._finished.is_set() and not any(f"m{number}" in one.tickets() for one in self._servers):
                time.sleep(0.005)

    def _check(self) -> None:
        number = 0
        while not self._finished.wait(0.03):
            number += 1
            self._send(
                f"c{number}", lambda proxy, ticket, number=number: proxy.cmd_submit_reading(ticket, "echo", [number])
            )

    def _send(self, ticket: str, send: Callable[[xmlrpc.client.ServerProxy, str], Any]) -> None:
        while not self._finished.is_set():
            try:
                assert send(self._agent.proxy(), ticket) == "OK"
            except FAILURES:
                time.sleep(0.01)
            else:
                self.acknowledged.append(ticket)
                return


def _wait_for_a_moment(agent: AgentProcess, servers: tuple[Monitor, Monitor], chance: random.Random) -> str:
    """Any moment; most often one at which a move is just being made, or settled. Returns what was waited for."""
    record, text = agent.directory / "var" / "move.json", agent.config.read_text()
    asked = sum(len(one.asked) for one in servers)
    taken = {one.url: len(one.handed) for one in servers}
    moments: dict[str, Callable[[], object]] = {
        "nothing": lambda: True,
        "asked": lambda: sum(len(one.asked) for one in servers) > asked,
        "recorded": record.exists,
        "written": lambda: agent.config.read_text() != text,
        "moved": lambda: (
            agent.config.read_text() != text
            and any(
                f"url = {one.url}\n" in agent.config.read_text() and len(one.handed) > taken[one.url] for one in servers
            )
        ),
        "settled": lambda: agent.config.read_text() != text and not record.exists(),
    }
    name = chance.choice(list(moments))
    until = time.monotonic() + 1.0
    while not moments[name]() and time.monotonic() < until:
        time.sleep(0.0001)
    most = 0.5 if name == "nothing" else chance.choice((0.0, 0.003, 0.02, 0.1))
    time.sleep(chance.uniform(0.0, most))
    return name


def _killed_again_and_again(
    agent: AgentProcess, servers: tuple[Monitor, Monitor], seed: int
) -> dict[int | str, Handed]:
    """Kill an agent whose servers send it from one to the other; everything that arrived in the end."""
    chance = random.Random(seed)
    texts = {agent.config.read_text().replace(servers[0].url, one.url) for one in servers}
    operator = Operator(agent, servers)
    operator.start()
    try:
        for _ in range(KILLS):
            agent.launch()
            if chance.random() < 0.9:
                agent.wait_until_up()
            moment = _wait_for_a_moment(agent, servers, chance)
            agent.kill()
            assert agent.config.read_text() in texts, moment
            assert server_of(agent) in {one.url for one in servers}
    finally:
        operator.finish()
    agent.start()

    def missing() -> set[str]:
        return set(operator.acknowledged) - {str(ticket) for one in servers for ticket in one.tickets()}

    wait_until(lambda: not missing(), "each acknowledged ticket has its result", 60)
    wait_until(lambda: agent.command("spool", "list", "--json").stdout.strip() == "[]", "nothing waits", 60)
    agent.proxy().cmd_submit_reading("c999999", "echo", [999999])  # what settles the last move, if need be
    wait_until(lambda: any("c999999" in one.tickets() for one in servers), "the last reading", 60)
    assert len(operator.acknowledged) > KILLS
    return servers[0].results() | servers[1].results()


@pytest.mark.parametrize("seed", range(2))
def test_a_move_is_made_once_and_told_truly_whenever_it_is_killed(
    tmp_path: Path, monitor: Monitor, new: Monitor, seed: int
) -> None:
    """Two good servers that send the agent to each other: the moves that were told are the moves that were made."""
    monitor.next_url, new.next_url = new.url, monitor.url
    agent = AgentProcess(tmp_path / "killed", monitor.url)
    write_sensor(agent.directory, "echo", ECHO)
    try:
        results = _killed_again_and_again(agent, (monitor, new), seed)
        wait_until(lambda: not (agent.directory / "var" / "move.json").exists(), "the last move is settled")
        final = server_of(agent)
    finally:
        agent.kill()
    moves = [one.content[1] for ticket, one in results.items() if str(ticket).startswith("m")]
    made = [move for move in moves if move["status"] == "ok" and move["url"] != move["previous"]]
    balance = {monitor.url: 1, new.url: 0}
    balance[final] -= 1
    for move in made:
        balance[move["url"]] += 1
        balance[move["previous"]] -= 1

    assert balance == {monitor.url: 0, new.url: 0}, [(move["status"], move["message"]) for move in moves]
    assert [move["message"] for move in moves if move["status"] != "ok"] == []
    assert len(made) > KILLS // 3
    for ticket, one in results.items():
        assert one.method == "cmd_store_command_result" or one.content[:2] == [0, str(ticket)[1:]]


@pytest.mark.parametrize("seed", range(2, 4))
def test_an_agent_that_is_killed_on_its_way_back_ends_with_the_server_that_takes_results(
    tmp_path: Path, monitor: Monitor, new: Monitor, seed: int
) -> None:
    """The new server is well and takes nothing; wherever the agent is killed, it comes back, and no ticket is lost."""
    monitor.next_url = new.url
    new.refuse = lambda _ticket: True
    new.next_url = new.url
    agent = AgentProcess(tmp_path / "killed", monitor.url)
    agent.edit("timeout = 5", "timeout = 5\nprobation = 0.3")
    write_sensor(agent.directory, "echo", ECHO)
    try:
        results = _killed_again_and_again(agent, (monitor, new), seed)
        wait_until(lambda: server_of(agent) == monitor.url, "the agent is back")
        wait_until(lambda: not (agent.directory / "var" / "move.json").exists(), "the last move is settled")
    finally:
        agent.kill()
    moves = [one.content[1] for ticket, one in results.items() if str(ticket).startswith("m")]

    assert new.handed == []
    assert [move["message"] for move in moves if move["status"] == "ok" and move["url"] == new.url] == []
    assert sum("tried" in move for move in moves) > 3
    for ticket, one in results.items():
        assert one.method == "cmd_store_command_result" or one.content[:2] == [0, str(ticket)[1:]]


def test_a_move_that_is_settled_before_its_outcome_is_written_is_not_made_again(
    tmp_path: Path, monitor: Monitor, new: Monitor
) -> None:
    """The new server takes what had waited at once; the agent is killed the moment that settles the move."""
    monitor.next_url, new.next_url = new.url, monitor.url
    record = tmp_path / "killed" / "var" / "move.json"
    for number in range(4):
        agent = AgentProcess(tmp_path / "killed", monitor.url)
        write_sensor(agent.directory, "echo", ECHO)
        agent.start()
        try:
            new.healthy = _after_some_work(agent, monitor, number)
            agent.proxy().cmd_update_config(f"move {number}")
            wait_until(record.exists, "the move is made")
            while record.exists():
                time.sleep(0.0001)
            agent.kill()
            asked = len(new.asked)
            agent.start()
            outcome = new.wait_for_ticket(f"move {number}").content[1]
        finally:
            agent.kill()
            monitor.stop()
            monitor.start()

        assert (outcome["status"], outcome["url"], outcome["previous"]) == ("ok", new.url, monitor.url)
        assert len(new.asked) == asked == 0, "the move was made twice"
        assert server_of(agent) == new.url


def _after_some_work(agent: AgentProcess, monitor: Monitor, number: int) -> Callable[[], str]:
    """A healthcheck during which the old server dies and results begin to wait."""

    def healthy() -> str:
        monitor.stop()
        for check in range(20):
            agent.proxy().cmd_submit_reading(f"check {number}-{check}", "echo", [1])
        time.sleep(0.3)
        return "OK"

    return healthy
