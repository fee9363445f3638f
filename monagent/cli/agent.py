"""`monagent run`: the agent itself."""

from __future__ import annotations

import logging
import signal
import socket
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from monagent.agent.memory import keep_large_pieces_apart
from monagent.agent.rights import set_bounds
from monagent.cli import logs
from monagent.cli.options import EXIT_IO, config_option, verbosity_options
from monagent.cli.signals import Ending
from monagent.config import settings
from monagent.config.settings import Settings
from monagent.errors import ConfigError
from monagent.systemd import Manager

if TYPE_CHECKING:
    from monagent.agent.service import Agent

log = logging.getLogger(__name__)


@click.command()
@config_option
@click.option("--grace", type=float, help="Seconds that running work gets when told to stop. Default: [agent] grace.")
@verbosity_options
def run(config: Path, grace: float | None, level: str) -> None:
    """Run the agent in the foreground, logging to stderr or to `[agent] log`.

    TERM or INT lets running work finish and keeps the rest in the journal; a second one quits at once.
    Either way nothing that was acknowledged is lost. HUP reads the configuration again; when it has become wrong,
    the settings stay as they are and the log says why.
    """
    manager = Manager()
    listeners = manager.listeners()
    loaded = settings.load(config, _hosts(listeners))
    serve(loaded, level, loaded.agent.log, grace, manager=manager, listeners=listeners)


def serve(
    loaded: Settings,
    level: str,
    log_file: Path | None,
    grace: float | None = None,
    on_ready: Callable[[], None] = lambda: None,
    manager: Manager | None = None,
    listeners: Sequence[socket.socket] = (),
) -> None:
    """Be the agent until a signal ends it.

    Args:
        loaded: its settings.
        level: the least that is logged.
        log_file: None for stderr.
        grace: seconds that running work gets at the end; None for what the settings say.
        on_ready: called when it takes commands.
        manager: the service manager, if one started us.
        listeners: that it handed over.
    """
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # until there is something to be reloaded
    from monagent.agent.liveness import Watchdog  # noqa: PLC0415
    from monagent.agent.service import Agent  # noqa: PLC0415 - loads CherryPy, which no other command needs

    set_bounds()
    keep_large_pieces_apart()
    logs.set_up(level, log_file, loaded.agent.log_format)
    manager = manager or Manager({})
    ending = Ending()
    service = Agent(loaded, ending.ask, listeners)
    ending.listen(at_once=service.abandon)
    service.start()
    watchdog = Watchdog(manager, service.liveness, service.summary)
    watchdog.start()
    manager.ready()
    on_ready()
    ending.wait(on_hangup=lambda: _reload(service, loaded.file, _hosts(listeners), manager))
    manager.stopping()
    watchdog.stop()  # parts that end one after the other are no reason to complain
    ending.drain(lambda: service.stop(loaded.agent.grace if grace is None else grace))
    if ending.reason:
        log.critical("ended because the journal cannot be written: %s", ending.reason)
        sys.exit(EXIT_IO)


def _hosts(listeners: Sequence[socket.socket]) -> list[str]:
    return [one.getsockname()[0] for one in listeners if one.family != socket.AF_UNIX]


def _reload(service: Agent, config: Path, hosts: list[str], manager: Manager) -> None:
    manager.reloading()
    try:
        later = service.reload(lambda: settings.load(config, hosts))
    except ConfigError as error:
        for problem in error.problems:
            log.error("the old settings stay: %s", problem)  # noqa: TRY400 - a person's mistake, not a bug
        return
    finally:
        manager.ready()
    log.warning("settings loaded again from %s", config)
    if later:
        log.warning("%s: changed, but that counts only from the next start on", ", ".join(later))
