"""An agent in this process: its start, its end, and what it gives back when it cannot start."""

from __future__ import annotations

import logging
import os
import socket
import subprocess
import sys
import threading
import time
import xmlrpc.client
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from monagent.agent import alerts
from monagent.agent.lock import StateLock
from monagent.agent.service import Agent
from monagent.config import settings
from monagent.errors import AlreadyRunning, JournalError
from tests.support.agent import write_sensor
from tests.support.monitor import Monitor
from tests.support.smtp import MailServer

MakeAgent = Callable[..., Agent]


@pytest.fixture
def make(tmp_path: Path, monitor: Monitor) -> Iterator[MakeAgent]:
    """Makes agents in the test's directory."""
    made: list[Agent] = []

    def make(port: int = 0, extra: str = "") -> Agent:
        config = tmp_path / "client.cfg"
        config.write_text(f"[monitor]\nurl = {monitor.url}\n[agent]\nport = {port}\n{extra}\n")
        (tmp_path / "sensors").mkdir(exist_ok=True)
        made.append(Agent(settings.load(config)))
        return made[-1]

    yield make
    for agent in made:
        if agent._endpoint._thread is not None:
            agent.stop(0.1)


def proxy(agent: Agent) -> xmlrpc.client.ServerProxy:
    """A standard client for it."""
    return xmlrpc.client.ServerProxy(f"http://127.0.0.1:{agent.address[1]}/RPC2", allow_none=True)


def test_an_agent_takes_a_free_port_and_does_its_work(make: MakeAgent, tmp_path: Path, monitor: Monitor) -> None:
    """From the command to the result."""
    write_sensor(tmp_path, "echo", '#!/bin/sh\necho "$1"\n')
    agent = make()
    agent.start()

    assert agent.address[1] > 0
    assert proxy(agent).cmd_submit_reading("t", "echo", [5]) == "OK"
    assert monitor.wait_for_ticket("t").content[:2] == [0, "5"]


def test_the_status_counts_what_waits(make: MakeAgent, tmp_path: Path, monitor: Monitor) -> None:
    """Queues, sensors, version and the last delivery in UTC."""
    write_sensor(tmp_path, "slow", f"#!/bin/sh\nwhile [ ! -e {tmp_path}/go ]; do sleep 0.05; done\necho 1\n")
    agent = make(extra="workers = 1")
    agent.start()
    for number in range(3):
        proxy(agent).cmd_submit_reading(number, "slow")
    until = time.monotonic() + 20
    while agent.status()["queues"]["running"] != 1 and time.monotonic() < until:
        time.sleep(0.01)
    status = agent.status()

    assert status["queues"] == {"waiting": 2, "running": 1, "undelivered": 0, "rejected": 0}
    assert (status["sensors"], status["last_delivery"]) == (["slow"], "")
    assert status["uptime"] > 0
    (tmp_path / "go").touch()
    monitor.wait_for(3)
    until = time.monotonic() + 20
    while not agent.status()["last_delivery"] and time.monotonic() < until:
        time.sleep(0.01)
    delivered = time.mktime(time.strptime(agent.status()["last_delivery"], "%Y-%m-%dT%H:%M:%SZ")) - time.timezone
    assert abs(delivered - time.time()) < 60


def test_a_port_that_is_taken_leaves_nothing_behind(make: MakeAgent, tmp_path: Path) -> None:
    """Neither the lock nor the journal nor a thread."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        agent = make(port=taken.getsockname()[1])
        before = set(threading.enumerate())
        with pytest.raises(AlreadyRunning, match=f"port {taken.getsockname()[1]}"):
            agent.start()

    assert set(threading.enumerate()) <= before
    lock = StateLock(tmp_path / "var")
    lock.acquire()
    lock.release()


def test_a_second_agent_in_the_same_directory_is_refused(make: MakeAgent) -> None:
    """By the pid of the first, and the first goes on."""
    first, second = make(), make()
    first.start()

    with pytest.raises(AlreadyRunning, match=f"pid {os.getpid()}"):
        second.start()
    assert proxy(first).healthcheck() == "OK"


def test_a_journal_that_cannot_be_opened_releases_the_lock(make: MakeAgent, tmp_path: Path) -> None:
    """So that a repaired one can be used at once."""
    (tmp_path / "var").mkdir()
    (tmp_path / "var" / "journal.db").write_bytes(b"garbage" * 1000)
    agent = make()
    with pytest.raises(JournalError):
        agent.start()
    (tmp_path / "var" / "journal.db").unlink()
    again = make()
    again.start()

    assert proxy(again).healthcheck() == "OK"


def test_stopping_gives_everything_back(make: MakeAgent, tmp_path: Path) -> None:
    """Threads, port and lock; and the next agent can start at once."""
    before = set(threading.enumerate())
    agent = make()
    agent.start()
    port = agent.address[1]
    proxy(agent).healthcheck()
    agent.stop(1)
    agent._endpoint._thread = None

    assert {thread.name for thread in set(threading.enumerate()) - before} <= set()
    again = make(port=port)
    again.start()
    assert proxy(again).healthcheck() == "OK"


def test_listening_beyond_loopback_without_tls_is_said_loudly(
    make: MakeAgent, caplog: pytest.LogCaptureFixture
) -> None:
    """At each start."""
    caplog.set_level(logging.WARNING)
    make(extra="[security]\ninsecure = yes").start()

    assert "INSECURE" in caplog.text


def test_a_bad_reading_is_mailed_by_the_agent_itself(
    make: MakeAgent, tmp_path: Path, monitor: Monitor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And a good one, in the same thread; a reload takes the alert away."""
    monkeypatch.setattr(alerts, "GROUP_SECONDS", 0.1)
    write_sensor(tmp_path, "echo", '#!/bin/sh\necho "$1"\n')
    with MailServer() as server:
        agent = make(
            extra=f"[mail]\nhost = 127.0.0.1:{server.port}\nsender = mon@b.c\n[mail:ops]\nto = a@b.c\n"
            "[alert:high]\nsensor = echo\ncritical = ~:5\nmail = ops\n"
        )
        agent.start()
        for number, value in enumerate((1, 9, 9)):
            proxy(agent).cmd_submit_reading(f"t{number}", "echo", [value])
            monitor.wait_for_ticket(f"t{number}")
        (alarm,) = server.wait(1)
        # Arguments are part of the check, and each check is watched on its own.
        assert alarm.mail["subject"] == f"CRITICAL: echo 9 on {socket.gethostname()} (9)"
        config = tmp_path / "client.cfg"
        config.write_text(config.read_text().replace("~:5", "~:10"))
        agent.reload(lambda: settings.load(config))
        proxy(agent).cmd_submit_reading("t3", "echo", [9])
        _, end = server.wait(2)

    assert end.mail["subject"] == f"OK: echo 9 on {socket.gethostname()} (9)"
    assert end.mail["in-reply-to"] == alarm.mail["message-id"]
    assert agent.status()["mails"] == {"waiting": 0, "sent": 2, "problem": ""}


def test_an_agent_that_never_mails_loads_nothing_for_it() -> None:
    """Its memory stays what it was."""
    code = "import sys, monagent.agent.service; print([n for n in ('jinja2', 'smtplib', 'PIL') if n in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)

    assert done.stdout == "[]\n"
