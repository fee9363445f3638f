"""`monserver notification`: what people were told, what waits, and why."""

from __future__ import annotations

import socket
import time
from dataclasses import asdict
from pathlib import Path

import click

from monagent.cli.options import json_option, print_json
from monagent.cli.server_options import config_option, open_database
from monagent.mail.text import one_line
from monagent.server.alerts.carriers import requests
from monagent.server.alerts.carriers.parcels import FAILED, LATER, SENT
from monagent.server.alerts.carriers.requests import STATES, Entry
from monagent.server.times import iso, shown

_TIMES = ("created", "next_try", "sent")


@click.group()
def notification() -> None:
    """See what alerts and reports have told, and what waits to be told."""


@notification.command("list")
@click.option("--all", "everything", is_flag=True, help="Those that were sent, too.")
@click.option("--limit", default=200, show_default=True, type=click.IntRange(1, 100_000), help="The newest so many.")
@config_option
@json_option
def list_notifications(*, everything: bool, limit: int, config: Path, as_json: bool) -> None:
    """List notifications that wait or failed, the newest first. Times are UTC."""
    states = STATES if everything else tuple(one for one in STATES if one != SENT)
    with open_database(config).read() as db:
        found = requests.entries(db, states, limit)
    if as_json:
        print_json([_as_dict(one) for one in found])
        return
    for one in found:
        about = " ".join(part for part in (one.host, one.check) if part)
        told = one_line(f"{one.rule}  {one.channel} {one.target}  {one.what} {about}")
        trouble = f"  ({one_line(one.trouble)})" if one.trouble else ""
        click.echo(f"{one.id:>6}  {_state(one):30}  {told}{trouble}")
    if not found:
        click.echo("no such notifications" if everything else "nothing waits, nothing failed", err=True)


@notification.command("retry")
@click.argument("number", metavar="ID", type=click.IntRange(1, 2**31 - 1))
@config_option
def retry_notification(number: int, config: Path) -> None:
    """Try notification ID again at once, with those that it was put together with."""
    count = requests.retry(open_database(config), number, time.time())
    click.echo(f"tried again by the running server: {count}; monserver notification list tells how it went", err=True)


@notification.command("test")
@click.argument("rule", metavar="ALERT")
@config_option
@json_option
def test_notification(rule: str, config: Path, as_json: bool) -> None:
    """Send a test to each mail, webhook and Apprise file of ALERT. The running server sends it within seconds."""
    database = open_database(config)
    with database.write() as db:
        numbers = requests.test(db, rule, socket.gethostname(), time.time())
    if as_json:
        print_json(numbers)
        return
    listed = ", ".join(map(str, numbers))
    click.echo(f"queued as {listed}; monserver notification list --all tells how it went", err=True)


def _state(one: Entry) -> str:
    if one.state == SENT and one.sent is not None:
        return f"sent {shown(one.sent)}"
    if one.state == FAILED:
        return f"failed after {_tries(one)}"
    if one.attempts and one.next_try is not None:
        return f"{LATER} ({_tries(one)}), {shown(one.next_try)}"
    return one.state


def _tries(one: Entry) -> str:
    return "1 try" if one.attempts == 1 else f"{one.attempts} tries"


def _as_dict(one: Entry) -> dict[str, object]:
    return {name: iso(value) if name in _TIMES else value for name, value in asdict(one).items()}
