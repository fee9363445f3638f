"""`make demo`: a real server, a real agent, real tickets, and the readings as they arrive."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import click
from rich.console import Console
from rich.live import Live
from rich.table import Table

from monagent.cli.options import guarded
from monagent.config.example import client_example
from monagent.errors import MonagentError, Unavailable
from monagent.rpc.client import Client
from monagent.sensors.stock import copy_stock_sensors
from monagent.server.database import Database
from monagent.server.readings import Latest, latest
from monagent.server.site import store as site_store
from monagent.server.site.model import Content, Key, Site

START_SECONDS = 20.0
ONCE_SECONDS = 60.0
ROUND_SECONDS = 3.0
HOST = "this-host"


@click.command()
@click.option("--once", is_flag=True, help="End after every stock sensor has delivered a reading.")
def demo(*, once: bool) -> None:
    """Start a server and an agent on free loopback ports and show readings arriving."""
    console = Console()
    with tempfile.TemporaryDirectory(prefix="monagent-demo-") as name, contextlib.ExitStack() as stack:
        directory = Path(name)
        server_port, agent_port = _free_ports(2)
        server_url = f"http://127.0.0.1:{server_port}/xmlrpc/"
        sensors = _write_configuration(directory, server_url, server_port, agent_port)
        stack.enter_context(_running(directory, "monagent.cli.server", "server.cfg", server_port))
        stack.enter_context(_running(directory, "monagent.cli.main", "client.cfg", agent_port))
        database = Database(f"sqlite:///{directory}/monitor.db")
        stack.callback(database.close)
        checks = _checks(sensors, directory, server_port)
        site_store.change(database, lambda _none: _site(agent_port, checks), time.time())
        console.print(f"agent    http://127.0.0.1:{agent_port}/xmlrpc/\nserver   {server_url}")
        console.print(f"console  http://127.0.0.1:{server_port}/   (Ctrl-C ends the demo)\n")
        missing = _watch(console, database, sensors, once=once)
    if missing:
        raise click.ClickException(f"no reading arrived from: {', '.join(missing)}")


def _checks(sensors: Sequence[str], directory: Path, server_port: int) -> list[tuple[str, list[str]]]:
    """A telling check or two of each stock sensor."""
    telling: dict[str, list[list[str]]] = {
        "cpu": [["used", "0.5"]],
        "disk": [["percent", "/"], ["free", "/"]],
        "file": [["age", str(directory / "client.cfg")]],
        "http": [[f"http://127.0.0.1:{server_port}/"]],
        "load": [["load1"]],
        "memory": [["free_pct"]],
        "network": [["rx", "lo"]],
        "processes": [["total"]],
        "tcp": [["127.0.0.1", str(server_port)]],
        "uptime": [[]],
    }
    return [(sensor, arguments) for sensor in sensors for arguments in telling[sensor]]


def _site(agent_port: int, checks: Sequence[tuple[str, list[str]]]) -> Site:
    """The host that we are on, and a probe for each check."""
    definitions: dict[Key, Content] = {
        ("host", HOST): {"address": "127.0.0.1", "port": agent_port},
        ("schedule", "often"): {"every": f"{ROUND_SECONDS:.0f}s"},
    }
    for number, (sensor, arguments) in enumerate(checks):
        probe = {"sensor": sensor, "arguments": arguments, "schedule": "often", "hosts": [HOST]}
        definitions["sensor", sensor] = {}
        definitions["probe", f"{sensor}-{number}"] = probe
    return Site(definitions)


def _watch(console: Console, database: Database, sensors: Sequence[str], *, once: bool) -> list[str]:
    """Show what comes; returns the sensors that never delivered."""
    until = time.monotonic() + (ONCE_SECONDS if once else float("inf"))
    missing = sorted(sensors)
    with contextlib.suppress(KeyboardInterrupt), Live(console=console, auto_refresh=False) as live:
        while time.monotonic() < until and not (once and not missing):
            with database.read() as db:
                readings = latest(db)
            delivered = {one.sensor for one in readings if one.ret_code == 0 and one.value is not None}
            missing = sorted(set(sensors) - delivered)
            live.update(_table(readings), refresh=True)
            time.sleep(0.2)
    return missing if once else []


def _table(readings: Sequence[Latest]) -> Table:
    table = Table(title="Readings, newest of each probe")
    for column in ("Sensor", "Arguments"):
        table.add_column(column)
    for column in ("Reading", "Age"):
        table.add_column(column, justify="right")
    table.add_column("Ended")
    now = time.time()
    for one in readings:
        if one.finished is None:
            continue
        ended = "ok" if one.ret_code == 0 and not one.error else f"[red]{one.error or one.ret_code}[/]"
        arguments = " ".join(map(str, one.arguments))
        table.add_row(one.sensor, arguments, one.data, f"{max(now - one.finished, 0):.0f} s", ended)
    return table


def _write_configuration(directory: Path, server_url: str, server_port: int, agent_port: int) -> list[str]:
    client = client_example(server_url).replace("port = 8080", f"port = {agent_port}")
    (directory / "client.cfg").write_text(client, encoding="utf-8")
    (directory / "server.cfg").write_text(f"[server]\nport = {server_port}\n", encoding="utf-8")
    return copy_stock_sensors(directory / "sensors")


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]


@contextlib.contextmanager
def _running(directory: Path, module: str, config: str, port: int) -> Iterator[None]:
    """One of the two programs, as a process of its own, until the block ends."""
    log = directory / f"{config}.log"
    with log.open("wb") as output:
        command = [sys.executable, "-m", module, "run", "-c", str(directory / config)]
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
    try:
        _wait_until_up(process, module, port, log)
        yield
    finally:
        process.terminate()
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_until_up(process: subprocess.Popen[bytes], module: str, port: int, log: Path) -> None:
    client = Client(f"http://127.0.0.1:{port}/xmlrpc/", timeout=2.0)
    until = time.monotonic() + START_SECONDS
    while time.monotonic() < until and process.poll() is None:
        try:
            client.call("healthcheck")
        except Unavailable:
            time.sleep(0.05)
        else:
            client.close()
            return
    raise MonagentError(f"{module} did not start:\n{log.read_text()}")


if __name__ == "__main__":
    guarded("demo", demo)
