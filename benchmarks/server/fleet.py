"""The fleet as a process of its own, asked for its figures now and then."""

from __future__ import annotations

import json
import selectors
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from benchmarks.fleet import site
from benchmarks.fleet.crowd import Member, Nature, Ports, crowd
from benchmarks.programs import BenchmarkError
from benchmarks.server.ports import free_ports

DEAD, SLOW = 0.10, 0.05
FIRST = "127.1.0.1"
ANSWER_SECONDS = 30.0


@dataclass(frozen=True)
class Size:
    """How many agents, and probes of each.

    Attributes:
        apart: the checks of a host are sent one by one, and not all in one multicall.
    """

    agents: int
    probes: int
    apart: bool = True

    def interval(self, rate: float) -> float:
        """Seconds between two runs of a probe, for so many results a second from those that answer."""
        return self.agents * (1 - DEAD) * self.probes / rate


class Fleet:
    """Fake agents with some dead and some slow, alive inside the `with` block."""

    def __init__(self, size: Size) -> None:
        self.size = size
        self._ports = Ports(free_ports(3))
        self._members = crowd(size.agents, FIRST, self._ports, DEAD, SLOW)
        self._servers: Sequence[str] = ()

    def names(self, nature: Nature) -> frozenset[str]:
        """The hosts of that nature."""
        return frozenset(member.name for member in self._members if member.nature is nature)

    def define(self, file: Path, rate: float) -> None:
        """Write its definitions so that it gives so many results a second."""
        members: list[Member] = self._members
        file.write_text(site.toml(members, self.size.probes, self.size.interval(rate), apart=self.size.apart), "utf-8")

    def reporting_to(self, *servers: str) -> Self:
        """For `with`: the URLs that results go to, in turns."""
        self._servers = servers
        return self

    def __enter__(self) -> Self:
        options = ["--marks", "--agents", str(self.size.agents), "--first", FIRST, "--port", str(self._ports.served)]
        options += ["--dead", str(DEAD), "--slow", str(SLOW)]
        for url in self._servers:
            options += ["--server", url]
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.fleet", *options],
            cwd=Path(__file__).parents[2],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            bufsize=1,
        )
        try:
            self._hear()
        except BaseException:
            self._process.kill()
            self._process.communicate()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.communicate()

    def mark(self) -> dict[str, Any]:
        """What there was since the last time it was asked, see `Tally.as_json`.

        Raises:
            BenchmarkError: it does not answer.
        """
        assert self._process.stdin
        print(file=self._process.stdin, flush=True)
        return dict(json.loads(self._hear()))

    def _hear(self) -> str:
        assert self._process.stdout
        with selectors.DefaultSelector() as selector:
            selector.register(self._process.stdout, selectors.EVENT_READ)
            line = self._process.stdout.readline() if selector.select(ANSWER_SECONDS) else ""
        if not line:
            self._process.kill()
            raise BenchmarkError(f"the fleet is silent: {self._process.communicate()[1].strip()[-300:]}")
        return line
