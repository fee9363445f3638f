"""A real agent process in a directory of its own."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import xmlrpc.client
from pathlib import Path

START_SECONDS = 20.0


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def write_sensor(directory: Path, name: str, script: str) -> None:
    """Install a sensor whose program is this text."""
    program = directory / "sensors" / name / "check"
    program.parent.mkdir(parents=True, exist_ok=True)
    program.write_text(script)
    program.chmod(0o755)


class AgentProcess:
    """`monagent run`, started and stopped as its user would."""

    def __init__(self, directory: Path, server_url: str, extra: str = "", port: int | None = None) -> None:
        """
        Args:
            directory: where its configuration, sensors and state live.
            server_url: where it hands in.
            extra: more lines for its configuration; sections of their own.
            port: where it listens; a free one when left out.
        """
        self.directory = directory
        self.port = port or free_port()
        self.config = directory / "client.cfg"
        self.log = directory / "agent.log"
        (directory / "sensors").mkdir(parents=True, exist_ok=True)
        self.config.write_text(f"[monitor]\nurl = {server_url}\ntimeout = 5\n[agent]\nport = {self.port}\n{extra}\n")
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Where it takes commands."""
        return f"http://127.0.0.1:{self.port}/xmlrpc/"

    @property
    def pid(self) -> int:
        """The process's id."""
        assert self._process is not None
        return self._process.pid

    def proxy(self) -> xmlrpc.client.ServerProxy:
        """A standard client for it."""
        return xmlrpc.client.ServerProxy(self.url, allow_none=True)

    def launch(self) -> None:
        """Start the process and return at once."""
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "monagent", "run", "-c", str(self.config)], stdout=log, stderr=log
            )

    def start(self) -> None:
        """Start the process and wait until it listens."""
        self.launch()
        self.wait_until_up()

    def wait_until_up(self) -> None:
        """Wait until it answers on its port."""
        assert self._process is not None
        until = time.monotonic() + START_SECONDS
        while time.monotonic() < until:
            if self._process.poll() is not None:
                raise AssertionError(f"the agent ended with {self._process.returncode}:\n{self.log.read_text()}")
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
            except OSError:
                time.sleep(0.005)
            else:
                return
        raise AssertionError(f"the agent did not listen within {START_SECONDS} s:\n{self.log.read_text()}")

    def signal(self, number: int) -> None:
        """Send the process a signal."""
        os.kill(self.pid, number)

    def wait(self, seconds: float = 20.0) -> int:
        """Wait for its end; returns its exit code."""
        assert self._process is not None
        return self._process.wait(seconds)

    def kill(self) -> None:
        """Kill -9, and wait until it is gone."""
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait(10)

    def stop(self) -> int:
        """TERM; returns its exit code."""
        self.signal(signal.SIGTERM)
        return self.wait()

    def command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run another `monagent` command with this agent's configuration."""
        return subprocess.run(
            [sys.executable, "-m", "monagent", *arguments, "-c", str(self.config)],
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
