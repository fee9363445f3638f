"""`monagent run`: the agent itself."""

from __future__ import annotations

import logging
import signal
from pathlib import Path
from typing import TYPE_CHECKING

import click

from monagent.agent.memory import keep_large_pieces_apart
from monagent.cli import logs
from monagent.cli.options import EXIT_IO, config_option, verbosity_options
from monagent.cli.signals import Ending
from monagent.config import settings
from monagent.errors import ConfigError

if TYPE_CHECKING:
    from monagent.agent.service import Agent

log = logging.getLogger(__name__)


@click.command()
@config_option
@click.option("--grace", default=10.0, show_default=True, help="Seconds that running work gets when told to stop.")
@verbosity_options
@click.pass_context
def run(context: click.Context, config: Path, grace: float, level: str) -> None:
    """Run the agent in the foreground, logging to stderr.

    TERM or INT lets running work finish and keeps the rest in the journal; a second one quits at once.
    Either way nothing that was acknowledged is lost. HUP reads the configuration again; when it has become wrong,
    the settings stay as they are and the log says why.
    """
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # until there is something to be reloaded
    from monagent.agent.service import Agent  # noqa: PLC0415 - loads CherryPy, which no other command needs

    keep_large_pieces_apart()
    loaded = settings.load(config)
    logs.set_up(level)
    ending = Ending()
    service = Agent(loaded, on_broken=ending.ask)
    ending.listen(at_once=service.abandon)
    service.start()
    ending.wait(on_hangup=lambda: _reload(service, config))
    ending.drain(lambda: service.stop(grace))
    if ending.reason:
        log.critical("ended because the journal cannot be written: %s", ending.reason)
        context.exit(EXIT_IO)


def _reload(service: Agent, config: Path) -> None:
    try:
        later = service.reload(lambda: settings.load(config))
    except ConfigError as error:
        for problem in error.problems:
            log.error("the old settings stay: %s", problem)  # noqa: TRY400 - a person's mistake, not a bug
        return
    log.warning("settings loaded again from %s", config)
    if later:
        log.warning("%s: changed, but that counts only from the next start on", ", ".join(later))
