"""`monserver`: the reference server's command line. Only the command that is run is loaded."""

from __future__ import annotations

from typing import ClassVar

import click

import monagent
from monagent.cli.commands import Commands
from monagent.cli.options import guarded


class _Commands(Commands):
    table: ClassVar[dict[str, tuple[str, str]]] = {
        "run": ("server_run.run", "Run the server in the foreground; what systemd starts."),
        "status": ("server_status.status", "Show every probe with its newest reading, the worst first."),
        "check": ("server_check.check", "Run a sensor on a host now, and print its reading."),
        "send": ("server_send.send", "Send any other command to a host now, and print its outcome."),
        "ticket": ("server_ticket.ticket", "See what became of commands, and call them off."),
        "host": ("server_host.host", "Define the hosts that have an agent."),
        "sensor": ("server_sensor.sensor", "Define sensors, and keep their packages."),
        "schedule": ("server_definitions.schedule", "Define when probes run."),
        "probe": ("server_definitions.probe", "Define what is checked, where, and what is bad."),
        "override": ("server_definitions.override", "Define what a probe is otherwise on one host or group."),
        "maintenance": ("server_definitions.maintenance", "Define when nobody is told of trouble."),
        "alert": ("server_definitions.alert", "Define who is told of trouble, and how."),
        "report": ("server_report.report", "Define who gets a report on quality; make one now."),
        "apply": ("server_apply.apply", "Make the definitions exactly those of a file."),
        "export": ("server_apply.export", "Write all definitions as one file."),
        "import": ("server_import.import_", "Take over the monitor.db of the original tutorial system."),
        "incident": ("server_incident.incident", "See what goes on, and take it in hand."),
        "silence": ("server_silence.silence", "For a time, tell nobody of some hosts or probes."),
        "notification": ("server_notification.notification", "See what was told, and what waits to be told."),
        "rollout": ("server_rollout.rollout", "Bring a new version of a sensor to more and more hosts."),
        "inventory": ("server_inventory.inventory", "Show the sensors of the hosts, and what is missing."),
        "move": ("server_move.move", "Send hosts to another server, and see who went."),
        "token": ("server_token.token", "Let programs read by the JSON API and /metrics."),
    }


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(monagent.__version__, prog_name="monserver")
def cli() -> None:
    """The reference server: it sends commands to agents and keeps the results they hand in.

    \b
    First steps:
      monserver run                            start it (SQLite, port 8081)
      monserver host add web1 192.0.2.10       tell it of a host with an agent
      monserver check web1 disk percent /      run a check there now
    """  # noqa: D301 - click wants the backspace itself


def main() -> None:
    """Entry point."""
    guarded("monserver", cli)


if __name__ == "__main__":
    main()
