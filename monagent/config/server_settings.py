"""The reference server's settings: `server.cfg` as frozen, validated records."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from monagent.config import values
from monagent.config.manager import ConfigManager
from monagent.config.sections import MailSection
from monagent.config.table import Collector, option
from monagent.errors import ConfigError


@dataclass(frozen=True)
class ServerSection:
    """`[server]`: the listener."""

    host: str = option(values.text, "127.0.0.1", "address to listen on")
    port: int = option(values.count(0, 65535), "8081", "port to listen on; 0 takes a free one")
    url: str | None = option(
        values.or_none(values.url), "", "the URL that agents reach this server by; empty: made of host and port"
    )


@dataclass(frozen=True)
class DatabaseSection:
    """`[database]`: where everything is kept."""

    url: str = option(values.database, "sqlite:///monitor.db", "SQLAlchemy URL; a SQLite path is relative to this file")


@dataclass(frozen=True)
class PackagesSection:
    """`[sensor]`: sensor packages for the agents."""

    source_dir: Path = option(values.path, "packages/", "directory of the sensor packages")


@dataclass(frozen=True)
class ServerSettings:
    """Everything that `server.cfg` says, with its defaults filled in."""

    server: ServerSection
    database: DatabaseSection
    sensor: PackagesSection
    mail: MailSection

    def url_at(self, host: str, port: int) -> str:
        """The URL that agents reach this server by, when it listens there."""
        shown = f"[{host}]" if ":" in host else host
        return self.server.url or f"http://{shown}:{port}/xmlrpc/"


SECTIONS: dict[str, type] = {
    "server": ServerSection,
    "database": DatabaseSection,
    "sensor": PackagesSection,
    "mail": MailSection,
}


def load(path: str | os.PathLike[str]) -> ServerSettings:
    """Read and validate a file. One that is not there means: all defaults.

    Raises:
        ConfigError: with every problem in it.
    """
    manager = ConfigManager(path, missing_ok=True)
    collector = Collector(manager)
    collector.names(list(SECTIONS), [])
    sections: dict[str, Any] = {name: collector.read(name, cls) for name, cls in SECTIONS.items()}
    if collector.problems:
        raise ConfigError(sorted(collector.problems, key=lambda problem: problem.line or 0))
    return ServerSettings(**sections)
