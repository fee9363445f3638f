"""`monserver`: the reference server's command line."""

from __future__ import annotations

from pathlib import Path

import click

import monagent
from monagent.cli import (
    logs,
    server_check,
    server_definitions,
    server_incident,
    server_inventory,
    server_move,
    server_notification,
    server_report,
    server_rollout,
    server_send,
    server_silence,
    server_status,
    server_ticket,
    server_token,
)
from monagent.cli.options import guarded, verbosity_options
from monagent.cli.server_options import config_option
from monagent.cli.server_sensor_packages import SENSOR_COMMANDS
from monagent.cli.signals import Ending
from monagent.config import server_settings
from monagent.server.service import Server
from monagent.systemd import Manager


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(monagent.__version__, prog_name="monserver")
def cli() -> None:
    """The reference server: it sends commands to agents and keeps the results they hand in.

    \b
    First steps:
      monserver run                            start it (SQLite, port 8081)
      monserver host add web1 192.0.2.10       tell it of a host with an agent
      monserver check web1 disk percent /      run a check there now
    """  # noqa: D301 - click wants the backspace itself


@cli.command()
@config_option
@verbosity_options
def run(config: Path, level: str) -> None:
    """Run the server in the foreground, logging to stderr. TERM or INT ends it."""
    manager = Manager()
    settings = server_settings.load(config)
    logs.set_up(level)
    server = Server(settings)
    ending = Ending()
    ending.listen(at_once=lambda: None)
    server.start()
    manager.ready()
    ending.wait()
    manager.stopping()
    ending.drain(server.stop)


for command in server_definitions.COMMANDS:
    cli.add_command(command)
cli.add_command(server_check.check)
cli.add_command(server_send.send)
cli.add_command(server_status.status)
cli.add_command(server_ticket.ticket)
cli.add_command(server_incident.incident)
cli.add_command(server_silence.silence)
cli.add_command(server_notification.notification)
cli.add_command(server_token.token)
cli.add_command(server_rollout.rollout)
cli.add_command(server_move.move)
cli.add_command(server_inventory.inventory)
for command in SENSOR_COMMANDS:
    server_definitions.sensor.add_command(command)
for command in server_report.COMMANDS:
    server_definitions.report.add_command(command)


def main() -> None:
    """Entry point."""
    guarded("monserver", cli)


if __name__ == "__main__":
    main()
