"""A site: all definitions, each a kind, a name and what it says; and what can be wrong with them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from monagent.errors import Refused

Key: TypeAlias = tuple[str, str]
"""Kind and name."""

Content: TypeAlias = Mapping[str, Any]
"""What a definition says, key by key, as JSON can hold it. What is at its default is left out."""

KINDS = ("host", "sensor", "schedule", "probe", "override", "maintenance", "alert", "report")
"""In the order of a file: what is named comes before what names it."""


@dataclass(frozen=True, slots=True)
class Site:
    """All definitions. Never changed: the methods that change something make another one."""

    definitions: Mapping[Key, Content] = field(default_factory=dict)

    def content(self, kind: str, name: str) -> Content | None:
        """What the definition says; None when there is none."""
        return self.definitions.get((kind, name))

    def of_kind(self, kind: str) -> Iterator[tuple[str, Content]]:
        """Names and contents of one kind, in no particular order."""
        return ((name, content) for (one, name), content in self.definitions.items() if one == kind)

    def names(self, kind: str) -> list[str]:
        """All names of one kind, sorted."""
        return sorted(name for one, name in self.definitions if one == kind)

    def ordered(self) -> list[Key]:
        """All keys in the order of a file."""
        return sorted(self.definitions, key=lambda key: (KINDS.index(key[0]), key[1]))

    def having(self, kind: str, name: str, content: Content) -> Site:
        """The site with this definition, in the place of one of that name."""
        return Site({**self.definitions, (kind, name): content})

    def without(self, kind: str, name: str) -> Site:
        """The site without this definition."""
        return Site({key: content for key, content in self.definitions.items() if key != (kind, name)})


@dataclass(frozen=True, slots=True)
class SiteProblem:
    """One thing wrong with a definition.

    Attributes:
        kind: of the definition.
        name: of the definition; empty: of no one in particular.
        key: in the definition; empty: the definition itself.
        message: what is wrong and what would do.
        item: which one of a list, from 0; None: no single one.
    """

    kind: str
    name: str
    key: str
    message: str
    item: int | None = None

    def __str__(self) -> str:
        return f"{' '.join(filter(None, (self.kind, self.name, self.key)))}: {self.message}"


class WrongSite(Refused):
    """Definitions that are wrong, or do not go together; nothing has changed. `problems` lists all that was found."""

    def __init__(self, problems: Iterable[SiteProblem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))


class Unreadable(Refused):
    """A file cannot be read; nothing has changed."""

    exit_code = 74
