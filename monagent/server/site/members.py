"""Which hosts a definition is for."""

from __future__ import annotations

from collections.abc import Collection

from monagent.server.site.model import Content, Site


class Members:
    """The hosts of a site, by group."""

    def __init__(self, site: Site) -> None:
        self._all: list[str] = []
        self._of_group: dict[str, list[str]] = {}
        for name, content in site.of_kind("host"):
            self._all.append(name)
            for group in content.get("groups", ()):
                self._of_group.setdefault(group, []).append(name)

    def hosts(self, content: Content) -> Collection[str]:
        """The hosts that `hosts`, `groups` and `everywhere` of a definition say."""
        if content.get("everywhere"):
            return self._all
        found = set(content.get("hosts", ()))
        for group in content.get("groups", ()):
            found.update(self._of_group.get(group, ()))
        return found
