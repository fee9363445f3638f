"""What a probe is on one host: what the host's override says goes before its groups', and those before the probe's own."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from monagent.server.site.model import Content, Site

GROUP = "group:"
_NOTHING: Mapping[str, Content] = {}


@dataclass(frozen=True, slots=True)
class Target:
    """Where an override applies: `owner` is a host, or a group."""

    owner: str
    is_group: bool
    probe: str


def target_of(name: str) -> Target:
    """The target that an override's name says: `web1/disk` or `group:web/disk`."""
    owner, _, probe = name.rpartition("/")
    is_group = owner.startswith(GROUP)
    return Target(owner.removeprefix(GROUP), is_group, probe)


@dataclass(frozen=True, slots=True)
class Clash:
    """Two groups of one host that say different things about one key of one probe."""

    groups: tuple[str, str]
    key: str


class Overrides:
    """All overrides of a site, by what they are for."""

    def __init__(self, site: Site) -> None:
        self._of_hosts: dict[str, dict[str, Content]] = {}
        self._of_groups: dict[str, dict[str, Content]] = {}
        for name, content in site.of_kind("override"):
            target = target_of(name)
            kept = self._of_groups if target.is_group else self._of_hosts
            kept.setdefault(target.probe, {})[target.owner] = content

    def of_groups(self, probe: str) -> Mapping[str, Content]:
        """Those of a probe that are for groups, by group."""
        return self._of_groups.get(probe, _NOTHING)

    def settings(self, probe: str, content: Content, host: str, groups: Iterable[str]) -> Content:
        """What the probe says, with what overrides say about this host put over it."""
        for_groups, for_host = self.of_groups(probe), self._of_hosts.get(probe, _NOTHING).get(host)
        if not for_groups and for_host is None:
            return content
        merged: dict[str, Any] = dict(content)
        for group in groups:
            merged.update(for_groups.get(group, _NOTHING))
        return {**merged, **(for_host or {})}

    def clash(self, probe: str, host: str, groups: Iterable[str]) -> Clash | None:
        """Where two of a host's groups differ about a key, and the host itself says nothing about it."""
        for_groups, settled = self.of_groups(probe), self._of_hosts.get(probe, _NOTHING).get(host, _NOTHING)
        said: dict[str, str] = {}
        for group in groups:
            for key, value in for_groups.get(group, _NOTHING).items():
                other = said.setdefault(key, group)
                if for_groups[other][key] != value and key not in settled:
                    return Clash((other, group), key)
        return None
