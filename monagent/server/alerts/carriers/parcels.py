"""Which notifications go together, when they go, and what follows from how a try ended. Rules alone."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

DIGEST_ABOVE = 5
"""More than so many for one target go as one."""
GATHER_SECONDS = 3.0
"""After the first of several was due, for the rest of an outage to come in."""
LIMITS = {"webhook": 100}
DEFAULT_LIMIT = 1000
"""Notifications in one parcel."""
FIRST_PAUSE, LAST_PAUSE = 10.0, 900.0
GIVE_UP_SECONDS = 3 * 86_400.0
LEAST_TRIES = 10
"""Before anything is given up: the server itself may have been off for days."""
GATHERED = ("problem", "recovery", "flapping", "settled", "reminder")
"""What may go together with others; a report or a test goes alone."""
WAITING, SENT, FAILED = "waiting", "sent", "failed"
"""States of a row."""
LATER = "later"
"""Beside sent and failed: how a try may end."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """A row whose turn it is since `due`, as far as the rules need it. `batch` is known where it was tried before."""

    id: int
    rule: str
    channel: str
    target: str
    what: str
    due: float
    batch: str | None


@dataclass(frozen=True, slots=True)
class Note:
    """One notification in a parcel."""

    id: int
    incident_id: int | None
    what: str
    content: dict[str, Any]
    created: float


@dataclass(frozen=True, slots=True)
class Progress:
    """What became of a parcel so far.

    Attributes:
        taken: how many of a mail's recipients have it.
        left: which of them wait still.
        lost: who was refused, and why.
        refused: since when a webhook's receiver says that it never will take it.
    """

    taken: int = 0
    left: tuple[str, ...] = ()
    lost: tuple[str, ...] = ()
    refused: float | None = None


@dataclass(frozen=True, slots=True)
class Parcel:
    """What goes out at once, claimed by this process. `attempts` counts this one, too."""

    batch: str
    rule: str
    channel: str
    target: str
    attempts: int
    notes: tuple[Note, ...]
    progress: Progress | None = None

    @property
    def ids(self) -> list[int]:
        """Of its rows, ascending."""
        return [note.id for note in self.notes]

    @property
    def created(self) -> float:
        """When the oldest came to be."""
        return min(note.created for note in self.notes)


@dataclass(frozen=True, slots=True)
class Verdict:
    """How a try ended.

    Attributes:
        outcome: sent, later or failed.
        trouble: why it was not taken, or not by all.
        away: the target cannot be reached; others for it need not be tried now.
        progress: what is to be remembered of it.
        apart: what went together is tried one by one from now on.
    """

    outcome: str
    trouble: str = ""
    away: bool = False
    progress: Progress | None = None
    apart: bool = False


@dataclass(frozen=True, slots=True)
class Plan:
    """Rows to be claimed together, in the order to try them in; `ripe_at` is when what gathers still may go."""

    ready: list[list[Waiting]] = field(default_factory=list)
    ripe_at: float | None = None


def plan(rows: Iterable[Waiting], now: float) -> Plan:
    """Put rows together. What was tried together before stays together, and so keeps its identity.

    Args:
        rows: that are due, no two of one incident and target.
        now: seconds since the epoch.
    """
    groups: dict[tuple[str, ...], list[Waiting]] = defaultdict(list)
    for row in rows:
        groups[_key(row)].append(row)
    ready: list[list[Waiting]] = []
    ripe: list[float] = []
    for group in groups.values():
        group.sort(key=lambda row: row.id)
        gathered = min(row.due for row in group) + GATHER_SECONDS
        if group[0].batch is None and len(group) > 1 and gathered > now:
            ripe.append(gathered)
        else:
            ready += _cut(group)
    ready.sort(key=lambda group: group[0].id)
    return Plan(ready, min(ripe, default=None))


def _key(row: Waiting) -> tuple[str, ...]:
    if row.batch is not None:
        return ("batch", row.batch)
    if row.what not in GATHERED:
        return ("alone", str(row.id))
    return ("fresh", row.channel, row.target, row.rule)


def _cut(group: Sequence[Waiting]) -> list[list[Waiting]]:
    if group[0].batch is not None:
        return [list(group)]
    if group[0].channel != "webhook" and len(group) <= DIGEST_ABOVE:
        return [[row] for row in group]
    size = LIMITS.get(group[0].channel, DEFAULT_LIMIT)
    return [list(group[at : at + size]) for at in range(0, len(group), size)]


def is_digest(notes: Collection[Note]) -> bool:
    """Whether a parcel is told as a table."""
    return len(notes) > 1


def pause(attempts: int) -> float:
    """Seconds until the next try."""
    return min(FIRST_PAUSE * 2.0 ** min(attempts - 1, 20), LAST_PAUSE) * random.uniform(0.7, 1.0)


def judged(parcel: Parcel, verdict: Verdict, now: float) -> Verdict:
    """The verdict that counts: what waited for too long, and had its chance, is given up."""
    if verdict.outcome != LATER or now - parcel.created < GIVE_UP_SECONDS or parcel.attempts < LEAST_TRIES:
        return verdict
    progress = verdict.progress or parcel.progress
    trouble = f"given up after {parcel.attempts} tries in {(now - parcel.created) / 86_400:.0f} days: {verdict.trouble}"
    return Verdict(SENT if progress and progress.taken else FAILED, trouble, verdict.away, progress)
