"""`monserver host`: the hosts that have an agent."""

from __future__ import annotations

import re
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import click

from monagent.cli.options import json_option, print_json
from monagent.cli.server_options import config_option, known_host, open_store
from monagent.errors import BadArguments
from monagent.server.records import Host


@click.group()
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
    if not re.fullmatch(r"[A-Za-z0-9_.-]+|[0-9A-Fa-f:.%]+", address) or address.count(":") == 1:
        raise click.BadParameter("it is a name or an address alone; its port goes with --port", param_hint="ADDRESS")
    open_store(config, create=True).add_host(name, address, port, sources)
    click.echo(f"added {name}, {address} port {port}", err=True)


@host.command("list")
@config_option
@json_option
def list_hosts(config: Path, as_json: bool) -> None:
    """List the hosts."""
    hosts = open_store(config).hosts()
    if as_json:
        print_json([_host_dict(one) for one in hosts])
        return
    if not hosts:
        click.echo("no hosts yet; monserver host add NAME ADDRESS defines one", err=True)
    width = max((len(one.name) for one in hosts), default=0)
    for one in hosts:
        click.echo(f"{one.name:{width}}  {one.address}:{one.port}  {' '.join(one.sources)}".rstrip())


@host.command("show")
@click.argument("name")
@config_option
@json_option
def show_host(name: str, config: Path, as_json: bool) -> None:
    """Show one host."""
    shown = _host_dict(known_host(open_store(config), name))
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
    store = open_store(config)
    if not store.remove_host(known_host(store, name).name):
        raise BadArguments(f"there is no host {name!r}")


def _host_dict(one: Host) -> dict[str, Any]:
    return {"name": one.name, "address": one.address, "port": one.port, "sources": list(one.sources)}
