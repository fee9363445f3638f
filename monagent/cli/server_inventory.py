"""`monserver inventory`: what the hosts have installed, against what should be there."""

from __future__ import annotations

import time
from dataclasses import asdict
from pathlib import Path

import click

from monagent.cli.options import json_option, print_json
from monagent.cli.server_choice import chosen, group_options, print_table
from monagent.cli.server_options import config_option, open_database, require_server
from monagent.cli.server_sensor_packages import seconds_option
from monagent.server.database import Database
from monagent.server.records import Host
from monagent.server.repository import inventory as kept
from monagent.server.rollouts.rows import answers
from monagent.server.site.hosts import chunks
from monagent.server.ticketing import issue
from monagent.server.times import iso, shown

POLL_SECONDS = 0.1
EXIT_LATER = 75
_WRONG = (kept.MISSING, kept.OTHER, kept.EDITED)


@click.command()
@click.argument("names", metavar="[HOST]...", nargs=-1)
@group_options
@click.option("--wrong", is_flag=True, help="Only what is not as it should be.")
@click.option("--refresh", is_flag=True, help="Ask the agents first. `monserver run` must be running.")
@seconds_option("--wait", "60s", "How long to wait for their answers.")
@config_option
@json_option
@click.pass_context
def inventory(
    context: click.Context,
    names: tuple[str, ...],
    groups: tuple[str, ...],
    everybody: bool,
    wrong: bool,
    refresh: bool,
    wait: float,
    config: Path,
    as_json: bool,
) -> None:
    """Show the sensors of the hosts, by what they told last.

    \b
    ok        as it should be
    missing   a probe needs it, and it is not there
    other     not the version that is current at this server
    edited    somebody changed it on the host
    extra     no probe uses it
    unknown   the host has not told, or there is nothing to compare with

    Exit 0 when nothing is missing, other or edited, 1 when something is, 75 when not all hosts that were asked told.
    """  # noqa: D301 - click wants the backspace itself
    database = open_database(config)
    with database.read() as db:
        hosts = chosen(db, names, groups, everybody=everybody or not (names or groups))
    silent: list[str] = []
    if refresh and hosts:
        require_server(config)
        silent = _refresh(database, hosts, wait)
    with database.read() as db:
        found = [one for one in kept.findings(db, hosts) if not wrong or one.state in _WRONG]
    if as_json:
        print_json([{**asdict(one), "reported": iso(one.reported)} for one in found])
    elif found:
        rows = [
            [one.host, one.sensor, one.state, one.installed or "-", one.wanted or "-", shown(one.reported)]
            for one in found
        ]
        print_table(["HOST", "SENSOR", "STATE", "INSTALLED", "CURRENT", "TOLD"], rows)
    else:
        click.echo("nothing to show; --refresh asks the agents what they have", err=True)
    for line in silent:
        click.echo(f"monserver: {line}", err=True)
    context.exit(EXIT_LATER if silent else int(any(one.state in _WRONG for one in found)))


def _refresh(database: Database, hosts: list[Host], seconds: float) -> list[str]:
    """Have the hosts tell what they have; what is to be said of those that did not."""
    with database.write() as db:
        asked = {issue(db, host.id, kept.LIST_SENSORS, [], time.time()): host.name for host in hosts}
    until = time.monotonic() + seconds
    said: dict[str, str] = {}
    open_ = set(asked)
    while open_ and time.monotonic() < until:
        time.sleep(POLL_SECONDS)
        with database.read() as db:
            for chunk in chunks(sorted(open_)):
                for ticket, answer in answers(db, chunk).items():
                    if answer.ended is not None:
                        open_.discard(ticket)
                        if not answer.is_ok:
                            said[ticket] = answer.reason or answer.state
    said |= dict.fromkeys(open_, f"nothing came within {seconds:.0f} s")
    return [f"{asked[ticket]}: {why}" for ticket, why in sorted(said.items(), key=lambda pair: asked[pair[0]])]
