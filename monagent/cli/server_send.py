"""`monserver send`: a command that is no check to one host, now, and its outcome."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from monagent.cli.mail_context import context_of
from monagent.cli.options import print_json
from monagent.cli.server_command import command_to, wait_for_end
from monagent.cli.server_options import config_option, known_host, open_database, require_server
from monagent.config import server_settings
from monagent.models import is_sensor_name
from monagent.protocol import RESTORE_SENSOR_CODE, SEND_MAIL, SYNC_BACKUP, UPDATE_CONFIG, UPDATE_SENSOR_CODE
from monagent.server.packages import ENDINGS, Packages
from monagent.server.ticket_list import result


@dataclass(frozen=True, slots=True)
class _Sendable:
    """A command as it is typed: `takes` names its argument, `seconds` is how long its outcome is usually waited for."""

    method: str
    takes: str = ""
    seconds: float = 60.0


_SENDABLE = {
    "list-sensors": _Sendable("cmd_list_sensors"),
    "sync-backup": _Sendable(SYNC_BACKUP, "JOB", 3600.0),
    "send-mail": _Sendable(SEND_MAIL, "REPORT", 120.0),
    "restore-sensor": _Sendable(RESTORE_SENSOR_CODE, "SENSOR", 120.0),
    "status": _Sendable("cmd_status"),
    "update-config": _Sendable(UPDATE_CONFIG, seconds=120.0),
    "update-sensor": _Sendable(UPDATE_SENSOR_CODE, "SENSOR", 120.0),
}


@click.command()
@click.argument("host_name", metavar="HOST")
@click.argument("command", metavar="COMMAND", type=click.Choice(sorted(_SENDABLE)))
@click.argument("arguments", metavar="[SENSOR | JOB | REPORT]", nargs=-1)
@click.option(
    "--wait",
    type=float,
    help="Seconds to wait for the outcome. Default: 3600 to sync, 120 to update, restore or mail, 60 for the others.",
)
@click.option("--check", is_flag=True, help="sync-backup: look whether the backup is equal, change nothing.")
@click.option(
    "--context", "context_file", metavar="FILE.json", help="send-mail: what the template shows; - reads standard input."
)
@config_option
@click.pass_context
def send(
    context: click.Context,
    host_name: str,
    command: str,
    arguments: tuple[str, ...],
    wait: float | None,
    check: bool,
    context_file: str | None,
    config: Path,
) -> None:
    """Send COMMAND to HOST now and print its outcome as JSON. `monserver run` must be running.

    \b
    monserver send web1 status               how its agent is doing
    monserver send web1 list-sensors         its sensors, each with its help
    monserver send web1 update-sensor disk   fetch and install the package of disk
    monserver send web1 restore-sensor disk  put the newest backup of disk back
    monserver send web1 sync-backup data     make the [backup:data] of its client.cfg equal
    monserver send web1 send-mail daily      send the [mail:daily] of its client.cfg; --context tells what
    monserver send web1 update-config        move to the server that this one names

    The package of disk is disk.tar.bz2, disk.tar.gz or disk.tar.xz in the [sensor] source_dir of server.cfg.

    To move agents to another server use `monserver move`, which tells them where to go and follows them. An agent
    asks by the [monitor] name of its client.cfg (default: the system's name), which must be HOST. Once moved it
    hands in there, so that the outcome of update-config may not come back here.

    The outcome's message is repeated on stderr. Exit 0 when the outcome is ok, 1 when it is not, 69 when the
    agent is away, 75 when no outcome came in time.
    """  # noqa: D301 - click wants the backspace itself
    sendable = _SENDABLE[command]
    _check_usage(command, sendable, arguments)
    if check and sendable.method != SYNC_BACKUP:
        raise click.UsageError("--check is for sync-backup")
    if context_file and sendable.method != SEND_MAIL:
        raise click.UsageError("--context is for send-mail")
    more: tuple[Any, ...] = ("check",) if check else (context_of(context_file),) if context_file else ()
    database = open_database(config)
    host = known_host(database, host_name)
    require_server(config)
    if sendable.method == UPDATE_SENSOR_CODE:
        _warn_without_package(arguments[0], config)
    ticket = command_to(config, database, host, sendable.method, (*arguments, *more))
    seconds = sendable.seconds if wait is None else wait
    wait_for_end(context, database, host, ticket, seconds, lambda: _hint(sendable.method))
    with database.read() as db:
        outcome = result(db, ticket)
    assert outcome is not None
    print_json(outcome)
    click.echo(_one_line(outcome["message"]), err=True)
    context.exit(0 if outcome["status"] == "ok" else 1)


def _hint(method: str) -> None:
    """Why an outcome may not have come."""
    if method == UPDATE_CONFIG:
        click.echo("monserver: an agent that has moved hands in at its new server, this outcome too", err=True)
    if method == SEND_MAIL:
        click.echo("monserver: the mail may wait in the agent's queue: `monagent mail queue` there tells why", err=True)


def _check_usage(command: str, sendable: _Sendable, arguments: Sequence[str]) -> None:
    """
    Raises:
        click.UsageError: the command takes another number of arguments, or one that is no sensor's name.
    """
    if len(arguments) != (1 if sendable.takes else 0):
        form = " ".join(filter(None, ("monserver send HOST", command, sendable.takes)))
        raise click.UsageError(
            f"{command} takes {f'one {sendable.takes}' if sendable.takes else 'no argument'}: {form}"
        )
    if arguments and not is_sensor_name(arguments[0]):
        raise click.UsageError(
            f"{arguments[0]!r} is not the name of a {sendable.takes.lower()} (letters, digits, _ - . and at most 64 of them)"
        )


def _warn_without_package(sensor: str, config: Path) -> None:
    directory = server_settings.load(config).sensor.source_dir
    if not Packages(directory).has(sensor):
        names = ", ".join(f"{sensor}{ending}" for ending in ENDINGS)
        click.echo(f"monserver: there is none of {names} in {directory}; the agent will find no package", err=True)


def _one_line(text: str) -> str:
    """What an agent said, without anything that would paint the terminal."""
    return "".join(character if character.isprintable() else " " for character in text)
