"""`monserver host`: the hosts that have an agent."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from monagent.cli.options import json_option, print_json
from monagent.cli.server_kinds import kind_group
from monagent.cli.server_options import config_option, known_host, open_database
from monagent.server.records import Host
from monagent.server.site import hosts
from monagent.server.site.model import Content


def _added(name: str, content: Content) -> str:
    return f"added {name}, {content['address']} port {content.get('port', 8080)}"


host = kind_group(
    "host", "Define the hosts that have an agent.", "web1 192.0.2.10 --group web", positional=["address"], tell=_added
)


@host.command("list")
@config_option
@json_option
def list_hosts(config: Path, as_json: bool) -> None:
    """List the hosts."""
    with open_database(config).read() as db:
        found = hosts.hosts(db)
    if as_json:
        print_json([_host_dict(one) for one in found])
        return
    if not found:
        click.echo("no hosts yet; monserver host add NAME ADDRESS defines one", err=True)
    width = max((len(one.name) for one in found), default=0)
    for one in found:
        click.echo(f"{one.name:{width}}  {one.address}:{one.port}  {' '.join(one.sources)}".rstrip())


@host.command("show")
@click.argument("name")
@config_option
@json_option
def show_host(name: str, config: Path, as_json: bool) -> None:
    """Show one host."""
    shown = _host_dict(known_host(open_database(config), name))
    if as_json:
        print_json(shown)
        return
    for key, value in shown.items():
        click.echo(f"{key:8} {value}")


def _host_dict(one: Host) -> dict[str, Any]:
    shown = {"name": one.name, "address": one.address, "port": one.port, "sources": list(one.sources)}
    more = {"groups": list(one.groups), "server": one.url, "tls": one.tls}
    return shown | {key: value for key, value in more.items() if value}
