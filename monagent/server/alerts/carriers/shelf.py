"""The rows of the outbox: claim what is due, keep the claim alive, write down how it ended."""

from __future__ import annotations

import secrets
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from sqlalchemy import Connection, Row, and_, bindparam, exists, func, or_, select, update

from monagent.server.alerts.carriers.parcels import (
    FAILED,
    LATER,
    SENT,
    WAITING,
    Note,
    Parcel,
    Plan,
    Progress,
    Verdict,
    Waiting,
    plan,
)
from monagent.server.database import Database
from monagent.server.schema import notification as table

LEASE_SECONDS = 120.0
"""Whoever claims a row has it for so long, and longer while it says so."""
LOOKED_AT = 2_000
"""Rows at once."""
TROUBLE_LIMIT = 500
EARLIER = 20
"""Batches that a mail refers to."""


class Shelf:
    """Any thread may use it. Every method raises `StoreAway` while the database is away."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def next_due(self, others: Collection[str] = ()) -> float | None:
        """When the next row may be tried; None: nothing waits.

        Args:
            others: channels that do not count.
        """
        waits = table.c.state == WAITING, table.c.channel.not_in(list(others))
        with self._database.read() as db:
            found: float | None = db.scalar(select(func.min(table.c.next_try)).where(*waits))
        return found

    def claim(
        self, now: float, others: Collection[str] = (), targets: Collection[str] = ()
    ) -> tuple[Parcel | None, float | None]:
        """Take what may go now; no other process has it until the lease runs out.

        Args:
            now: seconds since the epoch.
            others: channels that are left alone.
            targets: that are left alone for a while.

        Returns:
            The parcel; None: there is none now. And when to look again for what gathers.
        """
        with self._database.write() as db:
            found = self._planned(db, now, others, targets)
            for group in found.ready:
                parcel = self._taken(db, group, now)
                if parcel is not None:
                    return parcel, found.ripe_at
        return None, found.ripe_at

    def _planned(self, db: Connection, now: float, others: Collection[str], targets: Collection[str]) -> Plan:
        earlier = table.alias("earlier")
        # The head of each incident's queue alone: a recovery never overtakes its problem. What was put off on purpose,
        # and not tried yet, holds nobody up.
        is_behind = exists().where(
            earlier.c.incident_id == table.c.incident_id, earlier.c.state == WAITING, earlier.c.id < table.c.id,
            earlier.c.channel == table.c.channel, earlier.c.target == table.c.target,
            or_(earlier.c.next_try <= now, earlier.c.attempts > 0),
        )  # fmt: skip
        columns = [table.c[name] for name in ("id", "rule", "channel", "target", "what", "next_try", "batch")]
        statement = select(*columns).where(table.c.state == WAITING, table.c.next_try <= now, ~is_behind)
        if others:
            statement = statement.where(table.c.channel.not_in(list(others)))
        if targets:
            statement = statement.where(table.c.target.not_in(list(targets)))
        rows = db.execute(statement.order_by(table.c.next_try, table.c.id).limit(LOOKED_AT))
        return plan([Waiting(*row) for row in rows], now)

    def _taken(self, db: Connection, group: Sequence[Waiting], now: float) -> Parcel | None:
        """Claim a group, unless somebody else has its first row; that one stands for all."""
        is_due = and_(table.c.state == WAITING, table.c.next_try <= now)
        batch = group[0].batch
        if batch is None:
            first, members = group[0].id, and_(table.c.id.in_([row.id for row in group]), table.c.batch.is_(None))
        else:
            first, members = group[0].id, table.c.batch == batch
        head = select(table.c.id).where(table.c.id == first, is_due)
        if db.execute(self._database.locking(head, skip=True)).first() is None:
            return None
        rows = db.execute(self._database.locking(select(table).where(members, is_due).order_by(table.c.id))).all()
        if not rows or rows[0].id != first:
            return None
        parcel = _parcel(rows, batch or secrets.token_hex(16))
        db.execute(
            update(table)
            .where(table.c.id.in_(parcel.ids))
            .values(batch=parcel.batch, next_try=now + LEASE_SECONDS, attempts=parcel.attempts, trouble=None)
        )
        return parcel

    def renew(self, parcel: Parcel, now: float) -> None:
        """Keep a claim for another lease."""
        with self._database.write() as db:
            db.execute(update(table).where(_ours(parcel)).values(next_try=now + LEASE_SECONDS))

    def settle(self, parcel: Parcel, verdict: Verdict, now: float, next_try: float) -> None:
        """Write down how a try ended; `next_try` counts where it is to be tried again."""
        values: dict[str, Any] = {"trouble": verdict.trouble[:TROUBLE_LIMIT] or None}
        if verdict.progress is not None:
            values["progress"] = asdict(verdict.progress)
        if verdict.outcome == LATER:
            condition, values["next_try"] = _ours(parcel), next_try
        else:
            # It is done whoever has the claim now; nobody needs to do it again.
            condition = and_(table.c.id.in_(parcel.ids), table.c.state == WAITING)
            values |= {"state": verdict.outcome, "next_try": None, "sent": now if verdict.outcome == SENT else None}
        with self._database.write() as db:
            found = self._database.locking(select(table.c.id).where(condition).order_by(table.c.id))
            ids = db.scalars(found).all()
            db.execute(update(table).where(table.c.id.in_(ids)).values(values))
            if verdict.apart and ids:
                db.execute(_APART, [{"of": number, "own": secrets.token_hex(16)} for number in ids])

    def hurry(self, channel: str, target: str | None, now: float) -> None:
        """Try at once what waits for a second try there; `target` None: at all of them."""
        waits = and_(table.c.state == WAITING, table.c.trouble.is_not(None), table.c.next_try > now)
        there = (
            table.c.channel == channel if target is None else and_(table.c.channel == channel, table.c.target == target)
        )
        with self._database.write() as db:
            found = self._database.locking(select(table.c.id).where(waits, there).order_by(table.c.id).limit(LOOKED_AT))
            db.execute(update(table).where(table.c.id.in_(db.scalars(found).all())).values(next_try=now))

    def earlier_batches(self, parcel: Parcel) -> list[str]:
        """What the same target was sent before about the same incidents, the oldest first."""
        incidents = sorted({note.incident_id for note in parcel.notes if note.incident_id is not None})
        if not incidents:
            return []
        newest = func.max(table.c.id)
        statement = select(table.c.batch).where(
            table.c.incident_id.in_(incidents[:LOOKED_AT]), table.c.channel == parcel.channel,
            table.c.target == parcel.target, table.c.state == SENT, table.c.batch != parcel.batch,
        )  # fmt: skip
        with self._database.read() as db:
            found = db.scalars(statement.group_by(table.c.batch).order_by(newest.desc()).limit(EARLIER)).all()
        return [str(batch) for batch in reversed(found)]

    def status(self) -> dict[str, Any]:
        """How many wait and since when the oldest does (seconds since the epoch), and how many were given up."""
        counts = select(table.c.state, func.count(), func.min(table.c.created)).where(table.c.state != SENT)
        with self._database.read() as db:
            found: Mapping[str, Any] = {row[0]: row for row in db.execute(counts.group_by(table.c.state))}
        waiting, failed = found.get(WAITING), found.get(FAILED)
        return {
            "waiting": waiting[1] if waiting else 0,
            "oldest": waiting[2] if waiting else None,
            "failed": failed[1] if failed else 0,
        }


_APART = update(table).where(table.c.id == bindparam("of")).values(batch=bindparam("own"))


def _ours(parcel: Parcel) -> Any:
    """Only as long as nobody else has claimed it since."""
    return and_(table.c.batch == parcel.batch, table.c.state == WAITING, table.c.attempts == parcel.attempts)


def _parcel(rows: Sequence[Row[Any]], batch: str) -> Parcel:
    first = rows[0]
    notes = tuple(Note(row.id, row.incident_id, row.what, _content(row), row.created) for row in rows)
    attempts = max(row.attempts for row in rows) + 1
    told = first.progress
    progress = Progress(told["taken"], tuple(told["left"]), tuple(told["lost"]), told.get("refused")) if told else None
    return Parcel(batch, first.rule, first.channel, first.target, attempts, notes, progress)


def _content(row: Row[Any]) -> dict[str, Any]:
    """One that is wrong must not keep the others: it tells nothing."""
    return dict(row.content) if isinstance(row.content, dict) else {}
