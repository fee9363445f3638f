"""The promise: an acknowledged ticket ends exactly once at the server."""

from __future__ import annotations

import random
import signal
import threading
import time
import xmlrpc.client
from collections import Counter
from pathlib import Path

import pytest
from sqlalchemy import select

from monagent.errors import Unavailable
from monagent.server import schema
from monagent.server.service import Server
from tests.conftest import StartAgent
from tests.support.agent import AgentProcess, write_sensor
from tests.support.monitor import Monitor
from tests.support.processes import is_running
from tests.support.server import known_host, reading, send_checks, server_in

KILLS = 50  # in each of four tests: 200 in all
ECHO = '#!/bin/sh\necho "$1"\n'


@pytest.mark.parametrize("seed", range(4))
def test_every_acknowledged_ticket_survives_kill_9_at_random_moments(tmp_path: Path, seed: int) -> None:
    """Whatever moment the agent is killed at, each acknowledged ticket ends as one row at the server."""
    chance = random.Random(seed)
    server = server_in(tmp_path)
    server.start()
    agent = AgentProcess(tmp_path / "agent", server.url)
    write_sensor(agent.directory, "echo", ECHO)
    host = known_host(server.database, "victim", port=agent.port)
    acknowledged: list[str] = []
    finished = threading.Event()

    def command() -> None:
        number = 0
        while not finished.is_set():
            number += 1
            checks = [("echo", [str(number)])] * chance.choice((1, 5, 20))
            try:
                answers = send_checks(server.database, host, checks)
                acknowledged.extend(answer for answer in answers if isinstance(answer, str))
            except Unavailable:
                time.sleep(0.01)

    commander = threading.Thread(target=command)
    commander.start()
    try:
        for _ in range(KILLS):
            agent.launch()
            if chance.random() < 0.75:  # most often while it works, sometimes while it is still starting
                agent.wait_until_up()
            time.sleep(chance.uniform(0.0, 0.25))
            agent.kill()
    finally:
        finished.set()
        commander.join(30)
    agent.start()
    try:
        waiting = set(acknowledged)
        until = time.monotonic() + 60
        while waiting and time.monotonic() < until:
            waiting -= _done(server, waiting)
            time.sleep(0.1)

        assert not waiting, f"{len(waiting)} of {len(acknowledged)} acknowledged tickets never arrived"
        assert len(acknowledged) > KILLS, "the agent was hardly up between the kills"
        # One row a ticket is what the schema enforces; that each row is right is what is looked at here.
        lost = [ticket for ticket in acknowledged[:200] if reading(server.database, ticket) is None]
        assert lost == []
    finally:
        agent.kill()
        server.stop()


def _done(server: Server, tickets: set[str]) -> set[str]:
    """Those of the tickets whose result has arrived."""
    ordered = sorted(tickets)
    chunks = [ordered[start : start + 500] for start in range(0, len(ordered), 500)]
    known = schema.ticket.c
    with server.database.read() as db:
        return {
            ticket
            for chunk in chunks
            for ticket in db.execute(
                select(known.ticket).where(known.ticket.in_(chunk), known.state == "done")
            ).scalars()
        }


def test_results_survive_a_server_that_goes_away_under_load(monitor: Monitor, make_agent: StartAgent) -> None:
    """The server is stopped and started while results pour in: each arrives, and in the end nothing waits."""
    agent = make_agent(monitor.url)
    write_sensor(agent.directory, "echo", ECHO)
    agent.start()
    proxy = agent.proxy()
    sent: list[str] = []
    for round_number in range(6):
        if round_number in (1, 4):
            monitor.stop()
        if round_number in (3, 5):
            monitor.start()
        batch = xmlrpc.client.MultiCall(proxy)
        for number in range(50):
            sent.append(f"{round_number}-{number}")
            batch.cmd_submit_reading(sent[-1], "echo", [number])
        assert batch().results == [["OK"]] * 50
        time.sleep(0.3)
    monitor.wait_for(len(sent))

    assert Counter(monitor.tickets()) == Counter(sent)
    assert agent.command("spool", "list", "--json").stdout.strip() == "[]"


def test_a_command_runs_once_however_often_its_ticket_is_sent(monitor: Monitor, make_agent: StartAgent) -> None:
    """Ten clients send the same tickets at once: each sensor runs once, each result arrives once."""
    agent = make_agent(monitor.url)
    runs = agent.directory / "runs"
    write_sensor(agent.directory, "once", f'#!/bin/sh\necho "$1" >> {runs}\necho 1\n')
    agent.start()

    def send() -> None:
        proxy = agent.proxy()
        for number in range(20):
            assert proxy.cmd_submit_reading(f"t{number}", "once", [str(number)]) == "OK"

    clients = [threading.Thread(target=send) for _ in range(10)]
    for client in clients:
        client.start()
    for client in clients:
        client.join(60)
    monitor.wait_for(20)
    time.sleep(0.5)

    assert sorted(runs.read_text().split(), key=int) == [str(number) for number in range(20)]
    assert len(monitor.handed) == 20


def test_work_is_finished_before_a_told_agent_stops_and_the_rest_is_kept(
    monitor: Monitor, make_agent: StartAgent
) -> None:
    """TERM lets the running check end, keeps the queued ones, and a restart delivers every one of them."""
    agent = make_agent(monitor.url, "workers = 1")
    write_sensor(agent.directory, "slow", "#!/bin/sh\nsleep 0.5\necho 1\n")
    agent.start()
    proxy = agent.proxy()
    for number in range(4):
        proxy.cmd_submit_reading(f"t{number}", "slow")
    time.sleep(0.2)

    assert agent.stop() == 0
    assert len(monitor.handed) < 4
    agent.start()
    monitor.wait_for(4)
    assert sorted(map(str, monitor.tickets())) == ["t0", "t1", "t2", "t3"]


def test_a_second_signal_quits_at_once_and_loses_nothing(monitor: Monitor, make_agent: StartAgent) -> None:
    """Two INTs end the agent without waiting for a long check, whose process dies too; it runs again after a restart."""
    agent = make_agent(monitor.url)
    pids = agent.directory / "pids"
    write_sensor(
        agent.directory, "long", f"#!/bin/sh\necho $$ >> {pids}\n[ -e {agent.directory}/go ] || sleep 20\necho 1\n"
    )
    agent.start()
    agent.proxy().cmd_submit_reading("t", "long")
    until = time.monotonic() + 10
    while not pids.exists() and time.monotonic() < until:
        time.sleep(0.01)
    started = time.monotonic()
    agent.signal(signal.SIGINT)
    time.sleep(0.2)
    agent.signal(signal.SIGINT)

    assert agent.wait(5) == 128 + signal.SIGINT
    assert time.monotonic() - started < 5
    assert not is_running(int(pids.read_text()))
    (agent.directory / "go").touch()
    agent.start()
    assert monitor.wait_for_ticket("t").content[:2] == [0, "1"]
