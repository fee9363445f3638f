"""Since when it is watched, without a break, who hands in nothing: who was away cannot call others silent."""

from __future__ import annotations

from sqlalchemy import Connection, case, or_, update
from sqlalchemy.dialects import postgresql, sqlite

from monagent.server.schema import vigil as table

_ID = 1


def look(db: Connection, now: float, gap: float) -> float:
    """Note that somebody looks now; any of the processes will do.

    Args:
        db: a transaction that writes.
        now: seconds since the epoch.
        gap: seconds without a look that are a break.

    Returns:
        Since when there was no break.
    """
    broken = or_(table.c.looked < now - gap, table.c.looked > now + gap)
    values = {"began": case((broken, now), else_=table.c.began), "looked": now}
    looked = update(table).where(table.c.id == _ID).values(values).returning(table.c.began)
    began: float | None = db.scalar(looked)
    if began is None:
        insert = postgresql.insert if db.dialect.name == "postgresql" else sqlite.insert
        # Another process may begin in the same moment.
        db.execute(insert(table).values(id=_ID, began=now, looked=now).on_conflict_do_nothing())
    return now if began is None else began


class Patience:
    """Since when each of those that are late is waited for. Of one process, for use by one thread."""

    def __init__(self, slack: float) -> None:
        """
        Args:
            slack: seconds within which whoever is late is noticed. Who is later than that when he is met first was not
                waited for until now: his schedule is new, or he comes back with what he had kept.
        """
        self._slack = slack
        self._met: dict[int, float] = {}
        self._kept: dict[int, float] = {}

    def since(self, number: int, last: float | None, deadline: float | None, now: float) -> float:
        """When the waiting for one began: with its last result, or else when it was met.

        Args:
            number: its id.
            last: when it was heard of; None: never.
            deadline: until when it would have been heard of again in time.
            now: seconds since the epoch.
        """
        met = self._met.get(number, self._kept.get(number))
        if met is None:
            in_time = last is not None and deadline is not None and now <= deadline + self._slack
            met = last if in_time and last is not None else now
        self._kept[number] = met
        return met if last is None else max(met, last)

    def forget(self) -> None:
        """Forget those that were not asked for since the last time."""
        self._met, self._kept = self._kept, {}
