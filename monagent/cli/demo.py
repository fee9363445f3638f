"""`make demo`: a real server, a real agent, real tickets, and the readings as they arrive."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

import click
from rich.console import Console
from rich.live import Live
from rich.table import Table

from monagent.cli.options import guarded
from monagent.config.example import client_example
from monagent.errors import Fault, MonagentError, Unavailable
from monagent.rpc.client import Client
from monagent.sensors.stock import copy_stock_sensors
from monagent.server.dispatcher import Dispatcher
from monagent.server.records import Host, StoredReading
from monagent.server.store import Store, open_engine

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
        store = Store(open_engine(f"sqlite:///{directory}/monitor.db"))
        stack.callback(store.close)
        store.add_host(HOST, "127.0.0.1", agent_port)
        console.print(f"agent    http://127.0.0.1:{agent_port}/xmlrpc/\nserver   {server_url}")
        console.print(f"console  http://127.0.0.1:{server_port}/   (Ctrl-C ends the demo)\n")
        checks = _checks(sensors, directory, server_port)
        missing = _watch(console, store, checks, once=once)
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


def _watch(console: Console, store: Store, checks: list[tuple[str, list[str]]], *, once: bool) -> list[str]:
    """Send the checks again and again and show what comes; returns the sensors that never delivered."""
    dispatcher, host = Dispatcher(store), store.host(HOST)
    assert host is not None
    until = time.monotonic() + (ONCE_SECONDS if once else float("inf"))
    missing = sorted({sensor for sensor, _ in checks})
    with contextlib.suppress(KeyboardInterrupt), Live(console=console, auto_refresh=False) as live:
        while time.monotonic() < until and not (once and not missing):
            _send(dispatcher, host, checks)
            next_round = time.monotonic() + ROUND_SECONDS
            while time.monotonic() < next_round and not (once and not missing):
                readings = store.latest()
                missing = _missing(checks, readings)
                live.update(_table(readings), refresh=True)
                time.sleep(0.2)
    return missing if once else []


def _send(dispatcher: Dispatcher, host: Host, checks: list[tuple[str, list[str]]]) -> None:
    for answer in dispatcher.send_checks(host, checks):
        if isinstance(answer, Fault):
            raise answer


def _missing(checks: list[tuple[str, list[str]]], readings: list[StoredReading]) -> list[str]:
    delivered = {reading.sensor for reading in readings if reading.ret_code == 0 and reading.data != "nan"}
    return sorted({sensor for sensor, _ in checks} - delivered)


def _table(readings: list[StoredReading]) -> Table:
    table = Table(title="Readings, newest of each check")
    for column in ("Sensor", "Arguments"):
        table.add_column(column)
    for column in ("Reading", "Took", "Age"):
        table.add_column(column, justify="right")
    table.add_column("Ended")
    now = datetime.now(UTC)
    for reading in readings:
        age = (now - reading.finished.replace(tzinfo=UTC)).total_seconds()
        ended = "ok" if reading.ret_code == 0 and not reading.error else f"[red]{reading.error or reading.ret_code}[/]"
        took = f"{(reading.duration or 0) * 1000:.0f} ms"
        arguments = " ".join(map(str, reading.arguments))
        table.add_row(reading.sensor, arguments, reading.data, took, f"{max(age, 0):.0f} s", ended)
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
