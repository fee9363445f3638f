"""The agent's settings: `client.cfg` as frozen, validated records. All problems of a file are told together."""

from __future__ import annotations

import os
import socket
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from monagent.config.checks import check_together
from monagent.config.manager import ConfigManager
from monagent.config.sections import (
    NAMED_SECTIONS,
    PLAIN_SECTIONS,
    AgentSection,
    AlertSection,
    BackupSection,
    MailSection,
    MonitorSection,
    OneSensorSection,
    ReportSection,
    SecuritySection,
    SensorSection,
)
from monagent.config.table import Collector
from monagent.errors import ConfigError


@dataclass(frozen=True)
class Settings:
    """Everything that `client.cfg` says, with its defaults filled in."""

    file: Path
    sensor: SensorSection
    sensors: Mapping[str, OneSensorSection]
    monitor: MonitorSection
    agent: AgentSection
    security: SecuritySection
    backups: Mapping[str, BackupSection]
    mail: MailSection
    reports: Mapping[str, ReportSection]
    alerts: Mapping[str, AlertSection]

    @property
    def host_name(self) -> str:
        """What this host calls itself to the server."""
        return self.monitor.name or socket.gethostname()


def load(path: str | os.PathLike[str], hosts: Collection[str] = ()) -> Settings:
    """Read and validate a file.

    Args:
        path: of the file.
        hosts: addresses that are listened on already, instead of `[agent] host`.

    Raises:
        ConfigError: with every problem in it.
    """
    return settings_from(ConfigManager(path), hosts)


def agent_section(path: str | os.PathLike[str]) -> AgentSection:
    """What can be read of `[agent]` in a file that has mistakes, and defaults for the rest.

    Raises:
        ConfigError: the file cannot be read at all.
    """
    return Collector(ConfigManager(path)).read_what_can_be("agent", AgentSection)


def settings_from(manager: ConfigManager, hosts: Collection[str] = ()) -> Settings:
    """Validate an opened configuration.

    Raises:
        ConfigError: with every problem in it.
    """
    collector = Collector(manager)
    names = collector.names(list(PLAIN_SECTIONS), list(NAMED_SECTIONS))
    plain: dict[str, Any] = {name: collector.read(name, cls) for name, cls in PLAIN_SECTIONS.items()}
    named: dict[str, dict[str, Any]] = {
        prefix: {name: collector.read(prefix + name, cls) for name in names[prefix]}
        for prefix, cls in NAMED_SECTIONS.items()
    }
    check_together(plain, named, hosts, collector)
    if collector.problems:
        raise ConfigError(sorted(collector.problems, key=lambda problem: problem.line or 0))
    return Settings(
        file=manager.path.absolute(),
        sensors=named["sensor:"],
        backups=named["backup:"],
        reports=named["mail:"],
        alerts=named["alert:"],
        **plain,
    )
