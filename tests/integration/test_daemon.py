"""`monagent start|stop|restart|reload|status`: as an administrator uses them, with real processes."""

from __future__ import annotations

import contextlib
import json
import os
import pwd
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from monagent.agent import lock
from monagent.cli import daemon
from tests.support.agent import AgentProcess, write_sensor
from tests.support.monitor import Monitor
from tests.support.processes import is_running
from tests.support.rights import needs_root

SLOW = "#!/bin/sh\nsleep 1\necho 7\n"


@pytest.fixture
def agent(monitor: Monitor, tmp_path: Path) -> Iterator[AgentProcess]:
    """An agent's directory; what runs there is ended after the test."""
    one = AgentProcess(tmp_path / "agent", monitor.url)
    write_sensor(one.directory, "slow", SLOW)
    yield one
    with contextlib.suppress(OSError):  # perhaps it never was
        if pid := lock.holder(one.directory / "var"):
            os.kill(pid, signal.SIGKILL)


def pid_of(agent: AgentProcess) -> int | None:
    """As `monagent status` tells it."""
    told = json.loads(agent.command("status", "--json").stdout)
    return int(told["pid"]) if told["running"] else None


def started(agent: AgentProcess) -> int:
    """Start it; returns the daemon's process."""
    done = agent.command("start")
    assert done.returncode == 0, done.stderr
    pid = pid_of(agent)
    assert pid is not None
    return pid


def gone(pid: int) -> None:
    """Wait for a process's end."""
    until = time.monotonic() + 10
    while is_running(pid):
        assert time.monotonic() < until
        time.sleep(0.01)


def log_of(agent: AgentProcess) -> str:
    """What the daemon has logged."""
    return (agent.directory / "var" / "agent.log").read_text()


def wait_for_line(agent: AgentProcess, text: str) -> None:
    """Wait until the daemon has logged it."""
    until = time.monotonic() + 10
    while text not in log_of(agent):
        assert time.monotonic() < until, log_of(agent)
        time.sleep(0.01)


# -- its life -----------------------------------------------------------------------------------------------------


def test_start_returns_when_it_takes_commands_and_stop_when_it_has_ended(agent: AgentProcess, monitor: Monitor) -> None:
    """Stop lets running work finish; the result is at the server when it returns."""
    pid = started(agent)
    assert agent.proxy().cmd_submit_reading("t1", "slow") == "OK"
    time.sleep(0.3)
    done = agent.command("stop")

    assert done.returncode == 0
    assert str(pid) in done.stderr
    assert not is_running(pid)
    assert monitor.wait_for_ticket("t1").content[:2] == [0, "7"]
    assert agent.command("status").returncode == 1


def test_it_is_a_daemon(agent: AgentProcess) -> None:
    """A session without a terminal that it does not lead, / as its directory, nothing of ours open."""
    reader, writer = os.pipe()
    os.set_inheritable(writer, True)
    try:
        done = subprocess.run(
            [*agent.program, "start", "-c", str(agent.config)], pass_fds=[writer], capture_output=True, timeout=30
        )
        assert done.returncode == 0
        pid = pid_of(agent)
        assert pid is not None
        held = {str(path.readlink()) for path in Path(f"/proc/{pid}/fd").iterdir()}
        pipe = str(Path(f"/proc/self/fd/{writer}").readlink())
    finally:
        os.close(reader)
        os.close(writer)

    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    assert pipe not in held
    assert Path(f"/proc/{pid}/cwd").readlink() == Path("/")
    assert os.getsid(pid) != pid
    assert os.getsid(pid) != os.getsid(0)
    assert fields[4] == "0"  # no terminal


def test_a_second_start_says_who_runs_and_the_first_goes_on(agent: AgentProcess, monitor: Monitor) -> None:
    """Exit 75, nothing changed."""
    pid = started(agent)
    done = agent.command("start")

    assert (done.returncode, str(pid) in done.stderr) == (75, True)
    assert pid_of(agent) == pid
    assert agent.proxy().cmd_submit_reading("t2", "slow") == "OK"
    assert monitor.wait_for_ticket("t2").content[:2] == [0, "7"]


def test_nothing_is_left_to_clean_up_after_a_kill(agent: AgentProcess, monitor: Monitor) -> None:
    """What was acknowledged is done by the next one."""
    pid = started(agent)
    assert agent.proxy().cmd_submit_reading("t3", "slow") == "OK"
    os.kill(pid, signal.SIGKILL)
    gone(pid)

    assert agent.command("status").returncode == 1
    assert started(agent) != pid
    assert monitor.wait_for_ticket("t3").content[:2] == [0, "7"]


def test_a_stale_pid_blocks_nothing_and_its_new_owner_is_left_alone(agent: AgentProcess) -> None:
    """The lock counts, not what the file says."""
    stranger = subprocess.Popen(["/bin/sleep", "60"])
    try:
        (agent.directory / "var").mkdir(exist_ok=True)
        (agent.directory / "var" / "agent.lock").write_text(f"{stranger.pid}\n")
        stop = agent.command("stop")
        assert (stop.returncode, stranger.poll()) == (0, None)
        assert started(agent) != stranger.pid
    finally:
        stranger.kill()
        stranger.wait()


def test_restart_comes_back_as_another_process(agent: AgentProcess) -> None:
    """On the same port; where none runs it just starts."""
    pid = started(agent)
    assert agent.command("restart").returncode == 0
    another = pid_of(agent)
    assert another not in (None, pid)
    assert agent.command("stop").returncode == 0
    assert agent.command("restart").returncode == 0
    assert pid_of(agent) not in (None, pid, another)


def test_stop_and_reload_of_what_does_not_run(agent: AgentProcess) -> None:
    """It is stopped already; there is nobody to be told."""
    assert agent.command("stop").returncode == 0
    assert agent.command("reload").returncode == 1


def test_a_trouble_after_the_start_goes_to_the_log_and_into_no_other_file(tmp_path: Path) -> None:
    """The number of the descriptor that the terminal was told by may be another file's by then."""
    reader, writer = os.pipe()
    report = daemon._Report(writer)
    report.tell(0, "it runs")
    precious = os.open(tmp_path / "journal", os.O_RDWR | os.O_CREAT)
    os.dup2(precious, writer)
    report.tell(74, "the disk is gone")

    assert os.read(reader, 100) == b"0\nit runs"
    assert (tmp_path / "journal").read_bytes() == b""
    for descriptor in {reader, writer, precious}:
        os.close(descriptor)


def test_a_daemon_that_does_not_come_up_is_not_waited_for_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    """Exit 75: it may yet."""
    monkeypatch.setattr(daemon, "START_SECONDS", 0.1)
    reader, writer = os.pipe()

    assert daemon._awaited(reader)[0] == 75
    os.close(writer)


# -- mistakes -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["restart", "reload"])
def test_a_wrong_configuration_never_costs_the_running_agent(agent: AgentProcess, command: str) -> None:
    """The mistake is told at the terminal with its line, and nothing happens."""
    pid = started(agent)
    agent.edit("timeout = 5", "timeout = soon")
    done = agent.command(command)

    assert done.returncode == 78
    assert f"{agent.config}:3 [monitor] timeout" in done.stderr
    assert pid_of_lock(agent) == pid
    assert is_running(pid)


def pid_of_lock(agent: AgentProcess) -> int:
    """Where the configuration cannot be read now."""
    return int((agent.directory / "var" / "agent.lock").read_text())


def test_a_wrong_configuration_keeps_nobody_from_looking_and_stopping(agent: AgentProcess) -> None:
    """The mistakes are told beside it; where the agent works can still be read."""
    pid = started(agent)
    agent.edit("timeout = 5", "timeout = soon")
    agent.edit("[agent]\n", "[agent]\nworkers = eight\nnonsense = 3\n")
    told = agent.command("status", "--json")
    assert (told.returncode, json.loads(told.stdout)["pid"]) == (0, pid)
    assert "[agent] workers" in told.stderr
    done = agent.command("stop")

    assert done.returncode == 0
    assert not is_running(pid)


def test_an_occupied_port_is_told_at_the_terminal(agent: AgentProcess) -> None:
    """Exit 75; nothing stays behind."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", agent.port))
        other.listen()
        done = agent.command("start")

    assert done.returncode == 75
    assert f"port {agent.port}" in done.stderr
    assert pid_of(agent) is None


def test_a_state_directory_that_cannot_be_made_is_told_at_the_terminal(agent: AgentProcess) -> None:
    """A file is in its place."""
    (agent.directory / "var").write_text("")
    done = agent.command("start")

    assert done.returncode == 74
    assert str(agent.directory / "var") in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_journal_that_cannot_be_opened_is_told_at_the_terminal_too(agent: AgentProcess) -> None:
    """Though that is found after it has detached."""
    (agent.directory / "var").mkdir()
    (agent.directory / "var" / "journal.db").write_text("this is no database" * 100)
    done = agent.command("start")

    assert done.returncode == 74
    assert "journal.db" in done.stderr
    assert pid_of(agent) is None


def test_a_user_that_does_not_exist_is_a_mistake_in_the_configuration(agent: AgentProcess) -> None:
    """With its line."""
    agent.edit("[agent]\n", "[agent]\nuser = no-such-user\n")
    done = agent.command("start")

    assert done.returncode == 78
    assert "no-such-user" in done.stderr


# -- its log ------------------------------------------------------------------------------------------------------


def test_a_log_that_was_moved_away_is_made_anew(agent: AgentProcess) -> None:
    """As logrotate does it, with `monagent reload` behind it."""
    started(agent)
    log = agent.directory / "var" / "agent.log"
    log.rename(log.with_suffix(".1"))
    assert agent.command("reload").returncode == 0
    until = time.monotonic() + 10
    while not log.exists() or "settings loaded again" not in log.read_text():
        assert time.monotonic() < until
        time.sleep(0.01)

    assert "listens on" in log.with_suffix(".1").read_text()


def test_the_log_can_be_json_in_a_file_of_choice(agent: AgentProcess, monitor: Monitor) -> None:
    """Each line is an object that tells when, how bad, who and what."""
    agent.edit("[agent]\n", "[agent]\nlog = logs.json\nlog_format = json\n")
    started(agent)
    agent.proxy().cmd_submit_reading("t4", "slow")
    monitor.wait_for_ticket("t4")
    assert agent.command("stop").returncode == 0
    records = [json.loads(line) for line in (agent.directory / "logs.json").read_text().splitlines()]

    assert all({"time", "level", "logger", "message"} <= record.keys() for record in records)
    assert any("ticket=t4" in record["message"] and "check done" in record["message"] for record in records)


@needs_root
@pytest.mark.usefixtures("readable_python")
def test_rights_are_dropped_to_the_configured_user(agent: AgentProcess, tmp_path: Path) -> None:
    """The log, the lock and the journal are that user's."""
    for directory in (tmp_path, *tmp_path.parents):
        if directory.stat().st_uid == 0 and not directory.stat().st_mode & 0o001:
            directory.chmod(0o755)
    agent.edit("[agent]\n", "[agent]\nuser = nobody\n")
    pid = started(agent)

    nobody = pwd.getpwnam("nobody").pw_uid
    assert os.stat(f"/proc/{pid}").st_uid == nobody
    assert {path.stat().st_uid for path in (agent.directory / "var").iterdir()} == {nobody}
    assert agent.command("stop").returncode == 0
