"""Which definition names which other one, and where."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from monagent.server.site.keys import KEYS
from monagent.server.site.model import Content, Key, Site
from monagent.server.site.overrides import target_of


@dataclass(frozen=True, slots=True)
class Reference:
    """One definition names another one.

    Attributes:
        source: the definition that names.
        key: of its content; empty: its own name does.
        item: which one of a list; None: it is no list.
        target: the definition that is named.
    """

    source: Key
    key: str
    item: int | None
    target: Key


_NAMING = {kind: [key for key in keys if key.names] for kind, keys in KEYS.items()}


def references_of(kind: str, name: str, content: Content) -> Iterator[Reference]:
    """What a definition names; its content has been read."""
    if kind == "override":
        target = target_of(name)
        yield Reference((kind, name), "", None, ("probe", target.probe))
        if not target.is_group:
            yield Reference((kind, name), "", None, ("host", target.owner))
    for key in _NAMING[kind]:
        value = content.get(key.name)
        if isinstance(value, list):
            for item, one in enumerate(value):
                yield Reference((kind, name), key.name, item, (key.names, one))
        elif value:
            yield Reference((kind, name), key.name, None, (key.names, value))


def references_to(site: Site, target: Key) -> list[Reference]:
    """All that names a definition, in the order of a file."""
    return [
        reference
        for kind, name in site.ordered()
        for reference in references_of(kind, name, site.definitions[kind, name])
        if reference.target == target
    ]


def groups_of(site: Site) -> set[str]:
    """All groups that any host belongs to."""
    return {group for _, content in site.of_kind("host") for group in content.get("groups", ())}
