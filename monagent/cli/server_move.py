"""`monserver move`: send hosts to another server, and see who went."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
from sqlalchemy import Connection

from monagent.cli.options import json_option, print_json
from monagent.cli.server_choice import chosen, group_options, print_table, require_choice
from monagent.cli.server_options import config_option, open_database, require_server
from monagent.cli.server_sensor_packages import seconds_option
from monagent.config import values
from monagent.server import moves, moving
from monagent.server.database import Database
from monagent.server.moves import Move
from monagent.server.records import Host
from monagent.server.site import store
from monagent.server.site.hosts import hosts_in
from monagent.server.site.model import Site
from monagent.server.times import iso, shown

POLL_SECONDS = 0.5
EXIT_LATER = 75
_OVER = (moving.MOVED, moving.BACK, moving.FAILED)
_TIMES = ("started", "asked", "ended")
_DO = {
    moving.BACK: "monserver move HOST --to URL tries again, monserver move cancel HOST lets it stay here",
    moving.FAILED: "monserver move HOST --to URL tries again, monserver move cancel HOST lets it stay here",
    moving.MOVED: "once the new server has its results, monserver host remove HOST here; an agent whose new server takes "
    "nothing comes back by itself, after ten minutes unless its [monitor] probation says otherwise",
}
"""What an operator may want to do about hosts in these states."""


class _Moving(click.Group):
    """`monserver move HOST…` is short for `monserver move start HOST…`."""

    def parse_args(self, context: click.Context, args: list[str]) -> list[str]:
        if args and args[0] not in self.commands and not {"-h", "--help"} & set(args):
            args = ["start", *args]
        return super().parse_args(context, args)


@click.group(cls=_Moving)
def move() -> None:
    """Send hosts to another server, and see who went, who came back, and why.

    \b
    monserver move web1 web2 --to http://new.example.org:8081/xmlrpc/
    monserver move --group paris --to http://new.example.org:8081/xmlrpc/
    monserver move status
    monserver move cancel web2

    Before, the new server must know the hosts, and the hosts must take its commands. An agent that cannot use the new
    server stays with this one, or comes back to it.
    """  # noqa: D301 - click wants the backspace itself


def _url(_context: click.Context, _parameter: click.Parameter, given: str) -> str:
    try:
        return str(values.url(given, Path()))
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


@move.command("start")
@click.argument("names", metavar="[HOST]...", nargs=-1)
@group_options
@click.option(
    "--to", "url", required=True, callback=_url, metavar="URL", help="The new server, as the agents reach it."
)
@seconds_option("--wait", None, "Wait so long for all of them to have moved or not. Default: do not wait.")
@config_option
@json_option
@click.pass_context
def start_moves(
    context: click.Context,
    names: tuple[str, ...],
    groups: tuple[str, ...],
    everybody: bool,
    url: str,
    wait: float | None,
    config: Path,
    as_json: bool,
) -> None:
    """Let the definitions of these hosts name another server, and tell their agents to go there.

    With --wait, exit 0 when all have moved, 1 when some have not, 75 when that is not known in time.
    """
    require_choice(names, groups, everybody=everybody)
    require_server(config)
    database = open_database(config)
    with database.read() as db:
        hosts = chosen(db, names, groups, everybody=everybody)
    _name_server(database, hosts, url, lambda db, ids, now: moves.start(db, database, ids, url, now))
    click.echo(f"{len(hosts)} hosts are told to move to {url}; monserver move status tells how they fare", err=True)
    if wait is not None:
        context.exit(_wait(database, {host.name for host in hosts}, wait, as_json=as_json))


@move.command("status")
@config_option
@json_option
def status(config: Path, as_json: bool) -> None:
    """Show who moved, who came back, and why."""
    with open_database(config).read() as db:
        found = moves.listing(db)
    _tell(found, as_json=as_json)


@move.command("cancel")
@click.argument("names", metavar="[HOST]...", nargs=-1)
@group_options
@config_option
def cancel(names: tuple[str, ...], groups: tuple[str, ...], everybody: bool, config: Path) -> None:
    """Let these hosts stay with this server: their definitions name no other any more, and the move is forgotten.

    An agent that has gone already is not called back.
    """
    require_choice(names, groups, everybody=everybody)
    database = open_database(config)
    with database.read() as db:
        hosts = chosen(db, names, groups, everybody=everybody)
    _name_server(database, hosts, None, lambda db, ids, now: moves.forget(db, database, ids, now))
    click.echo(f"{len(hosts)} hosts stay here", err=True)


def _name_server(
    database: Database, hosts: Sequence[Host], url: str | None, then: Callable[[Connection, list[int], float], None]
) -> None:
    """Let definitions name a server, and do what goes with it, both or neither."""
    now = time.time()
    names = [host.name for host in hosts]

    def edit(site: Site) -> Site:
        changed = dict(site.definitions)
        for name in names:
            content = changed.get(("host", name))
            if content is not None:  # removed meanwhile
                kept = {key: value for key, value in content.items() if key != "server"}
                changed["host", name] = kept if url is None else {**kept, "server": url}
        return Site(changed)

    store.change(database, edit, now, lambda db: then(db, [host.id for host in hosts_in(db, names, ())], now))


def _wait(database: Database, names: set[str], seconds: float, *, as_json: bool) -> int:
    until = time.monotonic() + seconds
    while True:
        with database.read() as db:
            found = [one for one in moves.listing(db) if one.host in names]
        over = all(one.state in _OVER for one in found)
        if over or time.monotonic() > until:
            break
        time.sleep(POLL_SECONDS)
    _tell(found, as_json=as_json)
    return EXIT_LATER if not over else int(any(one.state != moving.MOVED for one in found))


def _tell(found: Sequence[Move], *, as_json: bool) -> None:
    if as_json:
        print_json([_as_dict(one) for one in found])
        return
    if not found:
        click.echo("nobody was told to move; monserver move HOST --to URL does", err=True)
        return
    rows = [
        [one.host, one.state, shown(one.ended or one.asked or one.started), one.url, one.reason or ""] for one in found
    ]
    print_table(["HOST", "STATE", "SINCE", "TO", "WHY"], rows)
    counts = Counter(one.state for one in found)
    click.echo(", ".join(f"{count} {state}" for state, count in sorted(counts.items())), err=True)
    for state in sorted(counts.keys() & _DO.keys()):
        click.echo(f"{state}: {_DO[state]}", err=True)


def _as_dict(one: Move) -> dict[str, Any]:
    return {name: iso(value) if name in _TIMES else value for name, value in asdict(one).items()}
