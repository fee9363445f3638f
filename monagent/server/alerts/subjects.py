"""What an incident is about: a probe of a host, or the host as a whole."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from itertools import islice
from typing import Any, TypeAlias

from sqlalchemy import Connection, select

from monagent.server.database import Database
from monagent.server.schema import host, host_probe

Key: TypeAlias = "tuple[int, int | None]"
"""The ids of a host and of its probe; None: the host as a whole."""
CHUNK = 500
"""Ids in one statement: databases limit them."""


@dataclass(frozen=True, slots=True)
class Subject:
    """A probe, or all of a host.

    Attributes:
        host: its name.
        groups: of the host.
        probe: its name; None: the host as a whole.
        probes: the probe, or all that the host has.
        sensor, arguments, warning, critical: of the probe; empty for a host.
        active: False: the probe is not defined any more.
    """

    host_id: int
    host: str
    groups: frozenset[str]
    host_probe_id: int | None
    probe: str | None
    probes: frozenset[str]
    sensor: str = ""
    arguments: tuple[str, ...] = ()
    warning: str = ""
    critical: str = ""
    active: bool = True

    @property
    def key(self) -> Key:
        """What its incidents are found by."""
        return self.host_id, self.host_probe_id


@dataclass(frozen=True, slots=True)
class Scope:
    """Which subjects something is for: hosts of these names or in these groups, and these probes; None: all.

    Attributes:
        hosts: names.
        groups: names.
        probes: names.
    """

    hosts: frozenset[str] | None = None
    groups: frozenset[str] | None = None
    probes: frozenset[str] | None = None

    def concerns(self, subject: Subject) -> bool:
        """Whether any of it is meant: a host that is silent concerns whoever watches one of its probes."""
        return self._reaches(subject) and (self.probes is None or not self.probes.isdisjoint(subject.probes))

    def covers(self, subject: Subject) -> bool:
        """Whether all of it is meant."""
        return self._reaches(subject) and (self.probes is None or subject.probes <= self.probes)

    def _reaches(self, subject: Subject) -> bool:
        if self.hosts is None and self.groups is None:
            return True
        named = self.hosts is not None and subject.host in self.hosts
        return named or (self.groups is not None and not self.groups.isdisjoint(subject.groups))


def scope_of(content: dict[str, Any]) -> Scope:
    """The scope that a definition's `hosts`, `groups`, `probes` and `everywhere` make; an empty list is none."""
    hosts, groups, probes = (_names(content, key) for key in ("hosts", "groups", "probes"))
    return Scope(probes=probes) if content.get("everywhere") else Scope(hosts, groups, probes)


def _names(content: dict[str, Any], key: str) -> frozenset[str] | None:
    names = content.get(key)
    if not names:
        return None
    if not isinstance(names, list):
        raise ValueError(f"{key} must be a list")  # noqa: TRY004 - readers raise ValueError
    return frozenset(map(str, names))


def subjects(db: Connection, keys: Collection[Key]) -> dict[Key, Subject]:
    """Look subjects up; those that are gone are left out."""
    found: dict[Key, Subject] = {}
    for chunk in chunks(sorted(probe for _, probe in keys if probe is not None)):
        for row in db.execute(_PROBES.where(host_probe.c.id.in_(chunk))):
            subject = _probe(row)
            found[subject.key] = subject
    for chunk in chunks(sorted(number for number, probe in keys if probe is None)):
        found |= _hosts(db, chunk)
    return found


_PROBES = select(
    host.c.id.label("host_id"), host.c.name, host.c.groups, host_probe.c.id, host_probe.c.probe, host_probe.c.sensor,
    host_probe.c.arguments, host_probe.c.warning, host_probe.c.critical, host_probe.c.active,
).join_from(host_probe, host)  # fmt: skip


def _probe(row: Any) -> Subject:
    return Subject(
        row.host_id, row.name, frozenset(row.groups), row.id, row.probe, frozenset((row.probe,)), row.sensor,
        tuple(map(str, row.arguments)), row.warning or "", row.critical or "", row.active,
    )  # fmt: skip


def _hosts(db: Connection, ids: Collection[int]) -> dict[Key, Subject]:
    probes: dict[int, set[str]] = {}
    active = select(host_probe.c.host_id, host_probe.c.probe).where(host_probe.c.host_id.in_(ids), host_probe.c.active)
    for number, probe in db.execute(active):
        probes.setdefault(number, set()).add(probe)
    rows = db.execute(select(host.c.id, host.c.name, host.c.groups).where(host.c.id.in_(ids)))
    return {
        (row.id, None): Subject(row.id, row.name, frozenset(row.groups), None, None, frozenset(probes.get(row.id, ())))
        for row in rows
    }


def claim(db: Connection, database: Database, keys: Collection[Key]) -> set[Key]:
    """Lock their rows until the transaction ends; those that others have are left to the next run.

    Args:
        db: a transaction that writes.
        database: where that is.
        keys: of the subjects.

    Returns:
        The keys of those that were had.
    """
    claimed: set[Key] = set()
    probe, of_host = host_probe.c, host.c
    for chunk in chunks(sorted(number for _, number in keys if number is not None)):
        statement = select(probe.host_id, probe.id).where(probe.id.in_(chunk)).order_by(probe.id)
        claimed |= {(row[0], row[1]) for row in db.execute(database.locking(statement, skip=True))}
    for chunk in chunks(sorted(number for number, probe in keys if probe is None)):
        statement = select(of_host.id).where(of_host.id.in_(chunk)).order_by(of_host.id)
        claimed |= {(number, None) for number in db.scalars(database.locking(statement, skip=True))}
    return claimed


def chunks(items: Iterable[Any], size: int = CHUNK) -> Iterable[list[Any]]:
    """The items in lists that fit into one statement, or one transaction."""
    iterator = iter(items)
    while chunk := list(islice(iterator, size)):
        yield chunk
