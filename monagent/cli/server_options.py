"""What all `monserver` commands share: the configuration file, and the way to the database."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from monagent.cli.options import SYSTEM_SERVER_CONFIG, find_config
from monagent.config import server_settings
from monagent.errors import BadArguments, ConfigError, Fault, Problem, StoreError, Unavailable
from monagent.protocol import HEALTHCHECK
from monagent.rpc.client import Client
from monagent.server.database import Database
from monagent.server.migrate import prepare
from monagent.server.records import Host
from monagent.server.site import hosts

SECONDS = 5.0
F = TypeVar("F", bound=Callable[..., Any])


def config_option(command: F) -> F:
    """Adds `-c/--config FILE`; the command gets `config`, a path that may not exist."""

    def found(_context: click.Context, _parameter: click.Parameter, given: str | None) -> Path:
        path = find_config(given, "MONSERVER_CONFIG", "server.cfg", SYSTEM_SERVER_CONFIG)
        if (given or os.environ.get("MONSERVER_CONFIG")) and not path.exists():
            raise ConfigError([Problem(str(path), None, "", "", "there is no such file")])
        return path

    return click.option(
        "-c",
        "--config",
        metavar="FILE",
        callback=found,
        help="Configuration file. Default: $MONSERVER_CONFIG, ./server.cfg, /etc/monserver/server.cfg, or none.",
    )(command)


def open_database(config: Path, *, create: bool = False) -> Database:
    """The database that the configuration names, with its tables as this version needs them.

    Args:
        config: the configuration file.
        create: make a database that is not there.

    Raises:
        StoreError: there is none, or it cannot be used.
    """
    url = server_settings.load(config).database.url
    path = Path(url.removeprefix("sqlite:///"))
    if url.startswith("sqlite:///") and not create and not path.exists():
        raise StoreError(f"there is no database {path}; start `monserver run` first, or name its configuration by -c")
    database = Database(url)
    prepare(database)
    return database


def require_server(config: Path) -> None:
    """Make sure that somebody is there to take a result before a command is sent.

    Raises:
        Unavailable: nobody is.
    """
    server = server_settings.load(config).server
    if not server.port:
        return
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(server.host, server.host)  # noqa: S104 - where to reach it
    try:
        if server.certificate is None:
            _ask(host, server.port)
        else:
            # It may want a certificate that whoever sits here does not have: that it listens must do.
            socket.create_connection((host, server.port), SECONDS).close()
    except (Fault, Unavailable, OSError) as error:
        message = f"no server takes results on {server.host} port {server.port} ({error}); start `monserver run`"
        raise Unavailable(message) from error


def _ask(host: str, port: int) -> None:
    client = Client(f"http://{f'[{host}]' if ':' in host else host}:{port}/xmlrpc/", timeout=SECONDS)
    try:
        client.call(HEALTHCHECK)
    finally:
        client.close()


def known_host(database: Database, name: str) -> Host:
    """The host of that name.

    Raises:
        BadArguments: there is none.
    """
    with database.read() as db:
        found = hosts.host(db, name)
    if found is None:
        raise BadArguments(f"there is no host {name!r}; monserver host list names them all")
    return found
