"""`monserver check`: one check on one host, now, and its reading."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from monagent.cli.options import json_option, print_json
from monagent.cli.server_options import config_option, known_host, open_store, require_server
from monagent.protocol import SUBMIT_READING
from monagent.server.dispatcher import Dispatcher
from monagent.server.records import StoredReading

T = TypeVar("T")

POLL_SECONDS = 0.02
EXIT_LATER = 75


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

    Exit 0 when there is a number to trust, 1 when there is not, 69 when the agent is away,
    75 when no result came in time.
    """
    store = open_store(config)
    host = known_host(store, host_name)
    require_server(config)
    ticket = Dispatcher(store).send(host, SUBMIT_READING, [sensor, list(arguments)])
    reading = wait_for(lambda: store.reading(ticket), wait)
    if reading is None:
        tell_no_result(context, ticket, wait)
        return
    if as_json:
        print_json(_reading_dict(reading))
    else:
        _tell(reading)
    context.exit(0 if reading.ret_code == 0 and not reading.error else 1)


def wait_for(look: Callable[[], T | None], seconds: float) -> T | None:
    """Look again and again until there is something, or for so many seconds."""
    until = time.monotonic() + seconds
    while (found := look()) is None and time.monotonic() < until:
        time.sleep(POLL_SECONDS)
    return found


def tell_no_result(context: click.Context, ticket: str, seconds: float) -> None:
    """End the program because a result did not come in time."""
    click.echo(
        f"monserver: the agent took ticket {ticket}, but no result came within {seconds:.0f} s; "
        "does the agent's [monitor] url lead to this server? After an outage it may also be pausing for a while.",
        err=True,
    )
    context.exit(EXIT_LATER)


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
        "finished": reading.finished.strftime("%Y-%m-%dT%H:%M:%SZ"),
    }
