"""`monserver token`: the tokens that programs read the server with."""

from __future__ import annotations

import time
from dataclasses import asdict
from pathlib import Path

import click

from monagent.cli.options import json_option, print_json
from monagent.cli.server_choice import print_table
from monagent.cli.server_options import config_option, open_database
from monagent.server import tokens
from monagent.server.times import iso, shown


@click.group()
def token() -> None:
    """Let programs read this server's JSON API, and its metrics.

    A token may read everything and change nothing. It goes into a header of each request: Authorization: Bearer TOKEN
    """


@token.command("add")
@click.argument("name")
@config_option
def add_token(name: str, config: Path) -> None:
    """Make a token for the program NAME, and print it. It is shown this once, and kept as its SHA-256 alone."""
    made = tokens.add(open_database(config, create=True), name, time.time())
    click.echo(made)
    click.echo(f"this token is not shown again; monserver token remove {name} takes it away", err=True)


@token.command("list")
@config_option
@json_option
def list_tokens(config: Path, as_json: bool) -> None:
    """List who has a token, and when it was used last, to a minute or so. Times are UTC."""
    with open_database(config).read() as db:
        found = tokens.listing(db)
    if as_json:
        print_json([{**asdict(one), "created": iso(one.created), "used": iso(one.used)} for one in found])
    elif found:
        print_table(["NAME", "CREATED", "USED"], [[one.name, shown(one.created), shown(one.used)] for one in found])
    else:
        click.echo("there are no tokens; monserver token add NAME makes one", err=True)


@token.command("remove")
@click.argument("name")
@config_option
def remove_token(name: str, config: Path) -> None:
    """Take the token of NAME away. Whoever has it reads nothing from now on."""
    tokens.remove(open_database(config), name)
    click.echo(f"removed: token {name}", err=True)
