"""`monagent`: the agent's command line."""

from __future__ import annotations

import click

import monagent
from monagent.cli import agent, config, daemon, doctor, init, sensor, spool
from monagent.cli.options import guarded


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
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


cli.add_command(agent.run)
for command in daemon.COMMANDS:
    cli.add_command(command)
cli.add_command(init.init)
cli.add_command(config.check_config)
cli.add_command(config.show_config)
cli.add_command(doctor.doctor)
cli.add_command(sensor.sensor)
cli.add_command(spool.spool)


def main() -> None:
    """Entry point."""
    guarded("monagent", cli)


if __name__ == "__main__":
    main()
