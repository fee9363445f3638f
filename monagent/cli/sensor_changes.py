"""`monagent sensor install|restore`: change what is installed here, by the road that a server's command takes."""

from __future__ import annotations

from pathlib import Path

import click

from monagent.agent.receipts import RECEIPTS_FILE, Receipts
from monagent.agent.wiring import sensor_probation, sensor_store, sensor_updater
from monagent.cli.options import config_option, json_option, print_json
from monagent.config import settings
from monagent.errors import PackageRefused
from monagent.models import Outcome, is_sensor_name
from monagent.protocol import PACKAGE_LIMIT
from monagent.sensors.archive import top_of
from monagent.sensors.occupancy import Occupancy
from monagent.sensors.runner import Runner
from monagent.sensors.updater import Updater


def add_to(group: click.Group) -> None:
    """Make the commands part of `monagent sensor`."""
    for command in (install, restore):
        group.add_command(command)


@click.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@config_option
@json_option
def install(file: Path, config: Path, as_json: bool) -> None:
    """Install the sensor package FILE here: verify it, test it, swap it in, keep the version before as a backup.

    A running agent need not be stopped. When anything is wrong, nothing is changed, and the exit code is 1.

    \b
    Example:
      monagent sensor install disk.tar.bz2
    """  # noqa: D301 - click wants the backspace itself
    package = _read(file)
    name = top_of(package)
    if not is_sensor_name(name):
        raise PackageRefused(f"{file}: it holds {name!r}, which is no sensor's name")
    _tell(_updater(config).install(name, package), as_json=as_json)


@click.command()
@click.argument("name")
@config_option
@json_option
def restore(name: str, config: Path, as_json: bool) -> None:
    """Put the newest backup of sensor NAME back, tested before; what stands there now becomes a backup itself.

    \b
    Example:
      monagent sensor restore disk
    """  # noqa: D301 - click wants the backspace itself
    if not is_sensor_name(name):
        raise click.BadParameter("that is no sensor's name (letters, digits, _ - . and at most 64)", param_hint="NAME")
    _tell(_updater(config).restore(name), as_json=as_json)


def _read(file: Path) -> bytes:
    with file.open("rb") as opened:
        package = opened.read(PACKAGE_LIMIT + 1)
    if len(package) > PACKAGE_LIMIT:
        raise PackageRefused(f"{file} is larger than {PACKAGE_LIMIT} bytes")
    return package


def _updater(config: Path) -> Updater:
    loaded = settings.load(config)
    receipts = Receipts(loaded.agent.state / RECEIPTS_FILE)
    return sensor_updater(
        loaded,
        sensor_store(loaded),
        Occupancy(),
        Runner().run,
        sensor_probation(loaded),
        # What a crashed agent left is finished here, too; it will want to know.
        lambda record: receipts.keep(record.token, record.outcome),
    )


def _tell(outcome: Outcome, *, as_json: bool) -> None:
    if as_json:
        print_json(outcome)
    else:
        click.echo(outcome["message"])
        if outcome["replaced"]:
            click.echo(f"the version before is kept as {outcome['replaced']['backup']}", err=True)
