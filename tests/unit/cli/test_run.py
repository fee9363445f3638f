"""`monagent run` and `monserver run` as a supervisor sees them."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import time
import xmlrpc.client
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.ports import free_port
from tests.unit.cli.program import as_nobody, monagent, monserver, running


@contextmanager
def listening(program: str, config: Path) -> Iterator[tuple[subprocess.Popen[str], Path, int]]:
    """The program once it listens: its process, its log, its port."""
    log = config.parent / f"{program}.log"
    before = log.stat().st_size if log.exists() else 0
    with running(program, "run", "-c", config, log=log) as process:
        until = time.monotonic() + 30
        what = "listens on 127.0.0.1 port" if program == "monagent" else "takes results at http://127.0.0.1:"
        while what not in (text := log.read_text()[before:]):
            assert process.poll() is None, text
            assert time.monotonic() < until, text
            time.sleep(0.02)
        yield process, log, int(re.findall(r"port (\d+)|http://127\.0\.0\.1:(\d+)", text)[-1][program != "monagent"])


@pytest.fixture
def server_config(tmp_path: Path) -> Path:
    """A server.cfg on a free port."""
    path = tmp_path / "server.cfg"
    path.write_text("[server]\nport = 0\n")
    return path


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("program", ["monagent", "monserver"])
def test_a_signal_ends_a_program_with_0(program: str, number: int, config: Path, server_config: Path) -> None:
    """Everything is given back, and the log is on stderr."""
    with listening(program, config if program == "monagent" else server_config) as (process, log, port):
        proxy = xmlrpc.client.ServerProxy(f"http://127.0.0.1:{port}/xmlrpc/")
        assert proxy.healthcheck() == "OK"
        process.send_signal(number)

        assert process.wait(20) == 0
        assert log.read_text().rstrip().endswith("stopped")
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port), 5)


def test_a_second_agent_says_who_runs_already(config: Path) -> None:
    """75, with the pid of the first."""
    with listening("monagent", config) as (process, _, _):
        done = monagent("run", "-c", config)

        assert (done.returncode, done.stdout) == (75, "")
        assert done.stderr == f"monagent: an agent with pid {process.pid} works in {config.parent}/var already\n"
        assert process.poll() is None


@pytest.mark.parametrize("program", ["monagent", "monserver"])
def test_a_port_that_is_taken_is_told(program: str, config: Path, server_config: Path) -> None:
    """75: trying again later may help."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        config.write_text(f"[monitor]\nurl = http://127.0.0.1:1/\n[agent]\nport = {port}\n")
        server_config.write_text(f"[server]\nport = {port}\n")
        done = monagent("run", "-c", config) if program == "monagent" else monserver("run", "-c", server_config)

    assert (done.returncode, done.stdout) == (75, "")
    assert done.stderr.endswith(f"{program}: something else listens on 127.0.0.1 port {port} already\n")
    assert "Traceback" not in done.stderr


def test_an_address_that_is_not_ours_is_an_error_of_the_system(config: Path) -> None:
    """74."""
    config.write_text(
        "[monitor]\nurl = http://a/\n[agent]\nhost = 192.0.2.1\n[security]\ninsecure = yes\nallow = 192.0.2.0/24\n"
    )
    done = monagent("run", "-c", config)

    assert done.returncode == 74, done.stderr
    assert "Traceback" not in done.stderr


def test_a_wrong_configuration_does_not_start(config: Path, server_config: Path) -> None:
    """78, with every problem."""
    config.write_text("[monitor]\nurl = x\n[agent]\nport = y\n")
    server_config.write_text("[server]\nport = y\n[nonsense]\n")
    agent, server = monagent("run", "-c", config), monserver("run", "-c", server_config)

    assert (agent.returncode, server.returncode) == (78, 78)
    assert f"{config}:2 [monitor] url:" in agent.stderr
    assert f"{config}:4 [agent] port:" in agent.stderr
    assert f"{server_config}:2 [server] port:" in server.stderr
    assert f"{server_config}:3 [nonsense]: unknown section" in server.stderr


def test_a_state_directory_that_cannot_be_made_is_an_error_of_the_system(config: Path) -> None:
    """74, with the path."""
    (config.parent / "var").touch()
    done = monagent("run", "-c", config)

    assert (done.returncode, done.stdout) == (74, "")
    assert f"{config.parent}/var" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.skipif(os.geteuid() != 0, reason="root makes what an ordinary user may not touch")
def test_a_state_directory_that_may_not_be_written_is_a_matter_of_permission(tmp_path: Path) -> None:
    """77, with the path."""
    config = Path("/tmp") / f"monagent-state-{os.getpid()}.cfg"
    config.write_text(f"[monitor]\nurl = http://a/\n[agent]\nport = {free_port()}\nstate = /usr/no-permission\n")
    try:
        done = as_nobody("run", "-c", config)
    finally:
        config.unlink()

    assert (done.returncode, done.stdout) == (77, "")
    # That user may not start our interpreter, and is told; the mistake itself comes last.
    assert done.stderr.splitlines()[-1] == "monagent: /usr/no-permission: no permission"


@pytest.mark.parametrize("content", [b"garbage" * 1000, b"SQLite format 3\0" + b"\xff" * 8000])
def test_a_journal_that_is_none_is_an_error_of_the_system(config: Path, content: bytes) -> None:
    """74, with the path, by the agent and by `monagent spool`."""
    (config.parent / "var").mkdir()
    (config.parent / "var" / "journal.db").write_bytes(content)
    for command in ("run", "spool"):
        done = monagent(command, "-c", config)

        assert (done.returncode, done.stdout) == (74, "")
        assert f"{config.parent}/var/journal.db" in done.stderr
        assert "Traceback" not in done.stderr


def test_a_hangup_is_answered_in_the_log_and_ends_nothing(config: Path) -> None:
    """The agent goes on, by its file as it is now."""
    with listening("monagent", config) as (process, log, port):
        process.send_signal(signal.SIGHUP)
        until = time.monotonic() + 10
        while "settings loaded again" not in log.read_text() and time.monotonic() < until:
            time.sleep(0.02)

        assert f"settings loaded again from {config}" in log.read_text()
        assert xmlrpc.client.ServerProxy(f"http://127.0.0.1:{port}/RPC2").healthcheck() == "OK"
        assert process.poll() is None


def test_a_quiet_agent_says_only_what_needs_attention(config: Path) -> None:
    """And a talkative one says more."""
    sizes = []
    for option in ("-q", "-v"):
        log = config.parent / f"log{option}"
        port = int(config.read_text().split("port = ")[1])
        with running("monagent", "run", option, "-c", config, log=log) as process:
            until = time.monotonic() + 30
            while time.monotonic() < until:
                try:
                    socket.create_connection(("127.0.0.1", port), 1).close()
                    break
                except OSError:
                    time.sleep(0.02)
            process.terminate()
            assert process.wait(20) == 0
        sizes.append(len(log.read_text()))

    assert sizes[0] == 0 < sizes[1]


def test_under_systemd_each_line_has_its_priority(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where stderr leads to the journal."""
    monkeypatch.setenv("JOURNAL_STREAM", "8:1")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        config.write_text(
            f"[monitor]\nurl = http://127.0.0.1:{taken.getsockname()[1]}/\n[agent]\nport = {free_port()}\n"
        )
        log = config.parent / "log"
        command = [
            "env",
            "JOURNAL_STREAM=8:1",
            __import__("sys").executable,
            "-m",
            "monagent",
            "run",
            "-c",
            str(config),
        ]
        with log.open("wb") as stderr, subprocess.Popen(command, stderr=stderr) as process:
            until = time.monotonic() + 30
            while "listens" not in log.read_text() and time.monotonic() < until:
                time.sleep(0.02)
            process.terminate()
            process.wait(20)

    assert all(re.match(r"<[2-7]>monagent\.", line) for line in log.read_text().splitlines())
