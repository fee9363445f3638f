"""`monserver sensor upload|versions|current|push`: the versions of the sensors' packages."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

import click

from monagent.cli.options import json_option, print_json
from monagent.cli.server_choice import chosen, group_options, operator, print_table, require_choice
from monagent.cli.server_options import config_option, open_database, require_server
from monagent.cli.signing_key import read_file
from monagent.config import server_settings, values
from monagent.errors import Refused
from monagent.protocol import PACKAGE_LIMIT
from monagent.server.database import Database
from monagent.server.repository.repository import Package, Repository
from monagent.server.rollouts import orders, states
from monagent.server.rollouts.orders import Order
from monagent.server.rollouts.rows import Member
from monagent.server.times import iso, shown

F = TypeVar("F", bound=Callable[..., Any])

POLL_SECONDS = 0.1
EXIT_LATER = 75
_GONE = (states.HEALTHY, states.FAILED, states.AWAY)


def repository_of(config: Path, database: Database) -> Repository:
    """The packages of the server that the configuration is about."""
    section = server_settings.load(config).sensor
    return Repository(database, section.source_dir, section.public_key)


def seconds_option(name: str, default: str | None, help_text: str) -> Callable[[F], F]:
    """Adds an option that is a duration such as `90s` or `15m`; the command gets seconds."""

    def read(_context: click.Context, _parameter: click.Parameter, given: str | None) -> float | None:
        try:
            return None if given is None else values.duration(given, Path())
        except ValueError as error:
            raise click.BadParameter(str(error)) from None

    return click.option(
        name, callback=read, default=default, show_default=default is not None, metavar="T", help=help_text
    )


@click.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--version", metavar="V", help="Default: what its manifest says, or the next number.")
@click.option("--note", default="", metavar="TEXT", help="What is new, for people.")
@config_option
@json_option
def upload(file: Path, version: str | None, note: str, config: Path, as_json: bool) -> None:
    """Keep a package of a sensor (`monagent sensor pack` makes it), after looking at it as an agent would.

    With `[sensor] public_key` in server.cfg, only packages signed by that key are taken. Agents are given it by
    `monserver rollout start`, `push` or `current`; the first version of a sensor is current at once.
    """
    content, _ = read_file(file, PACKAGE_LIMIT)
    database = open_database(config)
    package, warnings = repository_of(config, database).upload(content, version, note, time.time())
    for warning in warnings:
        click.echo(f"warning: {warning}", err=True)
    if as_json:
        print_json(_as_dict(package))
        return
    click.echo(f"{package.sensor} {package.version}{'  (current)' if package.current else ''}")


@click.command()
@click.argument("sensor", required=False)
@config_option
@json_option
def versions(sensor: str | None, config: Path, as_json: bool) -> None:
    """List the versions of SENSOR, oldest first, or the newest version of every sensor. A * marks the current one."""
    repository = repository_of(config, open_database(config))
    found = repository.versions(sensor) if sensor else repository.sensors()
    if sensor and not found:
        raise Refused(f"no version of {sensor} is kept here; monserver sensor versions names the sensors that are")
    if as_json:
        print_json([_as_dict(package) for package in found])
        return
    if not found:
        click.echo("no packages yet; monserver sensor upload FILE brings one", err=True)
        return
    rows = [
        [
            one.sensor, f"{one.version}{' *' if one.current else ''}", shown(one.uploaded),
            "signed" if one.signed_by else "-", one.digest[:19], one.note,
        ]
        for one in found
    ]  # fmt: skip
    print_table(["SENSOR", "VERSION", "UPLOADED", "SIGNED", "DIGEST", "NOTE"], rows)


@click.command()
@click.argument("sensor")
@click.argument("version")
@config_option
def current(sensor: str, version: str, config: Path) -> None:
    """Give agents VERSION of SENSOR from now on, when they are told to update. Nobody is told by this."""
    repository = repository_of(config, open_database(config))
    repository.make_current(repository.find(sensor, version))
    click.echo(f"{sensor} {version} is current", err=True)


@click.command()
@click.argument("sensor")
@click.argument("names", metavar="[HOST]...", nargs=-1)
@group_options
@click.option("--version", metavar="V", help="Default: the current one.")
@seconds_option("--wait", "2m", "How long to wait for the outcomes.")
@click.option("--by", default=operator, metavar="NAME", help="Who wants it. Default: you.")
@config_option
@json_option
@click.pass_context
def push(
    context: click.Context,
    sensor: str,
    names: tuple[str, ...],
    groups: tuple[str, ...],
    everybody: bool,
    version: str | None,
    wait: float,
    by: str,
    config: Path,
    as_json: bool,
) -> None:
    """Have hosts install SENSOR now, all of them, whatever comes of it. `monserver run` must be running.

    What is current stays so. Exit 0 when all have installed it, 1 when not, 75 when not all have answered in time.
    To try a version on a few hosts first, and to stop when it is bad, use `monserver rollout`.
    """
    require_choice(names, groups, everybody=everybody)
    database = open_database(config)
    package = _to_push(repository_of(config, database), sensor, version)
    require_server(config)
    with database.write() as db:
        hosts = chosen(db, names, groups, everybody=everybody)
        order = Order(package.id, [[host.id for host in hosts]], wait, restore=False, by=by, push=True)
        id_ = orders.start(db, database, order, time.time())
    members = _wait(database, id_, wait)
    _tell(members, as_json=as_json)
    waiting = [member for member in members if member.state not in _GONE]
    if waiting:
        click.echo(f"monserver: {len(waiting)} hosts have not answered yet; monserver rollout show {id_}", err=True)
    well = all(member.state == states.HEALTHY for member in members)
    context.exit(EXIT_LATER if waiting else 0 if well else 1)


def _to_push(repository: Repository, sensor: str, version: str | None) -> Package:
    if version is not None:
        return repository.find(sensor, version)
    package = repository.current(sensor)
    if package is None:
        newest = repository.find(sensor)
        raise Refused(f"no version of {sensor} is current; --version {newest.version} names the newest one")
    return package


def _wait(database: Database, rollout_id: int, seconds: float) -> list[Member]:
    until = time.monotonic() + seconds
    while True:
        with database.read() as db:
            one, members = orders.shown(db, rollout_id)
        if one.state != states.RUNNING or time.monotonic() > until:
            return members
        time.sleep(POLL_SECONDS)


def _tell(members: list[Member], *, as_json: bool) -> None:
    words = {states.HEALTHY: "installed"}
    if as_json:
        print_json(
            [{"host": one.name, "state": words.get(one.state, one.state), "message": one.reason} for one in members]
        )
        return
    print_table(
        ["HOST", "STATE", "MESSAGE"], [[one.name, words.get(one.state, one.state), one.reason or ""] for one in members]
    )


def _as_dict(package: Package) -> dict[str, Any]:
    return {**asdict(package), "uploaded": iso(package.uploaded)}


SENSOR_COMMANDS: list[click.Command] = [upload, versions, current, push]
"""For the group `monserver sensor`."""
