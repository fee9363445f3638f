"""`cmd_sync_backup` against a real agent: the ticket, the job, the report, and what the agent says of itself."""

from __future__ import annotations

import contextlib
import http.client
import os
import signal
import sqlite3
import time
import xmlrpc.client
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import StartAgent
from tests.support.agent import AgentProcess
from tests.support.monitor import Monitor
from tests.support.processes import is_running
from tests.support.trees import look, scramble, write

JOB = "[backup:data]\nsource = {source}\ntarget = {target}\nnice = 0\n"


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A directory of small files."""
    scramble(tmp_path / "source", 1)
    time.sleep(0.06)
    return tmp_path / "source"


@pytest.fixture
def agent(make_agent: StartAgent, monitor: Monitor, source: Path, tmp_path: Path) -> AgentProcess:
    """With a job, and not started."""
    return make_agent(monitor.url, JOB.format(source=source, target=tmp_path / "target"))


def ready(agent: AgentProcess, path: str = "/readyz") -> tuple[int, str]:
    """What one of its pages says."""
    connection = http.client.HTTPConnection("127.0.0.1", agent.port, timeout=10)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


def ask(agent: AgentProcess, method: str, *params: Any) -> Any:
    """Call a method, and hang up."""
    with agent.proxy() as server:
        return getattr(server, method)(*params)


def slow_down(agent: AgentProcess, source: Path, bandwidth: str, size: int) -> None:
    """A run takes long: it copies and reads back so much, and no faster."""
    agent.edit("nice = 0", f"nice = 0\nbandwidth = {bandwidth}")
    write(source, {"big": os.urandom(size)})


def outcome_of(monitor: Monitor, ticket: str) -> dict[str, Any]:
    """What came back under a ticket."""
    _, outcome = monitor.wait_for_ticket(ticket).content
    return dict(outcome)


def test_a_job_is_done_and_reported(agent: AgentProcess, monitor: Monitor, source: Path, tmp_path: Path) -> None:
    """With counts and the first items, under its ticket."""
    agent.start()
    assert ask(agent, "cmd_sync_backup", "s-1", "data") == "OK"
    outcome = outcome_of(monitor, "s-1")

    assert (outcome["status"], outcome["result"], outcome["mode"]) == ("ok", "synced", "sync")
    assert (outcome["done"]["copied"], outcome["compared"]["left_only"]) == (40, 45)
    assert {"path": "d0", "what": "made", "detail": "", "size": 0} in outcome["differences"]
    assert look(source) == look(tmp_path / "target")

    (source / "d0/f0").unlink()
    write(source, {"d1/f1": "another"})
    ask(agent, "cmd_sync_backup", "s-2", "data", "check")
    outcome = outcome_of(monitor, "s-2")
    assert (outcome["status"], outcome["result"], outcome["left"]) == ("error", "different", {"differs": 1})
    assert outcome["compared"]["right_only"] == 1

    ask(agent, "cmd_sync_backup", "s-3", "data", None)
    assert outcome_of(monitor, "s-3")["done"]["updated"] == 1


@pytest.mark.parametrize(
    "arguments",
    [(), ("nothing",), ("data", "full-check"), ("data", "sync", "more"), (7,), ("data", 1), ("",), ("/etc",), ([],)],
)
def test_only_what_is_configured_can_be_named(agent: AgentProcess, arguments: tuple[Any, ...]) -> None:
    """Everything else is a fault, and nothing is done."""
    agent.start()
    with pytest.raises(xmlrpc.client.Fault) as caught:
        ask(agent, "cmd_sync_backup", "t", *arguments)
    assert caught.value.faultCode == -32602


def test_a_job_that_must_not_run_says_why(agent: AgentProcess, monitor: Monitor, source: Path) -> None:
    """As its ticket's outcome."""
    agent.start()
    source.rename(source.with_name("away"))
    ask(agent, "cmd_sync_backup", "s", "data")
    outcome = outcome_of(monitor, "s")

    assert outcome["status"] == "error"
    assert "is not there: is it mounted?" in outcome["message"]


def test_checks_go_on_beside_a_long_sync(agent: AgentProcess, monitor: Monitor, source: Path) -> None:
    """And `cmd_status` tells how far it is."""
    slow_down(agent, source, "200K", 400_000)
    write(agent.directory, {"sensors/one/check": "#!/bin/sh\necho 1\n"})
    (agent.directory / "sensors/one/check").chmod(0o755)
    agent.start()
    ask(agent, "cmd_sync_backup", "long", "data")
    time.sleep(1.5)
    ask(agent, "cmd_submit_reading", "check", "one")
    ask(agent, "cmd_status", "status")

    assert monitor.wait_for_ticket("check").content[1] == "1"
    running = outcome_of(monitor, "status")["backups"]["data"]
    assert (running["mode"], running["round"]) == ("sync", 1)
    assert running["bytes"] > 0
    assert "long" not in monitor.results()
    assert outcome_of(monitor, "long")["status"] == "ok"


def test_a_sync_that_is_killed_is_told(agent: AgentProcess, monitor: Monitor, source: Path) -> None:
    """The agent lives on, and the next run does what is left."""
    slow_down(agent, source, "50K", 400_000)
    agent.start()
    ask(agent, "cmd_sync_backup", "killed", "data")
    time.sleep(1.0)
    for pid in helpers(agent):
        os.kill(pid, signal.SIGKILL)
    outcome = outcome_of(monitor, "killed")

    assert outcome["status"] == "error"
    assert "was it killed?" in outcome["message"]
    agent.edit("bandwidth = 50K", "bandwidth = none")
    agent.reload()
    ask(agent, "cmd_sync_backup", "again", "data")
    assert outcome_of(monitor, "again")["status"] == "ok"


def test_a_second_ticket_for_a_running_job_is_refused(agent: AgentProcess, monitor: Monitor, source: Path) -> None:
    """And costs the first one nothing."""
    slow_down(agent, source, "200K", 300_000)
    agent.start()
    ask(agent, "cmd_sync_backup", "first", "data")
    time.sleep(1.2)
    ask(agent, "cmd_sync_backup", "second", "data", "check")

    assert "another run of this job is under way" in outcome_of(monitor, "second")["message"]
    assert outcome_of(monitor, "first")["status"] == "ok"


def test_an_agent_that_is_killed_takes_its_sync_with_it(
    agent: AgentProcess, monitor: Monitor, source: Path, tmp_path: Path
) -> None:
    """And does it after its next start, under the same ticket."""
    slow_down(agent, source, "50K", 400_000)
    agent.start()
    ask(agent, "cmd_sync_backup", "s", "data")
    time.sleep(1.0)
    left = helpers(agent)
    agent.kill()
    until = time.monotonic() + 10
    while any(map(is_running, left)) and time.monotonic() < until:
        time.sleep(0.05)

    assert len(left) >= 2
    assert not [pid for pid in left if is_running(pid)]
    agent.edit("bandwidth = 50K", "bandwidth = none")
    agent.start()
    assert outcome_of(monitor, "s")["status"] == "ok"
    assert look(source) == look(tmp_path / "target")


def test_a_job_without_success_for_too_long_is_a_problem(agent: AgentProcess, monitor: Monitor) -> None:
    """In `/readyz`, for doctor and in the history; also one that never ran."""
    agent.edit("nice = 0", "nice = 0\nmax_age = 1s")
    agent.start()
    until = time.monotonic() + 15
    while ready(agent)[0] == 200 and time.monotonic() < until:
        time.sleep(0.2)

    status, text = ready(agent)
    assert status == 503
    assert text.startswith('the backup "data" never succeeded in'), text
    assert 'monagent_backup_overdue{job="data"} 1.0' in ready(agent, "/metrics")[1]
    assert "PROBLEM [backup:data] has succeeded within its max_age" in agent.command("doctor").stdout
    assert 'problem: the backup "data"' in agent.command("sync", "data", "--history").stdout
    agent.edit("max_age = 1s", "max_age = 1h")
    agent.reload()
    ask(agent, "cmd_sync_backup", "s", "data")
    assert outcome_of(monitor, "s")["status"] == "ok"
    assert ready(agent) == (200, "ok\n")
    assert 'monagent_backup_overdue{job="data"} 0.0' in ready(agent, "/metrics")[1]


def test_the_command_line_uses_the_same_memory(agent: AgentProcess, monitor: Monitor) -> None:
    """What the agent copied is known to `monagent sync`, and both are in its history."""
    agent.start()
    ask(agent, "cmd_sync_backup", "s", "data")
    outcome_of(monitor, "s")
    done = agent.command("sync", "data", "--check", "--full")

    assert (done.returncode, "every byte read" in done.stdout) == (0, True)
    history = agent.command("sync", "data", "--history").stdout.splitlines()
    assert [line.split()[1] for line in history[:2]] == ["full", "sync"]
    with contextlib.closing(sqlite3.connect(agent.directory / "var/sync/data/sync.db")) as database:
        assert database.execute("SELECT count(*) FROM runs").fetchone() == (2,)


def helpers(agent: AgentProcess) -> list[int]:
    """The processes that sync for an agent."""
    pids = [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]
    return [pid for pid in pids if b"monagent.sync.helper" in _read(pid, "cmdline") and _descends(pid, agent.pid)]


def _descends(pid: int, ancestor: int) -> bool:
    while pid > 1 and pid != ancestor:
        pid = int(_read(pid, "stat").rpartition(b")")[2].split()[1] or 0)
    return pid == ancestor


def _read(pid: int, name: str) -> bytes:
    try:
        return Path(f"/proc/{pid}/{name}").read_bytes()
    except OSError:
        return b"(gone) X 0"
