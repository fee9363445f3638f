"""`monagent sensor`: the sensors on this host."""

from __future__ import annotations

from pathlib import Path

import click

from monagent.agent.commands import submit_reading
from monagent.agent.wiring import sensor_store
from monagent.cli.options import config_option, json_option, print_json
from monagent.config import settings
from monagent.errors import BadArguments
from monagent.models import Outcome, Run
from monagent.sensors.runner import Runner


@click.group()
def sensor() -> None:
    """List sensors, and run one as the agent would."""


@sensor.command("list")
@config_option
@json_option
def list_sensors(config: Path, as_json: bool) -> None:
    """Print the name and program of every sensor."""
    store = sensor_store(settings.load(config))
    found = [one for one in map(store.find, store.names()) if one is not None]
    if as_json:
        print_json([{"name": one.name, "command": list(one.command), "timeout": one.timeout} for one in found])
        return
    width = max((len(one.name) for one in found), default=0)
    for one in found:
        click.echo(f"{one.name:{width}}  {' '.join(one.command)}")


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
    result = Runner().run(Run((*found.command, *arguments), found.timeout, found.output_limit, found.user))
    outcome = submit_reading.reading(result)
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
