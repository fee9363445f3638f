"""A real agent process in a directory of its own."""

from __future__ import annotations

import bz2
import hashlib
import io
import os
import signal
import socket
import subprocess
import sys
import tarfile
import time
import xmlrpc.client
from collections.abc import Mapping
from pathlib import Path

from tests.support.ports import free_port

START_SECONDS = 20.0


def write_sensor(directory: Path, name: str, script: str) -> None:
    """Install a sensor whose program is this text."""
    program = directory / "sensors" / name / "check"
    program.parent.mkdir(parents=True, exist_ok=True)
    program.write_text(script)
    program.chmod(0o755)


def pack_sensor(name: str, files: Mapping[str, str | bytes]) -> bytes:
    """A package of that sensor: `<name>.tar.bz2` with these files, of which `check` is executable."""
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w") as archive:
        for path, content in files.items():
            data = content.encode() if isinstance(content, str) else content
            member = tarfile.TarInfo(f"{name}/{path}")
            member.size = len(data)
            member.mode = 0o755 if path == "check" else 0o644
            archive.addfile(member, io.BytesIO(data))
    return bz2.compress(raw.getvalue())


def unpack_sensor(directory: Path, files: Mapping[str, str | bytes]) -> None:
    """Make a sensor's directory of these files, as installing their package would."""
    for path, content in files.items():
        target = directory / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content.encode() if isinstance(content, str) else content)
        target.chmod(0o755 if path == "check" else 0o644)


def digest_of(directory: Path) -> str:
    """The digest of a sensor, made as docs/reference/sensor-package.md says and not by the code that is tested."""
    lines = []
    for path in sorted(directory.rglob("*")):
        name = path.relative_to(directory)
        if path.is_dir():
            lines.append((str(name), f"d {name}\n"))
        else:
            kind = "x" if os.access(path, os.X_OK) else "f"
            lines.append((str(name), f"{kind} {hashlib.sha256(path.read_bytes()).hexdigest()} {name}\n"))
    text = "".join(line for _, line in sorted(lines))
    return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"


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
        self.program = [sys.executable, "-m", "monagent"]
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
                [*self.program, "run", "-c", str(self.config)],
                stdout=log,
                stderr=log,
                env={**os.environ, "PYTHONFAULTHANDLER": "1"},
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
        self._process.send_signal(signal.SIGABRT)  # it tells where its threads are
        self._process.wait(10)
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

    def edit(self, old: str, new: str) -> None:
        """Replace a piece of its configuration, as an editor would."""
        text = self.config.read_text()
        assert old in text, text
        self.config.write_text(text.replace(old, new, 1))

    def reload(self) -> str:
        """HUP, and wait until the log tells what came of it; returns what the log has got since."""
        before = len(self.log.read_text())
        self.signal(signal.SIGHUP)
        until = time.monotonic() + 10
        while time.monotonic() < until:
            said = self.log.read_text()[before:]
            if "settings loaded again" in said or "the old settings stay" in said:
                time.sleep(0.05)  # the rest of what it says
                return self.log.read_text()[before:]
            time.sleep(0.005)
        raise AssertionError(f"nothing came of the HUP:\n{self.log.read_text()}")

    def forget_peak(self) -> int:
        """Let the peak of its memory begin anew; returns the bytes that it has in memory now."""
        Path(f"/proc/{self.pid}/clear_refs").write_text("5")
        return self._memory("VmRSS")

    def peak(self) -> int:
        """The most bytes that it has had in memory since `forget_peak()`."""
        return self._memory("VmHWM")

    def _memory(self, name: str) -> int:
        lines = Path(f"/proc/{self.pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{name}:"))

    def command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run another `monagent` command with this agent's configuration."""
        return subprocess.run(
            [sys.executable, "-m", "monagent", *arguments, "-c", str(self.config)],
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
