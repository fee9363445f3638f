"""Take an incident in hand: nobody is reminded of it, until it gets worse or ends."""

from __future__ import annotations

from sqlalchemy import select

from monagent.errors import Refused
from monagent.server.alerts import incidents
from monagent.server.alerts.incidents import OPEN, Incident, event
from monagent.server.alerts.telling import Telling
from monagent.server.database import Database
from monagent.server.schema import incident as table

NOTE_LIMIT = 2_000


def acknowledge(database: Database, number: int, by: str, note: str, now: float) -> None:
    """Write down that somebody has it in hand. What waits until its delay is over is not told to anybody then.

    Args:
        database: where it is.
        number: of the incident.
        by: who has it in hand; whoever had it before is replaced.
        note: what people should know.
        now: seconds since the epoch.

    Raises:
        Refused: there is none of that number, or it is closed.
        StoreAway: the database cannot be used now.
    """
    with database.write() as db:
        row = db.execute(database.locking(OPEN.where(table.c.id == number))).one_or_none()
        if row is None:
            known = db.scalar(select(table.c.id).where(table.c.id == number))
            if known is None:
                raise Refused(f"there is no incident {number}; monserver incident list shows those that are open")
            raise Refused(f"incident {number} is closed: there is nothing to acknowledge")
        incident = Incident(*row)
        Telling(db, now).take_back(incident)
        values = {"acknowledged": now, "acknowledged_by": by[:255], "note": note[:NOTE_LIMIT]}
        incidents.change(db, number, values)
        text = f"{by[:255]}: {note[:NOTE_LIMIT]}"
        incidents.add_events(db, [event(number, now, "acknowledged", incident.state, text)])
