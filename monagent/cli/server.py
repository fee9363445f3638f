"""`monserver`: the reference server's command line."""

from __future__ import annotations

import time
from collections.abc import Callable
from ipaddress import ip_network
from pathlib import Path
from typing import Any, TypeVar

import click

import monagent
from monagent.cli import logs
from monagent.cli.options import (
    SYSTEM_SERVER_CONFIG,
    find_config,
    guarded,
    json_option,
    print_json,
    verbosity_options,
)
from monagent.cli.signals import Ending
from monagent.config import server_settings
from monagent.errors import BadArguments
from monagent.server.dispatcher import Dispatcher
from monagent.server.records import Host, StoredReading
from monagent.server.service import Server
from monagent.server.store import Store, open_engine

F = TypeVar("F", bound=Callable[..., Any])
T = TypeVar("T")

POLL_SECONDS = 0.02
EXIT_LATER = 75


def config_option(command: F) -> F:
    """Adds `-c/--config FILE`; the command gets `config`, a path that may not exist."""

    def found(_context: click.Context, _parameter: click.Parameter, given: str | None) -> Path:
        return find_config(given, "MONSERVER_CONFIG", "server.cfg", SYSTEM_SERVER_CONFIG)

    return click.option(
        "-c",
        "--config",
        metavar="FILE",
        callback=found,
        help="Configuration file. Default: $MONSERVER_CONFIG, ./server.cfg, /etc/monagent/server.cfg, or none.",
    )(command)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(monagent.__version__, prog_name="monserver")
def cli() -> None:
    """The reference server: it sends commands to agents and keeps the results they hand in.

    \b
    First steps:
      monserver run                            start it (SQLite, port 8081)
      monserver host add web1 192.0.2.10       tell it of a host with an agent
      monserver check web1 disk percent /      run a check there now
    """  # noqa: D301 - click wants the backspace itself


@cli.command()
@config_option
@verbosity_options
def run(config: Path, level: str) -> None:
    """Run the server in the foreground, logging to stderr. TERM or INT ends it."""
    settings = server_settings.load(config)
    logs.set_up(level)
    server = Server(settings)
    ending = Ending()
    ending.listen(at_once=lambda: None)
    server.start()
    ending.wait()
    ending.drain(server.stop)


@cli.group()
def host() -> None:
    """Define the hosts that have an agent."""


@host.command("add")
@click.argument("name")
@click.argument("address")
@click.option("--port", default=8080, show_default=True, type=click.IntRange(1, 65535), help="The agent's port.")
@click.option(
    "--from",
    "sources",
    multiple=True,
    metavar="NETWORK",
    help="Where its results may come from, when that is not ADDRESS itself. May be given several times.",
)
@config_option
def add_host(name: str, address: str, port: int, sources: tuple[str, ...], config: Path) -> None:
    """Add host NAME, whose agent listens at ADDRESS."""
    for source in sources:
        try:
            ip_network(source)
        except ValueError:
            raise click.BadParameter(
                f"{source!r} is not a network (example: 192.0.2.0/24)", param_hint="--from"
            ) from None
    _store(config).add_host(name, address, port, sources)


@host.command("list")
@config_option
@json_option
def list_hosts(config: Path, as_json: bool) -> None:
    """List the hosts."""
    hosts = _store(config).hosts()
    if as_json:
        print_json([_host_dict(one) for one in hosts])
        return
    width = max((len(one.name) for one in hosts), default=0)
    for one in hosts:
        click.echo(f"{one.name:{width}}  {one.address}:{one.port}  {' '.join(one.sources)}".rstrip())


@host.command("show")
@click.argument("name")
@config_option
@json_option
def show_host(name: str, config: Path, as_json: bool) -> None:
    """Show one host."""
    shown = _host_dict(_known_host(_store(config), name))
    if as_json:
        print_json(shown)
        return
    for key, value in shown.items():
        click.echo(f"{key:8} {value}")


@host.command("remove")
@click.argument("name")
@config_option
def remove_host(name: str, config: Path) -> None:
    """Forget host NAME with its tickets and readings."""
    store = _store(config)
    if not store.remove_host(_known_host(store, name).name):
        raise BadArguments(f"there is no host {name!r}")


@cli.command(context_settings={"ignore_unknown_options": True})
@click.argument("host_name", metavar="HOST")
@click.argument("sensor")
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
@click.option("--wait", default=60.0, show_default=True, help="Seconds to wait for the reading.")
@config_option
@json_option
@click.pass_context
def check(
    context: click.Context,
    host_name: str,
    sensor: str,
    arguments: tuple[str, ...],
    wait: float,
    config: Path,
    as_json: bool,
) -> None:
    """Run SENSOR with ARGUMENTS on HOST now and print its reading. `monserver run` must be running.

    Exit 0 when there is a number to trust, 1 when there is not, 69 when the agent is away,
    75 when no result came in time.
    """
    store = _store(config)
    ticket = Dispatcher(store).send(_known_host(store, host_name), "cmd_submit_reading", [sensor, list(arguments)])
    reading = _await(lambda: store.reading(ticket), wait)
    if reading is None:
        _no_result(context, ticket, wait)
        return
    if as_json:
        print_json({**_reading_dict(reading)})
    else:
        _tell(reading)
    context.exit(0 if reading.ret_code == 0 and not reading.error else 1)


_SENDABLE = {"status": "cmd_status", "list-sensors": "cmd_list_sensors"}


@cli.command()
@click.argument("host_name", metavar="HOST")
@click.argument("command", type=click.Choice(sorted(_SENDABLE)))
@click.option("--wait", default=60.0, show_default=True, help="Seconds to wait for the outcome.")
@config_option
@click.pass_context
def send(context: click.Context, host_name: str, command: str, wait: float, config: Path) -> None:
    """Send COMMAND to HOST now and print its outcome as JSON. `monserver run` must be running."""
    store = _store(config)
    ticket = Dispatcher(store).send(_known_host(store, host_name), _SENDABLE[command])
    outcome = _await(lambda: store.outcome(ticket), wait)
    if outcome is None:
        _no_result(context, ticket, wait)
        return
    print_json(outcome)
    context.exit(0 if outcome.get("status") == "ok" else 1)


def _store(config: Path) -> Store:
    return Store(open_engine(server_settings.load(config).database.url))


def _known_host(store: Store, name: str) -> Host:
    found = store.host(name)
    if found is None:
        raise BadArguments(f"there is no host {name!r}; monserver host list names them all")
    return found


def _await(look: Callable[[], T | None], seconds: float) -> T | None:
    until = time.monotonic() + seconds
    while (found := look()) is None and time.monotonic() < until:
        time.sleep(POLL_SECONDS)
    return found


def _no_result(context: click.Context, ticket: str, seconds: float) -> None:
    click.echo(
        f"monserver: the agent took ticket {ticket}, but no result came within {seconds:.0f} s; "
        "is `monserver run` up, and does the agent's [monitor] url lead to it?",
        err=True,
    )
    context.exit(EXIT_LATER)


def _tell(reading: StoredReading) -> None:
    click.echo(reading.data)
    if reading.stderr:
        click.echo(reading.stderr.rstrip(), err=True)
    if reading.ret_code or reading.error:
        click.echo(f"(ended with {reading.ret_code}{', ' + reading.error if reading.error else ''})", err=True)


def _host_dict(one: Host) -> dict[str, Any]:
    return {"name": one.name, "address": one.address, "port": one.port, "sources": list(one.sources)}


def _reading_dict(reading: StoredReading) -> dict[str, Any]:
    return {
        "ticket": reading.ticket,
        "host": reading.host,
        "sensor": reading.sensor,
        "arguments": reading.arguments,
        "ret_code": reading.ret_code,
        "data": reading.data,
        "error": reading.error,
        "stderr": reading.stderr,
        "duration": reading.duration,
        "finished": reading.finished.strftime("%Y-%m-%dT%H:%M:%SZ"),
    }


def main() -> None:
    """Entry point."""
    guarded("monserver", cli)


if __name__ == "__main__":
    main()
