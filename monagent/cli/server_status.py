"""`monserver status`: how everything is now."""

from __future__ import annotations

import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
from sqlalchemy import select

from monagent.cli.options import json_option, print_json
from monagent.cli.server_options import config_option, known_host, open_database
from monagent.errors import Unavailable
from monagent.server import schema
from monagent.server.readings import Latest, latest
from monagent.server.tickets import REFUSED
from monagent.server.times import iso, shown

WATCHED_SECONDS = 60.0
_WORST = ("critical", "unknown", "warning", "ok", "waiting")


@click.command()
@click.argument("host_name", metavar="[HOST]", required=False)
@click.option("--problems", is_flag=True, help="Leave out what is well.")
@config_option
@json_option
@click.pass_context
def status(context: click.Context, host_name: str | None, problems: bool, config: Path, as_json: bool) -> None:
    """Show every probe, or those of HOST, with its newest reading; the worst come first.

    Exit 0 when all is well (or has not been checked yet), 1 when something is not, 69 when no server is at work: what
    is shown then is how it was.
    """
    database = open_database(config)
    name = known_host(database, host_name).name if host_name else None
    with database.read() as db:
        looked = db.scalar(select(schema.vigil.c.looked))
        found = sorted(latest(db, name), key=lambda one: (_WORST.index(_state(one)), one.host, one.probe))
    at_work = looked is not None and abs(time.time() - looked) < WATCHED_SECONDS
    bad = [one for one in found if _state(one) not in ("ok", "waiting")]
    listed = bad if problems else found
    if as_json:
        print_json([_as_dict(one) for one in listed])
    else:
        _tell(listed)
        click.echo(f"{len(found)} probes, {len(bad)} not well", err=True)
    if not at_work:
        raise Unavailable("no server has looked after this for a minute; start `monserver run`")
    context.exit(1 if bad else 0)


def _state(one: Latest) -> str:
    """Its state; of a host that is silent nobody knows, nor of a check that the agent refuses."""
    if one.silent is not None or one.stale is not None or one.error == REFUSED:
        return "unknown"
    return one.state or "waiting"


def _tell(found: list[Latest]) -> None:
    now = time.time()
    hosts, probes = (max((len(getattr(one, name)) for one in found), default=0) for name in ("host", "probe"))
    for one in found:
        note = ", ".join(filter(None, (_note(one), one.trouble and f"cannot be reached: {one.trouble}")))
        age = "" if one.finished is None else f"{max(now - one.finished, 0):.0f} s ago"
        line = f"{_state(one):8}  {one.host:{hosts}}  {one.probe:{probes}}  {one.data or '-':>12}  {age:>10}"
        since = f"  since {shown(one.since)}" if _state(one) not in ("ok", "waiting") else ""
        click.echo(f"{line}{since}{f'  ({note})' if note else ''}".rstrip())


def _note(one: Latest) -> str:
    if one.error == REFUSED:
        return f"refused; monserver ticket list --host {one.host} --state refused tells why"
    return "silent" if one.silent is not None else "no result" if one.stale is not None else one.error or ""


def _as_dict(one: Latest) -> dict[str, Any]:
    times = ("since", "finished", "stale", "silent")
    fields = {name: iso(value) if name in times else value for name, value in asdict(one).items()}
    return {**fields, "state": _state(one)}
