"""`monserver check`: one check on one host, now, and its reading."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from monagent.cli.options import json_option, print_json
from monagent.cli.server_command import command_to, wait_for_end
from monagent.cli.server_options import config_option, known_host, open_database, require_server
from monagent.protocol import SUBMIT_READING
from monagent.server.readings import reading_of
from monagent.server.records import StoredReading
from monagent.server.times import iso


@click.command(context_settings={"ignore_unknown_options": True})
@click.argument("host_name", metavar="HOST")
@click.argument("sensor")
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
@click.option("--wait", default=60.0, show_default=True, help="Seconds to wait for the reading.")
@config_option
@json_option
@click.pass_context
def check(
    context: click.Context,
    host_name: str,
    sensor: str,
    arguments: tuple[str, ...],
    wait: float,
    config: Path,
    as_json: bool,
) -> None:
    """Run SENSOR with ARGUMENTS on HOST now and print its reading. `monserver run` must be running.

    Exit 0 when there is a number to trust, 1 when there is not, or the agent refused, 69 when the agent is away,
    75 when no result came in time.
    """
    database = open_database(config)
    host = known_host(database, host_name)
    require_server(config)
    ticket = command_to(config, database, host, SUBMIT_READING, [sensor, list(arguments)])
    wait_for_end(context, database, host, ticket, wait)
    with database.read() as db:
        reading = reading_of(db, ticket)
    assert reading is not None
    if as_json:
        print_json(_reading_dict(reading))
    else:
        _tell(reading)
    context.exit(0 if reading.ret_code == 0 and not reading.error else 1)


def _tell(reading: StoredReading) -> None:
    click.echo(reading.data)
    if reading.stderr:
        click.echo(reading.stderr.rstrip(), err=True)
    if reading.ret_code or reading.error:
        click.echo(f"(ended with {reading.ret_code}{', ' + reading.error if reading.error else ''})", err=True)


def _reading_dict(reading: StoredReading) -> dict[str, Any]:
    return {
        "ticket": reading.ticket,
        "host": reading.host,
        "sensor": reading.sensor,
        "arguments": reading.arguments,
        "ret_code": reading.ret_code,
        "data": reading.data,
        "error": reading.error,
        "stderr": reading.stderr,
        "duration": reading.duration,
        "finished": iso(reading.finished),
    }
