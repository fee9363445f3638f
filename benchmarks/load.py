"""Put an agent under a load of a given shape and read back what it did and what that cost."""

from __future__ import annotations

import json
import socket
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

from benchmarks.agent import Agent
from benchmarks.programs import BenchmarkError, output

PATIENCE_SECONDS = 30.0


@dataclass(frozen=True, kw_only=True)
class Shape:
    """What the clients do.

    Attributes:
        connections: kept open; each sends its next request when the last one was answered.
        per_call: commands in one request.
        window: commands on their way to their callback, at most; more are not sent.
        seconds: how long commands are sent; the measuring ends when the last one is done.
        most: commands in all, at most.
        kind: new tickets, one ticket again and again, or `healthcheck()`.
        callbacks: whether results are expected and waited for.
    """

    connections: int
    seconds: float
    per_call: int = 1
    window: int = 300
    most: int = 100_000
    kind: Literal["new", "repeated", "healthcheck"] = "new"
    callbacks: bool = True


@dataclass(frozen=True)
class Figures:
    """What came of it. CPU times are those of the process itself, without the programs that it runs.

    Attributes:
        rate: commands a second, to the callback of the last one where callbacks are expected.
        agent_cpu: seconds a command.
        load_cpu: seconds a command, of clients and sink together.
        acknowledged: seconds from a request to its answer: median and 99th percentile.
        delivered: seconds from a request to its callback, likewise.
    """

    commands: int
    rate: float
    agent_cpu: float
    load_cpu: float
    acknowledged: tuple[float, float]
    delivered: tuple[float, float]


class Sink:
    """Where the results go: a listening socket that outlives the single runs of the load program."""

    def __init__(self, program: Path) -> None:
        """
        Args:
            program: the compiled load program.
        """
        self._program = program
        self._runs = count()

    def __enter__(self) -> Self:
        self._socket = socket.create_server(("127.0.0.1", 0), backlog=64)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._socket.close()

    @property
    def url(self) -> str:
        """What an agent's configuration calls it."""
        return f"http://127.0.0.1:{self._socket.getsockname()[1]}/xmlrpc/"

    def load(self, agent: Agent, shape: Shape) -> Figures:
        """Load an agent that reports here.

        Raises:
            BenchmarkError: a command was refused, or a result did not come exactly once and as the sensor printed it.
        """
        listener = self._socket.fileno()
        options: dict[str, object] = {
            "-l": listener,
            "-p": agent.port,
            "-a": agent.pid,
            "-t": f"run{next(self._runs)}",
            "-k": shape.kind[0],
            "-c": shape.connections,
            "-m": shape.per_call,
            "-w": shape.window,
            "-n": shape.most,
            "-s": shape.seconds,
        }
        command = [str(self._program), *(str(word) for option in options.items() for word in option)]
        text = output(command + ["-x"] * (not shape.callbacks), shape.seconds + PATIENCE_SECONDS, keep=[listener])
        return _figures(json.loads(text))


def _figures(told: dict[str, Any]) -> Figures:
    astray = {name: told[name] for name in ("missing", "repeated", "unknown", "wrong") if told[name]}
    if astray:
        raise BenchmarkError(f"of {told['commands']} results, some went astray: {astray}")
    return Figures(
        commands=told["commands"],
        rate=told["commands"] / told["seconds"],
        agent_cpu=told["agent_cpu"] / told["commands"],
        load_cpu=told["load_cpu"] / told["commands"],
        acknowledged=(told["acknowledged_p50"], told["acknowledged_p99"]),
        delivered=(told["delivered_p50"], told["delivered_p99"]),
    )
