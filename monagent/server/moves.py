"""Send hosts to another server, and see who went, who came back, and why.

The outcome of a move that works goes to the new server, which did not issue its ticket. So this server can only tell by
what it sees here: the host asked where to go, and then handed in nothing more. When the new server does not take its
results, the agent comes back by itself, at the end of its probation, with an outcome that says why.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, delete, insert, select, update

from monagent.errors import Unavailable
from monagent.protocol import UPDATE_CONFIG
from monagent.server import schema
from monagent.server.database import Database
from monagent.server.moving import ASKED, BACK, FAILED, MOVED, WAITING, Standing, Verdict, judge
from monagent.server.pauses import pause, resume
from monagent.server.records import Host
from monagent.server.rollouts.verdicts import Answer
from monagent.server.site.hosts import chunks, keep_from_others
from monagent.server.site.hosts import host as host_named
from monagent.server.ticketing import issue

log = logging.getLogger(__name__)

EVERY_SECONDS = 2.0
"""How often it is worth looking."""
SENDING_SECONDS = 300.0
"""For a whole fleet, to be told."""

_move, _host, _ticket = schema.move.c, schema.host.c, schema.ticket.c


@dataclass(frozen=True, slots=True)
class Move:
    """A host's move; times in seconds since the epoch."""

    host: str
    url: str
    state: str
    started: float
    asked: float | None
    ended: float | None
    reason: str | None


def start(db: Connection, database: Database, host_ids: Sequence[int], url: str, now: float) -> None:
    """Tell hosts to move. What they will be told when they ask is their definitions' business.

    Args:
        db: a transaction that writes.
        database: its database.
        host_ids: whom; those that are gone meanwhile are left out.
        url: the server that their definitions name, for people to see.
        now: seconds since the epoch.
    """
    for chunk in chunks(sorted(host_ids)):
        there = db.execute(select(_host.id).where(_host.id.in_(chunk)).order_by(_host.id)).scalars().all()
        _remove(db, database, there)
        for host_id in there:
            ticket = issue(db, host_id, UPDATE_CONFIG, [], now, send_within=SENDING_SECONDS)
            row = {"host_id": host_id, "url": url, "ticket": ticket, "state": WAITING, "started": now}
            db.execute(insert(schema.move).values(row))


def forget(db: Connection, database: Database, host_ids: Sequence[int], now: float) -> None:
    """Nobody wants to know any more how these hosts moved; what is checked on them is checked again."""
    for chunk in chunks(sorted(host_ids)):
        _remove(db, database, chunk)
    resume(db, database, host_ids, now)


def _remove(db: Connection, database: Database, host_ids: Sequence[int]) -> None:
    these = _move.host_id.in_(host_ids)
    keep_from_others(database, db, select(_move.host_id).where(these).order_by(_move.host_id))
    db.execute(delete(schema.move).where(these))


def leaving(db: Connection, database: Database) -> frozenset[int]:
    """The ids of hosts that have gone, or are about to: nothing is due there.

    No move comes to another state before the transaction ends. Locks are taken in this order everywhere: tickets, moves,
    probes, hosts, each by id.
    """
    statement = select(_move.host_id, _move.state).order_by(_move.host_id)
    return frozenset(row.host_id for row in db.execute(database.locking(statement)) if row.state in (ASKED, MOVED))


def listing(db: Connection) -> list[Move]:
    """All moves, by host."""
    statement = (
        select(_host.name, _move.url, _move.state, _move.started, _move.asked, _move.ended, _move.reason)
        .join_from(schema.move, schema.host)
        .order_by(_host.name)
    )
    return [Move(*row) for row in db.execute(statement)]


class Moves:
    """Tells hosts where to go. Any thread may call it."""

    def __init__(
        self, database: Database, is_from: Callable[[str, Host], bool], clock: Callable[[], float] = time.time
    ) -> None:
        """
        Args:
            database: where hosts and moves are kept.
            is_from: whether an address belongs to a host, see `AddressBook`.
            clock: seconds since the epoch.
        """
        self._database = database
        self._is_from = is_from
        self._clock = clock

    def url_for(self, hostname: str, peer: str, default: Callable[[], str]) -> str | None:
        """Where a host should hand in, None when there is no such host; that it asked is noted, when it was itself.

        Args:
            hostname: as the caller says.
            peer: the caller's address.
            default: this server's own URL, or the one that all hosts are sent to.

        Raises:
            BadArguments: by `default`.
            StoreAway: the database cannot be used now.
        """
        with self._database.read() as db:
            host = host_named(db, hostname)
        if host is None:
            return None
        url = host.url or default()
        if self._is_itself(peer, host):
            with self._database.write() as db:
                values = {"state": ASKED, "asked": self._clock(), "ended": None, "reason": None}
                this = (_move.host_id == host.id, _move.url == url)
                if db.execute(update(schema.move).where(*this).values(values)).rowcount:
                    pause(db, self._database, host.id)
            log.info("host=%s asked where to go: %s", host.name, url)
        return url

    def _is_itself(self, peer: str, host: Host) -> bool:
        try:
            return self._is_from(peer, host)
        except Unavailable:
            return False


class MoveJob:
    """Follows the moves under way; any number of processes may do so at once."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def run(self, now: float) -> None:
        """Note what has become of each move, at `now` in seconds since the epoch.

        Raises:
            StoreAway: the database cannot be used just now.
        """
        with self._database.read() as db:
            found = _standings(db)
        changed = [(one, verdict) for one in found if (verdict := judge(one, now)) is not None]
        if not changed:
            return
        with self._database.write() as db:
            back = [standing.host_id for standing, verdict in changed if _note(db, standing, verdict, now)]
            resume(db, self._database, back, now)


def _note(db: Connection, standing: Standing, verdict: Verdict, now: float) -> bool:
    """Write down what has become of a move; whether its host is now known to have stayed, or to be here again."""
    over = {"ended": now} if verdict.is_over else {}
    # Another process, or the host itself by asking again, may have been quicker.
    same = (_move.host_id == standing.host_id) & (_move.state == standing.state) & (_move.ticket == standing.ticket)
    values = {"state": verdict.state, "reason": verdict.reason, **over}
    noted = db.execute(update(schema.move).where(same).values(values)).rowcount
    log.info("move host_id=%d %s: %s", standing.host_id, verdict.state, verdict.reason or "-")
    return bool(noted) and verdict.state in (BACK, FAILED)


def _standings(db: Connection) -> list[Standing]:
    """The moves that something may have happened to, by host."""
    outcome = schema.outcome.c
    came_back = (_host.seen > _move.ended) | outcome.content.is_not(None)
    statement = (
        select(
            _move.host_id, _move.ticket, _move.state, _move.started, _move.asked, _move.ended, _host.seen,
            _ticket.method, _ticket.state, _ticket.reason, _ticket.ended, outcome.content,
        )
        .join_from(schema.move, schema.host)
        .outerjoin(schema.ticket, _ticket.ticket == _move.ticket)
        .outerjoin(schema.outcome, outcome.ticket_id == _ticket.id)
        .where(_move.ended.is_(None) | ((_move.state == MOVED) & came_back))
        .order_by(_move.host_id)
    )  # fmt: skip
    return [_standing(row) for row in db.execute(statement)]


def _standing(row: Any) -> Standing:
    host_id, ticket, state, started, asked, ended, seen, method, *rest = row
    answer = Answer(method, *rest) if method is not None else None
    return Standing(host_id, ticket, state, started, asked, ended, seen, answer)
