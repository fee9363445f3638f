"""`python -m benchmarks.fleet`: run a fleet against a server, or write its definitions for one."""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import time
from pathlib import Path

from benchmarks.fleet import site
from benchmarks.fleet.crowd import Member, Ports, crowd
from benchmarks.fleet.loop import READ
from benchmarks.fleet.simulator import Fleet, Manners

SERVER = "http://127.0.0.1:8081/xmlrpc/"


def main() -> int:
    """Entry point; returns the exit code."""
    options = _options()
    ports = Ports(options.port)
    try:
        members = crowd(options.agents, options.first, ports, options.dead, options.slow)
        if options.site:
            options.site.write_text(site.toml(members, options.probes, options.interval, apart=options.apart), "utf-8")
            _tell_site(options, members)
            return 0
        fleet = Fleet(members, ports, options.server or [SERVER], Manners(options.sensor_time, options.slowness))
    except (ValueError, OSError) as error:
        print(f"fleet: {error}", file=sys.stderr)
        return 1
    try:
        _run(fleet, options)
    finally:
        fleet.close()
    return 0


def _run(fleet: Fleet, options: argparse.Namespace) -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda _number, _frame: fleet.loop.end())
    stretch = _Stretch(fleet)
    if options.marks:
        fleet.loop.watch(sys.stdin.fileno(), READ, stretch.mark)
        print("ready", flush=True)
    else:
        where = ", ".join(options.server or [SERVER])
        print(f"{options.agents} agents, port {options.port}; results go to {where}", flush=True)
        fleet.every(options.every, stretch.show)
    fleet.run(options.seconds)


class _Stretch:
    """The time since somebody last asked what there was."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        self._began, self._cpu = time.monotonic(), time.process_time()

    def show(self) -> None:
        """A line for people."""
        seconds, cpu = self._restart()
        line = self._fleet.tally.line(seconds)
        print(f"{line}, {self._fleet.waiting} waiting, fleet's CPU {cpu / seconds:.0%}", flush=True)
        self._fleet.tally.clear()

    def mark(self) -> None:
        """A line of JSON for whoever has written a line to us; the end, when nobody will."""
        if not os.read(sys.stdin.fileno(), 4096):
            self._fleet.loop.end()
            return
        seconds, cpu = self._restart()
        told = {"seconds": seconds, "cpu": cpu, "waiting": self._fleet.waiting, **self._fleet.tally.as_json()}
        print(json.dumps(told), flush=True)
        self._fleet.tally.clear()

    def _restart(self) -> tuple[float, float]:
        began, cpu = self._began, self._cpu
        self._began, self._cpu = time.monotonic(), time.process_time()
        return self._began - began, self._cpu - cpu


def _tell_site(options: argparse.Namespace, members: list[Member]) -> None:
    rate = len(members) * options.probes / options.interval
    print(
        f"{options.site}: {len(members)} hosts with {options.probes} probes every {options.interval:g} s: {rate:.1f} checks/s"
    )


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.fleet",
        description="Thousands of fake agents in one process. First write their definitions (--site) and apply them to a "
        "server, then run them with the same options.",
    )
    parser.add_argument("--agents", type=int, default=1000, metavar="N", help="default: 1000")
    parser.add_argument("--server", action="append", metavar="URL", help=f"several take turns; default: {SERVER}")
    parser.add_argument(
        "--dead", type=_share, default="10%", metavar="SHARE", help="agents that do not answer; default: 10%%"
    )
    parser.add_argument(
        "--slow", type=_share, default="5%", metavar="SHARE", help="agents that answer late; default: 5%%"
    )
    parser.add_argument("--slowness", type=float, default=5.0, metavar="S", help="how late; default: 5 seconds")
    parser.add_argument(
        "--sensor-time", type=float, default=0.05, metavar="S", help="that a check takes; default: 0.05"
    )
    parser.add_argument(
        "--first", default="127.1.0.1", metavar="ADDRESS", help="of the first agent; default: %(default)s"
    )
    parser.add_argument(
        "--port", type=int, default=9080, help="of all agents, and the two after it for the dead; default: 9080"
    )
    parser.add_argument("--seconds", type=float, metavar="S", help="end after so long; default: when interrupted")
    parser.add_argument("--every", type=float, default=10.0, metavar="S", help="a line of figures; default: 10 seconds")
    parser.add_argument(
        "--marks", action="store_true", help="a line of JSON for each line that is written to us instead"
    )
    parser.add_argument("--site", type=Path, metavar="FILE", help="write the definitions there, and end")
    parser.add_argument("--probes", type=int, default=5, metavar="N", help="of each agent, for --site; default: 5")
    parser.add_argument(
        "--interval", type=float, default=60.0, metavar="S", help="of each probe, for --site; default: 60"
    )
    parser.add_argument("--apart", action="store_true", help="a host's probes run one by one, not together, for --site")
    return parser.parse_args()


def _share(text: str) -> float:
    share = float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    if not 0 <= share <= 1:
        raise ValueError(text)
    return share


if __name__ == "__main__":
    sys.exit(main())
