"""`monagent`: the agent's command line. Only the command that is run is loaded."""

from __future__ import annotations

import signal
import sys
from typing import ClassVar

import click

import monagent
from monagent.cli.commands import Commands
from monagent.cli.options import guarded


class _Commands(Commands):
    table: ClassVar[dict[str, tuple[str, str]]] = {
        "run": ("agent.run", "Run the agent in the foreground; what systemd starts."),
        "start": ("daemon.start", "Start the agent in the background."),
        "stop": ("daemon.stop", "Let the agent finish what it is doing, and end it."),
        "restart": ("daemon.restart", "Stop the agent and start it again."),
        "reload": ("daemon.reload", "Have the agent read its configuration again."),
        "status": ("daemon.status", "Say whether the agent runs, and what waits in its journal."),
        "init": ("init.init", "Write a commented client.cfg and the stock sensors into a directory."),
        "check-config": ("config.check_config", "Find every mistake in the configuration, with its line."),
        "config": ("config.show_config", "Print the effective settings, secrets masked."),
        "doctor": ("doctor.doctor", "Try what the configuration promises, and say what would mend it."),
        "sensor": ("sensor.sensor", "List sensors, run one, make new ones and their packages."),
        "sync": ("sync.sync", "Make a backup equal to its source, and prove that it is."),
        "mail": ("mail.mail", "Send a report by mail, look at it first, or try the way to the mail server."),
        "spool": ("spool.spool", "Show what waits for the server, and what it rejected."),
        "support-bundle": ("support.support_bundle", "Gather what a bug report needs, without secrets."),
    }


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(monagent.__version__, prog_name="monagent")
def cli() -> None:
    """A passive monitoring agent: it does what its server asks for, and hands in every result exactly once.

    \b
    First steps:
      monagent init DIR                       write a configuration and the stock sensors
      monagent check-config -c DIR/client.cfg find mistakes in it
      monagent run -c DIR/client.cfg          start the agent, here
      monagent start -c DIR/client.cfg        start it in the background
    """  # noqa: D301 - click wants the backspace itself


def main() -> None:
    """Entry point."""
    if sys.argv[1:2] in (["run"], ["start"]):  # whoever tells it to reload while it is being loaded does not end it
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
    guarded("monagent", cli)


if __name__ == "__main__":
    main()
