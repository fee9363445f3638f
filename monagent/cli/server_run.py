"""`monserver run`."""

from __future__ import annotations

from pathlib import Path

import click

from monagent.cli import logs
from monagent.cli.options import verbosity_options
from monagent.cli.server_options import config_option
from monagent.cli.signals import Ending
from monagent.config import server_settings
from monagent.server.service import Server
from monagent.systemd import Manager


@click.command()
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
