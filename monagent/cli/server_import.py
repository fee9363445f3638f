"""`monserver import`: take over a monitor.db of the original tutorial system."""

from __future__ import annotations

import time
from collections.abc import Iterable
from pathlib import Path
from zoneinfo import ZoneInfo

import click

from monagent.cli.server_options import config_option, open_database
from monagent.server.site import store, times
from monagent.server.site.difference import Difference
from monagent.server.site.original.adoption import adopt
from monagent.server.site.original.file import opened
from monagent.server.site.original.taking_over import Tally, define, take_readings, with_adopted

_UNITS = {"minutes": 60.0, "seconds": 1.0}
NOTES = 200


def _zone(_context: click.Context, _parameter: click.Parameter, value: str) -> ZoneInfo:
    try:
        return ZoneInfo(times.timezone(value))
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


@click.command("import")
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "--interval-unit",
    type=click.Choice(list(_UNITS)),
    default="minutes",
    show_default=True,
    help="What probeinterval was counted in: the original scheduler ran once a minute.",
)
@click.option(
    "--timezone",
    "zone",
    default="UTC",
    show_default=True,
    callback=_zone,
    help="Of times in FILE that do not tell theirs.",
)
@click.option("--dry-run", is_flag=True, help="Show what would be defined, change nothing.")
@config_option
def import_(file: Path, interval_unit: str, zone: ZoneInfo, config: Path, *, dry_run: bool) -> None:
    """Take over FILE, the monitor.db of the original tutorial system: its definitions and all its readings.

    The file is only read. Thresholds, which meant "bad above", become ranges like ~:80. What is defined here otherwise under the
    same name is told, and nothing is changed then. Importing a file again adds only what it did not have before.
    """
    with opened(file) as original:
        found = original.everything()
        adopted = adopt(found, _UNITS[interval_unit])
        _tell([f"intervals are taken as {interval_unit} (--interval-unit)", *adopted.notes])
        database = open_database(config, create=not dry_run)
        if dry_run:
            with database.read() as db:
                site = store.load(db)
            _show(Difference(site, with_adopted(site, adopted)).told())
            click.echo(f"{found.readings} readings would be looked at", err=True)
            return
        now = time.time()
        _show(define(database, adopted, now).told())
        _count(take_readings(database, adopted.series, original.readings(), zone, now))


def _tell(notes: list[str]) -> None:
    for note in notes[:NOTES]:
        click.echo(f"note: {note}", err=True)
    if len(notes) > NOTES:
        click.echo(f"note: and {len(notes) - NOTES} more of that kind", err=True)


def _show(lines: Iterable[str]) -> None:
    for line in lines:
        click.echo(line)


def _count(tally: Tally) -> None:
    there = f", {tally.there} were here already" if tally.there else ""
    click.echo(f"{tally.taken} readings taken over{there}", err=True)
    for reason, count in tally.left_out.items():
        click.echo(f"{count} readings left out: {reason}", err=True)
