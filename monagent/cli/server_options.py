"""What all `monserver` commands share: the configuration file, and the way to the database."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from monagent.cli.options import SYSTEM_SERVER_CONFIG, find_config
from monagent.config import server_settings
from monagent.errors import BadArguments
from monagent.server.records import Host
from monagent.server.store import Store, open_engine

F = TypeVar("F", bound=Callable[..., Any])


def config_option(command: F) -> F:
    """Adds `-c/--config FILE`; the command gets `config`, a path that may not exist."""

    def found(_context: click.Context, _parameter: click.Parameter, given: str | None) -> Path:
        return find_config(given, "MONSERVER_CONFIG", "server.cfg", SYSTEM_SERVER_CONFIG)

    return click.option(
        "-c",
        "--config",
        metavar="FILE",
        callback=found,
        help="Configuration file. Default: $MONSERVER_CONFIG, ./server.cfg, /etc/monagent/server.cfg, or none.",
    )(command)


def open_store(config: Path) -> Store:
    """The database that the configuration names."""
    return Store(open_engine(server_settings.load(config).database.url))


def known_host(store: Store, name: str) -> Host:
    """The host of that name.

    Raises:
        BadArguments: there is none.
    """
    found = store.host(name)
    if found is None:
        raise BadArguments(f"there is no host {name!r}; monserver host list names them all")
    return found
