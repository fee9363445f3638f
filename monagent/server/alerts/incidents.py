"""The rows of incidents: what goes on, since when, and who has it in hand. At most one is open for a subject."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Connection, insert, select, update

from monagent.alarms.watch import CRITICAL, UNKNOWN
from monagent.server.alerts.levels import SEVERITY
from monagent.server.alerts.memory import STALE
from monagent.server.alerts.subjects import Key, chunks
from monagent.server.schema import incident as table
from monagent.server.schema import incident_event

SILENT: Final = "silent"
"""The state of a host that hands in nothing at all."""
RANK = {**SEVERITY, STALE: SEVERITY[UNKNOWN], SILENT: SEVERITY[CRITICAL]}
"""From good to bad."""


@dataclass(frozen=True, slots=True)
class Incident:
    """One that is open; the attributes are the columns of its row."""

    id: int
    host_id: int
    host_probe_id: int | None
    state: str
    worst: str
    message: str
    value: float | None
    opened: float
    flapping: bool
    told: float | None
    withheld: str | None
    acknowledged: float | None

    @property
    def key(self) -> Key:
        """What it is about."""
        return self.host_id, self.host_probe_id

    @property
    def thread(self) -> str:
        """What all notifications of it are known by."""
        return f"incident-{self.id}-{self.opened:.0f}@server"


OPEN = (
    select(*(table.c[name] for name in Incident.__dataclass_fields__))
    .where(table.c.closed.is_(None))
    .order_by(table.c.id)
)


def open_incidents(db: Connection, keys: Collection[Key]) -> dict[Key, Incident]:
    """Those that are open, kept from everybody else until the transaction ends.

    Whoever asks has the rows of these hosts or probes locked already: so nobody else opens or closes one meanwhile.
    """
    found: dict[Key, Incident] = {}
    locking = OPEN.with_for_update(key_share=True)  # SQLite leaves it out
    for chunk in chunks(sorted(probe for _, probe in keys if probe is not None)):
        for row in db.execute(locking.where(table.c.host_probe_id.in_(chunk))):
            found[row.host_id, row.host_probe_id] = Incident(*row)
    for chunk in chunks(sorted(host for host, probe in keys if probe is None)):
        for row in db.execute(locking.where(table.c.host_id.in_(chunk), table.c.host_probe_id.is_(None))):
            found[row.host_id, None] = Incident(*row)
    return found


def open_one(db: Connection, values: dict[str, Any]) -> Incident:
    """Write a new one down."""
    number = db.execute(insert(table).values(values).returning(table.c.id)).scalar_one()
    return Incident(id=number, **values)


def change(db: Connection, number: int, values: dict[str, Any]) -> None:
    """Change the row of one."""
    db.execute(update(table).where(table.c.id == number).values(values))


def add_events(db: Connection, events: list[dict[str, Any]]) -> None:
    """Add to the stories of incidents."""
    if events:
        db.execute(insert(incident_event), events)


def event(number: int, at: float, what: str, state: str, text: str) -> dict[str, Any]:
    """One line of an incident's story.

    Args:
        number: the incident.
        at: seconds since the epoch.
        what: problem, worse, better, recovery, flapping, settled, reminder, acknowledged, withheld, told, removed.
        state: of the incident, or ok.
        text: a sentence for people.
    """
    return {"incident_id": number, "at": at, "what": what, "state": state, "text": text}
