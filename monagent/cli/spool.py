"""`monagent spool`: what waits for the server, and what it rejected."""

from __future__ import annotations

import dataclasses
import json
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from monagent.cli.options import config_option, json_option, print_json
from monagent.config import settings
from monagent.errors import BadArguments

if TYPE_CHECKING:
    from monagent.agent.spool import Spool, SpoolEntry


@click.group(invoke_without_command=True)
@config_option
@json_option
@click.pass_context
def spool(context: click.Context, config: Path, as_json: bool) -> None:
    """Show what waits for the server and what it rejected; try or drop rejected results.

    Works beside a running agent. Without a command it lists.
    """
    if context.invoked_subcommand is None:
        context.invoke(list_spool, config=config, as_json=as_json)


@spool.command("list")
@config_option
@json_option
def list_spool(config: Path, as_json: bool) -> None:
    """List every command that is not done with, oldest first."""
    with _open(config) as opened:
        entries = opened.entries()
    if as_json:
        print_json([dataclasses.asdict(entry) for entry in entries])
        return
    for entry in entries:
        click.echo(_line(entry))
    click.echo(_summary(entries), err=True)


@spool.command()
@click.argument("ticket")
@config_option
@json_option
def show(ticket: str, config: Path, as_json: bool) -> None:
    """Show all that is known of TICKET."""
    with _open(config) as opened:
        entries = opened.find(ticket)
    if not entries:
        raise BadArguments(f"no command with ticket {ticket!r} is known here")
    if as_json:
        print_json([dataclasses.asdict(entry) for entry in entries])
        return
    for entry in entries:
        for name, value in dataclasses.asdict(entry).items():
            if value is not None:
                click.echo(f"{name:10} {_shown(name, value)}")


@spool.command()
@click.argument("ticket")
@config_option
def retry(ticket: str, config: Path) -> None:
    """Hand the rejected result of TICKET in again."""
    with _open(config) as opened:
        _told(opened, opened.retry(ticket), "will be tried again", ticket)


@spool.command()
@click.argument("ticket")
@config_option
def drop(ticket: str, config: Path) -> None:
    """Give the rejected result of TICKET up for good."""
    with _open(config) as opened:
        _told(opened, opened.drop(ticket), "dropped", ticket)


def _shown(name: str, value: object) -> str:
    if name in _TIMES and isinstance(value, float):
        return _when(value) if value else "now"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


_TIMES = ("received", "finished", "next_try")


def _open(config: Path) -> Spool:
    from monagent.agent.spool import Spool  # noqa: PLC0415 - loads sqlite3, which only this needs

    return Spool(settings.load(config).agent.state)


def _told(opened: Spool, count: int, what: str, ticket: str) -> None:
    if not count:
        known = opened.find(ticket)
        if not known:
            raise BadArguments(f"no command with ticket {ticket!r} is known here; monagent spool list shows what is")
        raise BadArguments(f"the result of {ticket!r} was not rejected: it is {known[-1].state}")
    click.echo(f"{what}: {ticket}", err=True)


def _line(entry: SpoolEntry) -> str:
    refusal = f"  {entry.refusal}" if entry.refusal else ""
    return f"{entry.state:9} {_when(entry.received)}  {entry.ticket}  {entry.method}{refusal}"


def _when(seconds: float) -> str:
    return datetime.fromtimestamp(seconds).astimezone().isoformat(timespec="seconds")


def _summary(entries: list[SpoolEntry]) -> str:
    states = [entry.state for entry in entries]
    counted = {state: states.count(state) for state in ("accepted", "finished", "rejected")}
    return "{accepted} being done, {finished} waiting for the server, {rejected} rejected".format(**counted)
