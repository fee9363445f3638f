"""Start `monagent run` as its operator would, in a directory of its own, and end it."""

from __future__ import annotations

import os
import random
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from benchmarks.programs import BenchmarkError

START_SECONDS = 10.0
STOP_SECONDS = 10.0
POLL_SECONDS = 0.002
EXCHANGE_SECONDS = 10.0
_PORTS = range(10_240, 32_000)  # below those that the kernel gives to outgoing connections

_CONFIG = """\
[monitor]
url = {url}
[agent]
port = {port}
workers = {workers}
[sensor]
timeout = 300
[sensor:tiny]
overlap = yes
"""
_CALL = (
    "<?xml version='1.0'?><methodCall><methodName>cmd_submit_reading</methodName><params>"
    "<param><value><string>{ticket}</string></value></param>"
    "<param><value><string>{sensor}</string></value></param></params></methodCall>"
)
_REQUEST = (
    "POST /xmlrpc/ HTTP/1.1\r\nHost: localhost\r\nContent-Type: text/xml\r\nContent-Length: {length}\r\n\r\n{body}"
)
_LONG_SENSOR = "#!/bin/sh\nexec sleep 170\n"


class Agent:
    """A process of the real program, ready for commands inside the `with` block, gone after it."""

    def __init__(
        self, folder: Path, url: str, tiny: Path, *, workers: int = 8, quiet: bool = True, more: str = ""
    ) -> None:
        """
        Args:
            folder: made for its configuration, its state and its two sensors, `tiny` and the very long `long`.
            url: the server that it reports to.
            tiny: the program of the sensor `tiny`.
            workers: checks at the same time.
            quiet: log warnings only, else as much as by default; into a file either way.
            more: lines for the section of `tiny`.
        """
        self._folder = folder
        self._quiet = quiet
        self.port = _free_port()
        for name in ("tiny", "long"):
            (folder / "sensors" / name).mkdir(parents=True)
        shutil.copy(tiny, folder / "sensors/tiny/check")
        (folder / "sensors/long/check").write_text(_LONG_SENSOR)
        (folder / "sensors/long/check").chmod(0o755)
        (folder / "client.cfg").write_text(_CONFIG.format(url=url, port=self.port, workers=workers) + more)

    def __enter__(self) -> Self:
        program = Path(sys.executable).parent / "monagent"
        command = [str(program), "run", "-c", str(self._folder / "client.cfg"), "--grace", "0"]
        environment = {name: value for name, value in os.environ.items() if name != "JOURNAL_STREAM"}
        started = time.monotonic()
        try:
            with (self._folder / "log").open("wb") as log:
                self._process = subprocess.Popen(
                    command + ["-q"] * self._quiet, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment
                )
        except OSError as error:
            raise BenchmarkError(f"{program}: {error.strerror}; install the project into this Python first") from error
        try:
            self._submit_first(started + START_SECONDS)
        except BaseException:
            self._end()
            raise
        self.start_seconds = time.monotonic() - started
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    @property
    def pid(self) -> int:
        """Its process."""
        return self._process.pid

    def warnings(self) -> list[str]:
        """What it logged that needs attention."""
        lines = (self._folder / "log").read_text(errors="replace").splitlines()
        return lines if self._quiet else [line for line in lines if " INFO " not in line]

    def memory(self) -> int:
        """Bytes of memory that are its own now (VmRSS)."""
        with open(f"/proc/{self.pid}/status") as status:
            lines = dict(line.split(":", 1) for line in status)
        return int(lines["VmRSS"].split()[0]) * 1024

    def cpu_of_all(self) -> float:
        """Seconds of processor time of the agent's process and of those beside it."""
        family = [self.pid]
        for pid in family:
            family += [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
        files = (path for pid in family for path in Path(f"/proc/{pid}/task").glob("*/schedstat"))
        return sum(int(path.read_text().split()[0]) for path in files) / 1e9

    def submit(self, ticket: str, sensor: str) -> None:
        """Hand in one command over a connection of its own and wait for its acknowledgement.

        Raises:
            ConnectionRefusedError: it does not listen (yet).
            BenchmarkError: it did not accept.
        """
        body = _CALL.format(ticket=ticket, sensor=sensor)
        with socket.create_connection(("127.0.0.1", self.port), EXCHANGE_SECONDS) as connection:
            connection.sendall(_REQUEST.format(length=len(body), body=body).encode())
            answer = connection.recv(65536)
        if b"<string>OK</string>" not in answer:
            raise BenchmarkError(f"the agent answered {answer[-300:]!r}")

    def _submit_first(self, deadline: float) -> None:
        while True:
            try:
                self.submit("first", "tiny")
            except ConnectionRefusedError:
                if self._process.poll() is not None or time.monotonic() > deadline:
                    raise BenchmarkError(f"the agent did not start: {' / '.join(self.warnings())}") from None
                time.sleep(POLL_SECONDS)
            else:
                return

    def _end(self) -> None:
        self._process.terminate()
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(STOP_SECONDS)


def _free_port() -> int:
    for port in random.sample(_PORTS, 100):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise BenchmarkError("no free port was found")
