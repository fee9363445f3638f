"""The reference server's settings: `server.cfg` as frozen, validated records."""

from __future__ import annotations

import os
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network
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
    certificate: Path | None = option(values.secret_path, "", "serve TLS with this certificate (PEM)")
    key: Path | None = option(values.secret_path, "", "its key, in a file that others cannot read; or credential:NAME")
    client_ca: Path | None = option(values.optional_path, "", "take only agents whose certificate it signed")
    proxies: tuple[IPv4Network | IPv6Network, ...] = option(
        values.networks, "", "networks of balancers in front, whose X-Forwarded-For is believed"
    )


@dataclass(frozen=True)
class DatabaseSection:
    """`[database]`: where everything is kept."""

    url: str = option(values.database, "sqlite:///monitor.db", "SQLAlchemy URL; a SQLite path is relative to this file")


@dataclass(frozen=True)
class PackagesSection:
    """`[sensor]`: sensor packages for the agents."""

    source_dir: Path = option(
        values.path, "packages/", "directory of sensor packages for agents, beside those that were uploaded"
    )
    public_key: bytes | None = option(
        values.or_none(values.public_key), "", "Ed25519; when set, only packages signed by it can be uploaded"
    )


@dataclass(frozen=True)
class AgentsSection:
    """`[agents]`: how they are spoken to."""

    ca: Path | None = option(values.optional_path, "", "authority of their certificates; empty: the system's")
    certificate: Path | None = option(values.secret_path, "", "certificate to show them (PEM)")
    key: Path | None = option(values.secret_path, "", "its key, in a file that others cannot read; or credential:NAME")
    ticket_lifetime: float = option(
        values.duration, "7d", "results are taken for so long after their ticket was issued"
    )


@dataclass(frozen=True)
class RetentionSection:
    """`[retention]`: how long things are kept."""

    readings: float = option(values.duration, "30d", "single readings")
    five_minutes: float = option(values.duration, "90d", "their sums over five minutes")
    hours: float = option(values.duration, "1825d", "their sums over an hour; incidents that are over")
    tickets: float = option(
        values.duration, "14d", "the story of tickets, and outcomes; at least [agents] ticket_lifetime"
    )


@dataclass(frozen=True)
class MetricsSection:
    """`[metrics]`: what Prometheus gets at `/metrics`."""

    allow: tuple[IPv4Network | IPv6Network, ...] = option(
        values.networks, "127.0.0.0/8 ::1", "networks that may read it, without a token"
    )
    values: int = option(values.count(0, 1_000_000), "10000", "last values of probes at most; 0: none")


@dataclass(frozen=True)
class ServerSettings:
    """Everything that `server.cfg` says, with its defaults filled in."""

    server: ServerSection
    database: DatabaseSection
    sensor: PackagesSection
    agents: AgentsSection
    retention: RetentionSection
    metrics: MetricsSection
    mail: MailSection

    def url_at(self, host: str, port: int) -> str:
        """The URL that agents reach this server by, when it listens there."""
        shown = f"[{host}]" if ":" in host else host
        return self.server.url or f"{'https' if self.server.certificate else 'http'}://{shown}:{port}/xmlrpc/"


SECTIONS: dict[str, type] = {
    "server": ServerSection,
    "database": DatabaseSection,
    "sensor": PackagesSection,
    "agents": AgentsSection,
    "retention": RetentionSection,
    "metrics": MetricsSection,
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
    agents, retention = sections["agents"], sections["retention"]
    if agents and retention and retention.tickets < agents.ticket_lifetime:
        collector.complain(
            "retention", "tickets", "must be at least [agents] ticket_lifetime, or repeats could not be told"
        )
    if collector.problems:
        raise ConfigError(sorted(collector.problems, key=lambda problem: problem.line or 0))
    return ServerSettings(**sections)
