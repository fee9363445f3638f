"""Make of definitions the rows that follow: each host, and each probe on each of its hosts. Rules alone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from monagent.server.site.keys import declared
from monagent.server.site.members import Members
from monagent.server.site.model import Content, Site
from monagent.server.site.overrides import Overrides
from monagent.server.site.times import seconds_of
from monagent.server.timetable import Timetable, phase_of


@dataclass(frozen=True, slots=True)
class PlannedHost:
    """A host as its row is to be."""

    name: str
    address: str
    port: int
    sources: tuple[str, ...]
    groups: tuple[str, ...]
    url: str | None
    tls: bool


@dataclass(frozen=True, slots=True)
class Timing:
    """When a probe runs; neither `every` nor `cron`: only by hand."""

    every: float | None = None
    cron: str | None = None
    timezone: str | None = None
    phase: float = 0.0

    def due(self, now: float) -> float | None:
        """The first time after `now`."""
        if not self.every and not self.cron:
            return None
        return Timetable(self.every, self.cron, self.timezone or "UTC", self.phase).after(now)


@dataclass(frozen=True, slots=True)
class PlannedProbe:
    """A probe on a host as its row is to be, but for the host, and when it runs."""

    probe: str
    sensor: str
    arguments: tuple[Any, ...]
    warning: str | None
    critical: str | None
    runs: int
    margin: float
    nagios: bool


@dataclass(frozen=True, slots=True)
class _Schedule:
    every: float | None
    cron: str | None
    timezone: str | None
    splay: float

    def timing(self, host: str) -> Timing:
        """Of a probe on a host."""
        return Timing(self.every, self.cron, self.timezone, phase_of(host, self.splay))


_BY_HAND = _Schedule(None, None, None, 0.0)


def planned_hosts(site: Site) -> list[PlannedHost]:
    """All hosts, by name."""
    return [_host(name, site.definitions["host", name]) for name in site.names("host")]


def planned_probes(site: Site) -> Iterator[tuple[str, PlannedProbe, Timing]]:
    """Every probe on every one of its hosts: the host's name, the probe, and when it runs."""
    members, overrides = Members(site), Overrides(site)
    schedules = {name: _schedule(content) for name, content in site.of_kind("schedule")} | {"": _BY_HAND}
    groups = {name: content.get("groups", ()) for name, content in site.of_kind("host")}
    made: dict[int, tuple[Content, PlannedProbe]] = {}
    for name, content in sorted(site.of_kind("probe")):
        for host in members.hosts(content):
            settings = overrides.settings(name, content, host, groups[host])
            if not settings.get("enabled", True):
                continue
            # On most hosts a probe is what its definition says: one record serves them all.
            known, planned = made.get(id(settings), (None, None))
            if known is not settings or planned is None:
                planned = _probe(name, settings)
                if settings is content:
                    made[id(settings)] = settings, planned
            yield host, planned, schedules[settings.get("schedule", "")].timing(host)


def _host(name: str, content: Content) -> PlannedHost:
    return PlannedHost(
        name,
        content["address"],
        content.get("port", _default("host", "port")),
        tuple(content.get("from", ())),
        tuple(content.get("groups", ())),
        content.get("server"),
        content.get("tls", False),
    )


def _probe(name: str, settings: Content) -> PlannedProbe:
    return PlannedProbe(
        name,
        settings["sensor"],
        tuple(settings.get("arguments", ())),
        settings.get("warning") or None,
        settings.get("critical") or None,
        settings.get("runs", _default("probe", "runs")),
        settings.get("hysteresis", _default("probe", "hysteresis")),
        settings.get("nagios", False),
    )


def _schedule(content: Content) -> _Schedule:
    every = seconds_of(content["every"]) if "every" in content else None
    splay = seconds_of(content["splay"]) if "splay" in content else every or 0.0
    cron = content.get("cron")
    return _Schedule(every, cron, content.get("timezone", "UTC") if cron else None, splay)


def _default(kind: str, key: str) -> Any:
    return declared(kind)[key].default
