"""`monserver ticket`: what became of every command."""

from __future__ import annotations

import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from monagent.cli.options import json_option, print_json
from monagent.cli.server_options import config_option, open_database
from monagent.errors import BadArguments
from monagent.server import tickets
from monagent.server.ticket_list import TicketStory, result, stories, story
from monagent.server.ticket_list import cancel as call_off
from monagent.server.times import iso, shown

STATES = (*tickets.OPEN, tickets.DONE, tickets.FAILED, tickets.EXPIRED, tickets.REFUSED, tickets.CANCELLED)
_TIMES = ("due", "issued", "sent", "acknowledged", "finished", "ended", "expires")


@click.group()
def ticket() -> None:
    """See what became of commands, and call them off.

    A ticket is issued (written down), sent, acknowledged by the agent, and ends as done, failed (it could not be sent,
    or the outcome says error), refused by the agent, expired (nothing came in time) or cancelled.
    """


@ticket.command("list")
@click.option("--host", "host_name", metavar="HOST", help="Only those of this host.")
@click.option(
    "--state", "states", multiple=True, type=click.Choice(STATES), help="Only these. May be given several times."
)
@click.option("--limit", default=50, show_default=True, type=click.IntRange(1, 100_000), help="The newest so many.")
@config_option
@json_option
def list_tickets(host_name: str | None, states: tuple[str, ...], limit: int, config: Path, as_json: bool) -> None:
    """List tickets, the newest first."""
    with open_database(config).read() as db:
        found = stories(db, host=host_name, states=states, limit=limit)
    if as_json:
        print_json([_as_dict(one) for one in found])
        return
    for one in found:
        arguments = " ".join(map(str, _flat(one)))
        line = f"{one.ticket}  {shown(one.issued)}  {one.state:12}  {one.host}  {one.method} {arguments}".rstrip()
        click.echo(f"{line}  ({one.reason})" if one.reason else line)
    if not found:
        click.echo("no such tickets", err=True)


@ticket.command("show")
@click.argument("name", metavar="TICKET")
@config_option
@json_option
def show_ticket(name: str, config: Path, as_json: bool) -> None:
    """Show the story of one ticket, with what came back. Times are UTC."""
    with open_database(config).read() as db:
        found, content = story(db, name), result(db, name)
    if found is None:
        raise _unknown(name)
    if as_json:
        print_json({**_as_dict(found), "result": content})
        return
    click.echo(f"{'ticket':13} {found.ticket}\n{'host':13} {found.host}")
    click.echo(f"{'command':13} {found.method} {' '.join(map(str, _flat(found)))}".rstrip())
    click.echo(f"{'state':13} {found.state}{f' ({found.reason})' if found.reason else ''}")
    for name_of_time in _TIMES:
        if (when := getattr(found, name_of_time)) is not None:
            click.echo(f"{name_of_time:13} {shown(when)}")
    for key, value in (content or {}).items():
        if value not in (None, "", []):
            click.echo(f"{key:13} {value}")


@ticket.command("cancel")
@click.argument("name", metavar="TICKET")
@config_option
def cancel_ticket(name: str, config: Path) -> None:
    """Call a ticket off: it is not sent any more, and no result is taken for it.

    An agent that has acknowledged it does the work all the same; it cannot be called back.
    """
    database = open_database(config)
    with database.write() as db:
        before = call_off(db, database, name, time.time())
    if before is None:
        raise _unknown(name)
    if before not in tickets.OPEN:
        raise BadArguments(f"this ticket is {before} already")
    told = "; the agent has it, and does the work all the same" if before != tickets.ISSUED else ""
    click.echo(f"cancelled{told}", err=True)


def _unknown(name: str) -> BadArguments:
    return BadArguments(f"there is no ticket {name!r}; monserver ticket list names the newest")


def _flat(one: TicketStory) -> list[Any]:
    """The arguments as somebody would type them."""
    return [part for argument in one.arguments for part in (argument if isinstance(argument, list) else [argument])]


def _as_dict(one: TicketStory) -> dict[str, Any]:
    return {name: iso(value) if name in _TIMES else value for name, value in asdict(one).items()}
