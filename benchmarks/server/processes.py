"""Start `monserver run` as its operator would, and end it."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import xmlrpc.client
from pathlib import Path
from types import TracebackType
from typing import Self

from benchmarks.programs import BenchmarkError, output
from benchmarks.server import usage
from benchmarks.server.ports import free_ports

START_SECONDS = 20.0
STOP_SECONDS = 20.0
APPLY_SECONDS = 120.0
POLL_SECONDS = 0.05

_CONFIG = """\
[server]
port = {port}
[database]
url = {database}
"""


def program() -> str:
    """The command `monserver` of this Python."""
    return str(Path(sys.executable).parent / "monserver")


class Server:
    """One process of the server, ready inside the `with` block, gone after it."""

    def __init__(self, folder: Path, database: str) -> None:
        """
        Args:
            folder: made for its configuration and its log.
            database: the URL.
        """
        folder.mkdir(parents=True, exist_ok=True)
        self._port = free_ports()
        self._log = folder / f"server-{self._port}.log"
        self.config = folder / f"server-{self._port}.cfg"
        self.config.write_text(_CONFIG.format(port=self._port, database=database))

    def __enter__(self) -> Self:
        environment = {name: value for name, value in os.environ.items() if name != "JOURNAL_STREAM"}
        command = [program(), "run", "-q", "-c", str(self.config)]
        try:
            with self._log.open("wb") as log:
                self._process = subprocess.Popen(
                    command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment
                )
        except OSError as error:
            raise BenchmarkError(
                f"{command[0]}: {error.strerror}; install the project into this Python first"
            ) from error
        try:
            self._wait(time.monotonic() + START_SECONDS)
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    @property
    def url(self) -> str:
        """Where it takes results."""
        return f"http://127.0.0.1:{self._port}/xmlrpc/"

    def cpu(self) -> float:
        """Seconds of processor time since its start."""
        return usage.cpu(self._process.pid)

    def memory(self) -> float:
        """Megabytes."""
        return usage.memory(self._process.pid)

    def warnings(self) -> list[str]:
        """What it logged that needs attention."""
        return self._log.read_text(errors="replace").splitlines()

    def apply(self, site: Path) -> float:
        """Make the definitions those of a file.

        Returns:
            The seconds that it took.

        Raises:
            BenchmarkError: it was refused.
        """
        started = time.monotonic()
        output([program(), "apply", "-c", str(self.config), "--yes", str(site)], APPLY_SECONDS)
        return time.monotonic() - started

    def _wait(self, deadline: float) -> None:
        while True:
            try:
                with xmlrpc.client.ServerProxy(self.url) as proxy:
                    proxy.healthcheck()
            except (OSError, xmlrpc.client.Error):
                if self._process.poll() is not None or time.monotonic() > deadline:
                    raise BenchmarkError(f"the server did not start: {' / '.join(self.warnings()[-5:])}") from None
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
