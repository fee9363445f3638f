"""`monagent sensor`: the sensors on this host."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from monagent.agent.commands import submit_reading
from monagent.agent.wiring import sensor_store
from monagent.cli import sensor_changes, sensor_new, sensor_packages, signing_key
from monagent.cli.options import config_option, json_option, print_json
from monagent.config import settings
from monagent.errors import BadArguments
from monagent.models import Outcome, Sensor
from monagent.sensors.inventory import Installed
from monagent.sensors.runner import Runner


@click.group()
def sensor() -> None:
    """List sensors, run one as the agent would, make new ones and their packages."""


sensor_changes.add_to(sensor)
sensor_packages.add_to(sensor)
sensor.add_command(sensor_new.new)
sensor.add_command(signing_key.keygen)


@sensor.command("list")
@config_option
@json_option
def list_sensors(config: Path, as_json: bool) -> None:
    """Print the name, version, digest and program of every sensor. Nothing is run.

    A version marked with + was changed by hand since it was installed.
    """
    store = sensor_store(settings.load(config))
    found = [one for one in map(store.find, store.names()) if one is not None]
    if as_json:
        print_json([_as_json(one, store.installed(one.name)) for one in found])
        return
    rows = [_row(one, store.installed(one.name)) for one in found]
    widths = [max(len(row[column]) for row in rows) for column in range(3)] if rows else []
    for row in rows:
        cells = [f"{cell:{width}}" for cell, width in zip(row, widths, strict=False)]
        click.echo("  ".join([*cells, row[3]]))


def _as_json(sensor: Sensor, here: Installed) -> dict[str, Any]:
    return {"name": sensor.name, "command": list(sensor.command), "timeout": sensor.timeout, **here.as_value()}


def _row(sensor: Sensor, here: Installed) -> tuple[str, str, str, str]:
    version = f"{here.version}{'+' if here.changed else ''}" or "-"
    return sensor.name, version, here.digest.removeprefix("sha256:")[:12] or "-", " ".join(sensor.command)


@sensor.command("run", context_settings={"ignore_unknown_options": True})
@click.argument("name")
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
@config_option
@json_option
@click.pass_context
def run_sensor(context: click.Context, name: str, arguments: tuple[str, ...], config: Path, as_json: bool) -> None:
    """Run sensor NAME with ARGUMENTS within the agent's limits and print its reading.

    Exit 0 when there is a number to trust, 1 when there is not.
    """
    found = sensor_store(settings.load(config)).find(name)
    if found is None:
        raise BadArguments(f"there is no sensor {name!r} here; monagent sensor list names them all")
    result = Runner().run(found.run(arguments))
    outcome = submit_reading.reading(result, found.format)
    if as_json:
        print_json(outcome)
    else:
        _tell(outcome)
    context.exit(0 if outcome["ret_code"] == 0 and not outcome["error"] else 1)


def _tell(outcome: Outcome) -> None:
    click.echo(outcome["data"])
    if outcome["stderr"]:
        click.echo(outcome["stderr"].rstrip(), err=True)
    if outcome["ret_code"] or outcome["error"]:
        click.echo(f"(ended with {outcome['ret_code']}{', ' + outcome['error'] if outcome['error'] else ''})", err=True)
