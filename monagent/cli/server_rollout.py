"""`monserver rollout`: a new version of a sensor, in stages, as long as it does well."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from monagent.cli.options import json_option, print_json
from monagent.cli.server_choice import chosen, group_options, operator, print_table
from monagent.cli.server_options import config_option, open_database
from monagent.cli.server_sensor_packages import repository_of, seconds_option
from monagent.server.database import Database
from monagent.server.rollouts import orders, plan, states
from monagent.server.rollouts.orders import Order
from monagent.server.rollouts.rows import Member, Rollout
from monagent.server.times import iso, shown

POLL_SECONDS = 0.2
WATCH_SECONDS = 86_400.0
EXIT_LATER = 75
_OVER = (states.DONE, states.STOPPED, states.RESTORED)
_TIMES = ("started", "ended", "changed")
_id_argument = click.argument("rollout_id", metavar="ID", type=click.IntRange(1, 2**31 - 1))


@click.group()
def rollout() -> None:
    """Bring a new version of a sensor to more and more hosts, and stop when it does not do well.

    \b
    monserver sensor upload disk.tar.bz2
    monserver rollout start disk --restore --watch

    A stage is over when each of its hosts has installed the version, and the host's own checks with that sensor have
    given a good reading since. One host that fails stops it all; of hosts that cannot be reached a tenth of a stage may
    be left out (and always one, but none in the first stage). With the last stage the version becomes current.
    """  # noqa: D301 - click wants the backspace itself


def _stages(_context: click.Context, _parameter: click.Parameter, given: str) -> tuple[plan.Goal, ...]:
    try:
        return plan.goals_of(given)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


@rollout.command("start")
@click.argument("sensor")
@click.option("--version", metavar="V", help="Default: the newest one that was uploaded.")
@click.option(
    "--stages", callback=_stages, default=plan.STAGES, show_default=True, help="How many hosts have it after each."
)
@click.option("--host", "names", multiple=True, metavar="HOST", help="Only this one. May be given several times.")
@group_options
@seconds_option("--patience", "15m", "For each host to update, and then again for its checks to run.")
@click.option("--restore", is_flag=True, help="When it stops by itself, put the former version back on all of them.")
@click.option("--by", default=operator, metavar="NAME", help="Who wants it. Default: you.")
@click.option("--watch", is_flag=True, help="Stay and tell how it goes, as `monserver rollout watch` does.")
@config_option
@click.pass_context
def start_rollout(
    context: click.Context,
    sensor: str,
    version: str | None,
    stages: tuple[plan.Goal, ...],
    names: tuple[str, ...],
    groups: tuple[str, ...],
    everybody: bool,
    patience: float,
    restore: bool,
    by: str,
    watch: bool,
    config: Path,
) -> None:
    """Roll SENSOR out to the hosts that have it, or to those that are named. Prints the roll-out's number."""
    if everybody and (names or groups):
        raise click.UsageError("--all means all hosts: name no others beside it")
    database = open_database(config)
    package = repository_of(config, database).find(sensor, version)
    with database.write() as db:
        named = bool(everybody or names or groups)
        hosts = chosen(db, names, groups, everybody=everybody) if named else orders.hosts_running(db, sensor)
        split = plan.split([host.id for host in hosts], stages)
        id_ = orders.start(db, database, Order(package.id, split, patience, restore, by), time.time())
    sizes = ", ".join(str(len(stage)) for stage in split)
    click.echo(f"roll-out of {sensor} {package.version} to {len(hosts)} hosts (stages of {sizes})", err=True)
    click.echo(str(id_))
    if watch:
        context.exit(_watch(database, id_, WATCH_SECONDS))


@rollout.command("list")
@config_option
@json_option
def list_rollouts(config: Path, as_json: bool) -> None:
    """List the newest roll-outs, newest first, and pushes."""
    with open_database(config).read() as db:
        found = orders.listing(db)
    if as_json:
        print_json([{**_as_dict(one), "hosts": counts} for one, counts in found])
        return
    if not found:
        click.echo("no roll-outs yet; monserver rollout start SENSOR begins one", err=True)
        return
    rows = [
        [str(one.id), _name(one), one.state, _stage(one), shown(one.started), one.by, _counted(counts)]
        for one, counts in found
    ]
    print_table(["ID", "SENSOR", "STATE", "STAGE", "STARTED", "BY", "HOSTS"], rows)


@rollout.command("show")
@_id_argument
@config_option
@json_option
def show_rollout(rollout_id: int, config: Path, as_json: bool) -> None:
    """Show a roll-out with each of its hosts."""
    with open_database(config).read() as db:
        one, members = orders.shown(db, rollout_id)
    if as_json:
        print_json({**_as_dict(one), "hosts": [_as_dict(member) for member in members]})
        return
    click.echo(f"{_name(one)} to {len(members)} hosts by {one.by}, stage {_stage(one)}: {one.state}")
    click.echo(f"started {shown(one.started)}, ended {shown(one.ended)}")
    if one.reason:
        click.echo(f"because: {one.reason}")
    click.echo("")
    rows = [[str(each.stage + 1), each.name, each.state, shown(each.changed), each.reason or ""] for each in members]
    print_table(["STAGE", "HOST", "STATE", "SINCE", "WHY"], rows)


@rollout.command("stop")
@_id_argument
@click.option("--by", default=operator, metavar="NAME", help="Who wants it. Default: you.")
@config_option
def stop_rollout(rollout_id: int, by: str, config: Path) -> None:
    """Send nothing more. What was sent comes to its end, and what is installed stays."""
    database = open_database(config)
    with database.write() as db:
        orders.stop(db, database, rollout_id, by, time.time())
    click.echo(f"stopped; monserver rollout restore {rollout_id} puts the former version back", err=True)


@rollout.command("restore")
@_id_argument
@click.option("--by", default=operator, metavar="NAME", help="Who wants it. Default: you.")
@config_option
def restore_rollout(rollout_id: int, by: str, config: Path) -> None:
    """Put the former version back on every host that has installed this one; the former one becomes current again."""
    database = open_database(config)
    with database.write() as db:
        orders.restore(db, database, rollout_id, by)
    click.echo(f"taking it back; monserver rollout watch {rollout_id} tells how it goes", err=True)


@rollout.command("watch")
@_id_argument
@seconds_option("--wait", "24h", "How long at most.")
@config_option
@click.pass_context
def watch_rollout(context: click.Context, rollout_id: int, wait: float, config: Path) -> None:
    """Tell how a roll-out goes, until it is over. Exit 0 when it is done, 1 when it stopped, 75 when it goes on."""
    context.exit(_watch(open_database(config), rollout_id, wait))


def _watch(database: Database, rollout_id: int, seconds: float) -> int:
    until = time.monotonic() + seconds
    told = ""
    while True:
        with database.read() as db:
            one, members = orders.shown(db, rollout_id)
        line = f"{_name(one)} {one.state}, stage {_stage(one)}: {_counted(Counter(each.state for each in members))}"
        if line != told:
            click.echo(f"{time.strftime('%H:%M:%S')} {line}")
            told = line
        if one.state in _OVER:
            if one.reason:
                click.echo(one.reason, err=True)
            return 0 if one.state == states.DONE else 1
        if time.monotonic() > until:
            return EXIT_LATER
        time.sleep(POLL_SECONDS)


def _name(one: Rollout) -> str:
    return f"{one.sensor} {one.version}{' (push)' if one.push else ''}"


def _stage(one: Rollout) -> str:
    return f"{one.stage + 1}/{len(one.stages)}"


def _counted(counts: dict[str, int]) -> str:
    return ", ".join(f"{count} {state}" for state, count in sorted(counts.items()))


def _as_dict(one: Rollout | Member) -> dict[str, Any]:
    return {name: iso(value) if name in _TIMES else value for name, value in asdict(one).items()}
