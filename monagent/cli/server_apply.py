"""`monserver apply` and `export`: all definitions as one file."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import click

from monagent.cli.server_options import config_option, open_database
from monagent.durable import write_whole
from monagent.errors import Refused
from monagent.server.database import Database
from monagent.server.site import store
from monagent.server.site.difference import Difference
from monagent.server.site.model import Site
from monagent.server.site.reading import read_site
from monagent.server.site.together import doubts
from monagent.server.site.writing import to_toml


@click.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--dry-run", is_flag=True, help="Show the difference, change nothing. Exit 1 when there is one, else 0.")
@config_option
@click.pass_context
def apply(context: click.Context, file: Path, config: Path, *, yes: bool, dry_run: bool) -> None:
    """Make the definitions exactly those of FILE (TOML, as `monserver export` writes it).

    The difference is shown first: + comes, - goes, ~ is changed. What the file does not have goes; a host goes with its tickets,
    readings and incidents. A file with anything wrong in it changes nothing.
    """
    wanted = read_site(file)
    database = open_database(config, create=not dry_run)
    with database.read() as db:
        difference = Difference(store.load(db), wanted)
    for doubt in doubts(wanted):
        click.echo(f"note: {doubt}", err=True)
    if not difference:
        click.echo("nothing to do: the definitions are those of the file already", err=True)
        return
    for line in difference.told():
        click.echo(line)
    click.echo(_summary(difference), err=True)
    if dry_run:
        context.exit(1)
    if not yes and not _asked():
        click.echo("nothing has changed", err=True)
        context.exit(1)
    _apply(database, difference)
    click.echo("done", err=True)


def _asked() -> bool:
    if not sys.stdin.isatty():
        raise click.UsageError("there is no terminal to ask on: look at the difference, then give --yes")
    return click.confirm("Do it?", err=True)


def _apply(database: Database, shown: Difference) -> None:
    def edit(site: Site) -> Site:
        if Difference(shown.before, site):
            raise Refused("somebody else has changed the definitions since the difference was shown; try again")
        return shown.after

    store.change(database, edit, time.time())


def _summary(difference: Difference) -> str:
    counts = {"new": difference.added, "changed": difference.changed, "to be removed": difference.removed}
    told = ", ".join(f"{len(keys)} {what}" for what, keys in counts.items() if keys)
    hosts = sum(kind == "host" for kind, _ in difference.removed)
    if not hosts:
        return told
    return f"{told}; {hosts} host{'s go' if hosts > 1 else ' goes'} with all tickets, readings and incidents"


@click.command()
@click.option("-o", "--output", metavar="FILE", type=click.Path(path_type=Path), help="Write there, not to stdout.")
@config_option
def export(output: Path | None, config: Path) -> None:
    """Write all definitions as one file, which `monserver apply` takes."""
    with open_database(config).read() as db:
        text = to_toml(store.load(db))
    if output is None:
        click.echo(text, nl=False)
    else:
        write_whole(output, text)
