"""`monserver incident`: what goes on, and who has it in hand."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from monagent.cli.options import json_option, print_json
from monagent.cli.server_choice import operator, print_table
from monagent.cli.server_options import config_option, known_host, open_database
from monagent.errors import BadArguments
from monagent.mail.text import one_line, paragraph
from monagent.server.alerts import listing
from monagent.server.alerts.acknowledging import acknowledge
from monagent.server.times import age, iso, shown

_TIMES = ("opened", "closed", "told", "acknowledged", "at", "created", "sent", "next_try")
_COLUMNS = ("ID", "STATE", "HOST", "PROBE", "OPENED", "FOR", "NOTE", "MESSAGE")


@click.group()
def incident() -> None:
    """See what goes on, and take it in hand.

    An incident is opened when a probe gets bad, when it has no results any more (stale), or when a host hands in
    nothing at all (silent). It closes when that is over.
    """


@incident.command("list")
@click.option("--all", "everything", is_flag=True, help="Those that are over, too.")
@click.option("--host", "host_name", metavar="HOST", help="Only those of this host.")
@click.option("--limit", default=200, show_default=True, type=click.IntRange(1, 100_000), help="The newest so many.")
@config_option
@json_option
def list_incidents(*, everything: bool, host_name: str | None, limit: int, config: Path, as_json: bool) -> None:
    """List the incidents that are open, the newest first. Times are UTC."""
    database = open_database(config)
    if host_name is not None:
        known_host(database, host_name)
    with database.read() as db:
        found = listing.listed(db, closed=everything, of=host_name, limit=limit)
    if as_json:
        print_json([_plain(one) for one in found])
    elif found:
        now = time.time()
        print_table(_COLUMNS, [_row(one, now) for one in found])
    else:
        click.echo("there are no incidents" if everything else "nothing goes on", err=True)


@incident.command("show")
@click.argument("number", metavar="ID", type=click.IntRange(1, 2**31 - 1))
@config_option
@json_option
def show_incident(number: int, config: Path, as_json: bool) -> None:
    """Show incident ID with its story and whom was told of it. Times are UTC."""
    with open_database(config).read() as db:
        found = listing.shown(db, number)
    if found is None:
        raise BadArguments(f"there is no incident {number}; monserver incident list shows those that are open")
    if as_json:
        lists = {name: [_plain(one) for one in found[name]] for name in ("events", "notifications")}
        print_json({**_plain(found), **lists})
        return
    for line in _page(found):
        click.echo(line)


@incident.command("acknowledge")
@click.argument("number", metavar="ID", type=click.IntRange(1, 2**31 - 1))
@click.option("--note", required=True, metavar="TEXT", help="What others should know.")
@click.option("--by", metavar="NAME", help="Who has it in hand. Default: you.")
@config_option
def acknowledge_incident(number: int, note: str, by: str | None, config: Path) -> None:
    """Take incident ID in hand: nobody is reminded of it, until it gets worse."""
    name = _filled(by or operator(), "--by")
    acknowledge(open_database(config), number, name, _filled(note, "--note"), time.time())
    click.echo(f"acknowledged: incident {number}, by {name}", err=True)


def _filled(text: str, option: str) -> str:
    text = one_line(text, 2_000)
    if not text:
        raise click.BadParameter("it must say something", param_hint=option)
    return text


def _row(one: Mapping[str, Any], now: float) -> list[str]:
    lasted = age((one["closed"] or now) - one["opened"])
    return [
        str(one["id"]), _state(one), one_line(one["host"]), one_line(one["probe"] or "-"), shown(one["opened"]), lasted, _hand(one),
        one_line(one["message"], 100),
    ]  # fmt: skip


def _state(one: Mapping[str, Any]) -> str:
    state = str(one["state"])
    if one["closed"] is not None:
        return f"{state}, over"
    return f"{state}, flapping" if one["flapping"] else state


def _hand(one: Mapping[str, Any]) -> str:
    """Who has it in hand, or why nobody was told."""
    if one["acknowledged"] is not None:
        return f"{one_line(one['acknowledged_by'], 100)} has it"
    return one_line(one["withheld"] or "-", 100)


def _page(found: Mapping[str, Any]) -> list[str]:
    about = one_line(f"{found['host']} {found['probe'] or ''}")
    lines = [f"incident {found['id']}: {about} is {_state(found)} (at worst {found['worst']})"]
    lines += [f"  {line}" for line in paragraph(found["message"]).splitlines()]
    lines += [f"opened        {shown(found['opened'])}"]
    lines += [f"closed        {shown(found['closed'])}"] if found["closed"] is not None else []
    lines += [f"told last     {shown(found['told'])}"] if found["told"] is not None else []
    lines += [f"held back by  {one_line(found['withheld'])}"] if found["withheld"] else []
    if found["acknowledged"] is not None:
        by, note = one_line(found["acknowledged_by"]), one_line(found["note"], 2_000)
        lines.append(f"in hand       {by}, {shown(found['acknowledged'])}: {note}")
    lines += ["", "story"]
    lines += [f"  {shown(one['at'])}  {one['what']:12}  {one_line(one['text'], 200)}" for one in found["events"]]
    if found["notifications"]:
        lines += ["", "notifications"]
        lines += [_notification(one) for one in found["notifications"]]
    return lines


def _notification(one: Mapping[str, Any]) -> str:
    trouble = f"  ({one_line(one['trouble'], 200)})" if one["trouble"] else ""
    when = one["sent"] if one["sent"] is not None else one["created"]
    told = one_line(f"{one['rule']}: {one['channel']} {one['target']}, {one['what']}")
    return f"  {shown(when)}  {one['state']:8}  {told}{trouble}"


def _plain(one: Mapping[str, Any]) -> dict[str, Any]:
    return {name: iso(value) if name in _TIMES else value for name, value in one.items()}
