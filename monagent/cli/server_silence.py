"""`monserver silence`: for a time, tell nobody of some hosts or probes."""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from monagent.cli.options import json_option, print_json
from monagent.cli.server_choice import operator, print_table
from monagent.cli.server_options import config_option, open_database
from monagent.config.values import duration
from monagent.mail.text import one_line
from monagent.server.alerts import silencing
from monagent.server.times import age, iso, shown

_TIMES = ("begins", "ends")
_COLUMNS = ("ID", "WHAT", "ENDS", "IN", "BY", "NOTE")


@click.group()
def silence() -> None:
    """For a time, tell nobody of some hosts or probes.

    Incidents are opened and closed all the same. What is still bad when the silence ends is told then.
    """


@silence.command("add")
@click.option("--host", metavar="HOST", help="Only of this host.")
@click.option("--group", metavar="GROUP", help="Only of the hosts in this group.")
@click.option("--probe", metavar="PROBE", help="Only of this probe.")
@click.option("--everything", is_flag=True, help="Of all there is.")
@click.option("--for", "lasting", metavar="TIME", help="How long, from now on (examples: 30m, 2h, 1d).")
@click.option("--until", metavar="TIME", help="Until when; UTC where it names no offset (example: 2026-11-22T22:00).")
@click.option("--note", required=True, metavar="TEXT", help="Why.")
@click.option("--by", metavar="NAME", help="Who wants it. Default: you.")
@config_option
def add_silence(
    *, host: str | None, group: str | None, probe: str | None, everything: bool, lasting: str | None,
    until: str | None, note: str, by: str | None, config: Path,
) -> None:  # fmt: skip
    """Begin a silence now. Of --host, --group and --probe, what fits all that are given is silenced."""
    if everything == bool(host or group or probe):
        raise click.UsageError("name any of --host, --group and --probe, or --everything alone")
    now = time.time()
    ends = _end(lasting, until, now)
    whom = {"host": host, "group": group, "probe": probe}
    name, why = one_line(by or operator(), 255), one_line(note, silencing.NOTE_LIMIT)
    if not why:
        raise click.BadParameter("it must say something", param_hint="--note")
    number = silencing.silence(open_database(config), whom, ends, name, why, now)
    click.echo(str(number))
    click.echo(
        f"silence {number} of {_what(whom)} ends {shown(ends)} UTC; monserver silence remove {number} ends it now",
        err=True,
    )


@silence.command("list")
@click.option("--all", "everything", is_flag=True, help="Those that are over, too.")
@config_option
@json_option
def list_silences(*, everything: bool, config: Path, as_json: bool) -> None:
    """List the silences that are not over. Times are UTC."""
    now = time.time()
    with open_database(config).read() as db:
        found = silencing.silences(db, now, over=everything)
    if as_json:
        print_json([{name: iso(value) if name in _TIMES else value for name, value in one.items()} for one in found])
    elif found:
        print_table(_COLUMNS, [_row(one, now) for one in found])
    else:
        click.echo("there are no silences", err=True)


@silence.command("remove")
@click.argument("number", metavar="ID", type=click.IntRange(1, 2**31 - 1))
@config_option
def remove_silence(number: int, config: Path) -> None:
    """End silence ID now. What is still bad is told within a minute."""
    silencing.end(open_database(config), number, time.time())
    click.echo(f"ended: silence {number}", err=True)


def _end(lasting: str | None, until: str | None, now: float) -> float:
    if (lasting is None) == (until is None):
        raise click.UsageError("say when it ends: by --for or by --until")
    if lasting is not None:
        try:
            return now + duration(lasting, Path())
        except ValueError as error:
            raise click.BadParameter(str(error), param_hint="--for") from None
    try:
        when = datetime.fromisoformat(until or "")
        return (when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp()
    except (OverflowError, ValueError):
        example = "(examples: 2026-11-22T22:00, 2026-11-22T23:00+01:00)"
        raise click.BadParameter(f"{until!r} is no time {example}", param_hint="--until") from None


def _what(whom: Mapping[str, Any]) -> str:
    named = [f"{key} {whom[key]}" for key in ("host", "group", "probe") if whom[key]]
    return one_line(", ".join(named)) or "everything"


def _row(one: Mapping[str, Any], now: float) -> list[str]:
    left = age(one["ends"] - now) if one["ends"] > now else "over"
    by, note = one_line(one["by"], 100), one_line(one["note"], 100)
    return [str(one["id"]), _what(one), shown(one["ends"]), left, by, note]
