"""`python -m benchmarks`: measure, print the table."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks import acknowledging, backup, footprint, machine, mail, sensors, server
from benchmarks.agent import Agent
from benchmarks.load import Sink
from benchmarks.programs import BenchmarkError, compile_all
from benchmarks.rows import Row, table
from benchmarks.throughput import Effort, Throughput, latency, logging_on

FULL = Effort(rounds=5, run=2.5, loop=0.7)
QUICK = Effort(rounds=1, run=1.5, loop=0.5)


@dataclass(frozen=True)
class Bench:
    """The groups of rows, each with an agent of its own."""

    folder: Path
    programs: dict[str, Path]
    sink: Sink
    effort: Effort

    def throughput(self) -> list[Row]:
        """Memory first, while the agent is fresh; then everything that needs checks to be run."""
        with self._agent("work") as agent:
            rows = [footprint.memory(agent)]
            rows += Throughput(self.programs, self.sink, self.effort).measure(agent, _say)
            _say("one command at a time")
            rows += latency(self.sink, agent, self.effort)
            rows.append(Row("memory after all that", "MB", (agent.memory() / 2**20,)))
            _report(agent)
        return rows

    def acknowledging(self) -> list[Row]:
        """Commands that only queue."""
        with self._agent("queue", workers=acknowledging.WORKERS) as agent:
            rows = acknowledging.rows(self.sink, agent, min(self.effort.rounds, 3), self.effort.run)
            _report(agent)
        return rows

    def logging(self) -> list[Row]:
        """An agent that logs as by default."""
        with self._agent("log", quiet=False) as agent:
            logging_on(self.sink, agent, self.effort.run / 3)
            rows = logging_on(self.sink, agent, self.effort.run)
            _report(agent)
        return rows

    def idle(self) -> list[Row]:
        """An agent that has nothing to do, and one that is scraped."""
        with self._agent("idle") as agent:
            rows = [footprint.idle(agent)]
        return [*rows, footprint.scrape(self.folder / "scraped", self.programs["tiny"], self.sink)]

    def start(self) -> list[Row]:
        """Starts."""
        return [footprint.start(self.folder, self.programs["tiny"], 5)]

    def sensors(self) -> list[Row]:
        """Changing and listing sensors."""
        return [*sensors.updates(self.folder), *sensors.inventory(self.folder)]

    def backup(self) -> list[Row]:
        """Backups beside rsync."""
        full = self.effort.rounds > 1
        return backup.rows(self.folder / "backup", 3 if full else 1, 1.0 if full else 0.1)

    def mail(self) -> list[Row]:
        """Making mails."""
        return mail.rows(self.folder, self.sink, self.programs["tiny"])

    def server(self) -> list[Row]:
        """The server with a fleet of fake agents."""
        return server.rows(self.folder / "server", full=self.effort.rounds > 1, say=_say)

    def _agent(self, name: str, *, workers: int = 8, quiet: bool = True) -> Agent:
        return Agent(self.folder / name, self.sink.url, self.programs["tiny"], workers=workers, quiet=quiet)


def _say(text: str) -> None:
    if sys.stderr.isatty():
        print(f"\r\033[K{text} …", end="", file=sys.stderr, flush=True)


def _report(agent: Agent) -> None:
    for line in agent.warnings()[:10]:
        print(f"the agent logged: {line}", file=sys.stderr)


def _group(name: str, measure: Callable[[], list[Row]]) -> list[Row]:
    """The rows of a group, or one failed row that tells why there are none."""
    _say(name)
    try:
        return measure()
    except (BenchmarkError, OSError) as error:
        return [Row(name, "", (), note=str(error))]
    finally:
        _say("done with " + name)


def _measure(folder: Path, effort: Effort, only: str | None) -> list[Row]:
    programs = compile_all(folder)
    with Sink(programs["load"]) as sink:
        bench = Bench(folder, programs, sink, effort)
        groups = [
            bench.throughput,
            bench.logging,
            bench.acknowledging,
            bench.idle,
            bench.start,
            bench.sensors,
            bench.backup,
            bench.mail,
        ]
        on_demand = [bench.server]
        chosen = [group for group in groups + on_demand if group.__name__ == only] if only else groups
        return [row for group in chosen for row in _group(group.__name__, group)]


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description="Measure the agent, or the server, of this checkout."
    )
    parser.add_argument("--quick", action="store_true", help="one round, shorter: rough figures in half a minute")
    parser.add_argument("--check", action="store_true", help="exit with 1 when a figure is beyond its limit")
    parser.add_argument(
        "--only",
        metavar="GROUP",
        help="one group of rows, by its name (example: backup); the server is measured only so",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything, for programs, too")
    parser.add_argument("--dir", type=Path, metavar="DIR", help="where the agents keep their state; decides the disk")
    return parser.parse_args()


def main() -> int:
    """Entry point; returns the exit code."""
    arguments = _arguments()
    parent = arguments.dir or Path(__file__).parent / "var"
    parent.mkdir(exist_ok=True)
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="run-", dir=parent) as folder:
        facts = machine.facts(Path(folder))
        print("\n".join(f"{name:<12} {fact}" for name, fact in facts.items()), end="\n\n", flush=True)
        rows = _measure(Path(folder), QUICK if arguments.quick else FULL, arguments.only)
    _say("")
    print(table(rows))
    print(f"\nmeasured in {time.monotonic() - started:.0f} s")
    if arguments.json:
        told = {"machine": facts, "rows": [row.as_json() for row in rows]}
        arguments.json.write_text(json.dumps(told, indent=2, ensure_ascii=False) + "\n", "utf-8")
    return int(arguments.check and any(row.passed is False for row in rows))


if __name__ == "__main__":
    try:
        sys.exit(main())
    except BenchmarkError as error:
        sys.exit(f"benchmarks: {error}")
