"""Keep what agents hand in: its ticket is closed, the result kept, summed up and watched, all in one transaction."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, bindparam, insert, select, update

from monagent.alarms.watch import OK
from monagent.protocol import NOT_A_NUMBER, STDERR_LIMIT, SUBMIT_READING
from monagent.server import schema
from monagent.server.alerts import watching
from monagent.server.alerts.levels import level_of, rule_of
from monagent.server.database import Database
from monagent.server.records import Delivery, Host, IssuedTicket, Judged, Seen
from monagent.server.rollups import Point, add
from monagent.server.tickets import DONE, FAILED

Taken = tuple[IssuedTicket, Delivery]
Found = dict[str, tuple[IssuedTicket, Host]]
Observer = Callable[[Connection, IssuedTicket, dict[str, Any], float], None]
"""Told of each outcome that is kept, in its transaction: (db, ticket, content, now)."""

DAY = 86_400.0
_SEEN_SECONDS = 5.0
"""A host's row is not written for each of its results."""
_OFF_SECONDS = 60.0
"""By which an agent's clock may differ."""
_AHEAD_SECONDS = 300.0
"""A reading of an agent whose clock is ahead by more than that is not taken for its probe's newest."""


_ticket, _host, _known = schema.ticket.c, schema.host.c, schema.host_probe.c
# Made once: to make them each time costs as much as to run them.
_FIND: Any = (
    select(
        _ticket.id, _ticket.ticket, _ticket.host_id, _ticket.host_probe_id, _ticket.method, _ticket.arguments,
        _ticket.state, _ticket.expires, _ticket.fingerprint, _ticket.issued, _host.name, _host.address, _host.port, _host.sources,
    )
    .join_from(schema.ticket, schema.host, _ticket.host_id == _host.id)
    .where(_ticket.ticket.in_(bindparam("names", expanding=True)))
    .order_by(_ticket.id)
)  # fmt: skip


def find(db: Connection, database: Database, names: Sequence[str]) -> Found:
    """Those of the tickets that were issued, each with its host, kept from everybody else until the transaction ends."""
    rows: Any = db.execute(database.locking(_FIND, of=schema.ticket), {"names": names}).all()
    return {row[1]: (IssuedTicket(*row[:10]), Host(row[2], row[10], row[11], row[12], tuple(row[13]))) for row in rows}


def keep(db: Connection, database: Database, taken: Sequence[Taken], now: float, observers: Sequence[Observer]) -> None:
    """Keep results for tickets that `find` found open."""
    if not taken:
        return
    db.execute(_CLOSE, [_closing(ticket, delivery, now) for ticket, delivery in taken])
    readings = [one for one in taken if one[0].method == SUBMIT_READING]
    if readings:
        _keep_readings(db, database, readings, now)
    for ticket, delivery in taken:
        if ticket.method != SUBMIT_READING:
            _keep_outcome(db, ticket, delivery, now, observers)
    _note_hosts(db, database, sorted({ticket.host_id for ticket, _ in taken}), now)


_CLOSE = (
    update(schema.ticket)
    .where(schema.ticket.c.id == bindparam("of"))
    .values(
        state=bindparam("to"), ended=bindparam("at"), finished=bindparam("when"), reason=bindparam("why"),
        fingerprint=bindparam("print"), send_at=None,
    )
)  # fmt: skip


def _closing(ticket: IssuedTicket, delivery: Delivery, now: float) -> dict[str, Any]:
    said = delivery.content.get("status") == "error" and ticket.method != SUBMIT_READING
    return {
        "of": ticket.id,
        "to": FAILED if said else DONE,
        "at": now,
        "when": delivery.finished.timestamp(),
        "why": str(delivery.content.get("message", ""))[:1000] if said else None,
        "print": delivery.fingerprint,
    }


def _keep_readings(db: Connection, database: Database, readings: Sequence[Taken], now: float) -> None:
    rows = [_reading(ticket, delivery, now) for ticket, delivery in readings]
    db.execute(_KEEP, rows)
    ids = sorted({row["host_probe_id"] for row in rows if row["host_probe_id"] is not None})
    if not ids:
        return
    probes = {row[0]: row for row in db.execute(database.locking(_PROBES), {"ids": ids}).all()}
    seen = [
        _seen(probes[row["host_probe_id"]], row, ticket.issued, now)
        for row, (ticket, _) in zip(rows, readings, strict=True)
        if row["host_probe_id"] in probes
    ]
    # A time that is yet to come would stay when everything around it has gone.
    add(db, [_point(one) for one in seen if one.finished < now + DAY])
    judged = watching.watch(db, seen, now)
    newest = _newest(seen, now)
    for statement, rows in (
        (
            _LATEST_JUDGED,
            [_judged_row(one, judged[one.host_probe_id], now) for one in newest if one.host_probe_id in judged],
        ),
        # What comes late is history: it may be the newest all the same, but it changes no state.
        (_LATEST, [_newest_row(one, now) for one in newest if one.host_probe_id not in judged]),
        (_CAME, [{"of": number, "came": now} for number in sorted({*probes} - {one.host_probe_id for one in newest})]),
    ):
        if rows:
            db.execute(statement, rows)


_KEEP = insert(schema.reading)


def _reading(ticket: IssuedTicket, delivery: Delivery, now: float) -> dict[str, Any]:
    content = delivery.content
    return {
        "ticket_id": ticket.id,
        "finished": delivery.finished.timestamp(),
        "host_id": ticket.host_id,
        "host_probe_id": ticket.host_probe_id,
        "received": now,
        "ret_code": content["ret_code"],
        "data": content["data"],
        "value": None if content["data"] == NOT_A_NUMBER else float(content["data"]),
        "error": content.get("error") or None,
        "stderr": str(content.get("stderr") or "")[:STDERR_LIMIT] or None,
        "duration": content.get("duration"),
        "metrics": plain(content.get("metrics")) or None,
    }


# A probe that is not defined any more keeps what comes late for it, and that is all.
_PROBES: Any = (
    select(
        _known.id, _known.host_id, _known.every, _known.warning, _known.critical, _known.runs, _known.margin,
        _known.nagios, _known.watch, _known.finished,
    )
    .where(_known.active.is_(True), _known.id.in_(bindparam("ids", expanding=True)))
    .order_by(_known.id)
)  # fmt: skip


def _seen(probe: Any, row: dict[str, Any], asked: float | None, now: float) -> Seen:
    *known, newest = probe
    if newest is not None and newest > now + _AHEAD_SECONDS:
        newest = None  # it was kept while a clock was ahead
    finished = row["finished"]
    if asked is not None and not asked - _OFF_SECONDS <= finished <= now + _OFF_SECONDS:
        # Before it was asked for, or yet to come: the agent's clock is off, and must not keep its probes from being judged.
        finished = asked
    values: list[Any] = [*known, newest, row["ret_code"], row["data"], row["value"], row["error"], finished]
    return Seen(*values)


def _point(one: Seen) -> Point:
    rule = rule_of(one.warning, one.critical, 1, 0.0)
    trusted = one.value is not None and (one.ret_code == 0 or one.nagios)
    level = level_of(rule, OK, nagios=one.nagios, ret_code=one.ret_code, value=one.value)
    return Point(one.host_probe_id, one.finished, one.value if trusted else None, level)


_LATEST = (
    update(schema.host_probe)
    .where(_known.id == bindparam("of"))
    .values(
        finished=bindparam("at"), received=bindparam("came"), ret_code=bindparam("code"), data=bindparam("text"),
        value=bindparam("number"), error=bindparam("wrong"),
    )
)  # fmt: skip
_CAME = update(schema.host_probe).where(_known.id == bindparam("of")).values(received=bindparam("came"))
_LATEST_JUDGED = _LATEST.values(state=bindparam("to"), since=bindparam("from"), watch=bindparam("mind"), stale=None)


def _newest(seen: Sequence[Seen], now: float) -> list[Seen]:
    """Of each probe the newest reading, where that is newer than what was there."""
    newest: dict[int, Seen] = {}
    for one in seen:
        before = newest[one.host_probe_id].finished if one.host_probe_id in newest else one.newest
        if one.finished <= now + _AHEAD_SECONDS and (before is None or one.finished >= before):
            newest[one.host_probe_id] = one
    return list(newest.values())


def _newest_row(one: Seen, now: float) -> dict[str, Any]:
    return {
        "of": one.host_probe_id, "at": one.finished, "came": now, "code": one.ret_code, "text": one.data,
        "number": one.value, "wrong": one.error,
    }  # fmt: skip


def _judged_row(one: Seen, judged: Judged, now: float) -> dict[str, Any]:
    return {**_newest_row(one, now), "to": judged.state, "from": judged.since, "mind": judged.watch}


def _keep_outcome(
    db: Connection, ticket: IssuedTicket, delivery: Delivery, now: float, observers: Sequence[Observer]
) -> None:
    content = plain(delivery.content)
    row = {
        "ticket_id": ticket.id,
        "host_id": ticket.host_id,
        "content": content,
        "finished": delivery.finished.timestamp(),
    }
    db.execute(insert(schema.outcome), [row])
    for observer in observers:
        observer(db, ticket, content, now)


_HOSTS: Any = (
    select(_host.id, _host.seen, _host.silent, _host.failures)
    .where(_host.id.in_(bindparam("ids", expanding=True)))
    .order_by(_host.id)
)
# Whoever calls is there: what is due for him is sent at once.
_SEEN = (
    update(schema.host)
    .where(_host.id.in_(bindparam("ids", expanding=True)))
    .values(seen=bindparam("now"), failures=0, retry_at=0.0, trouble=None)
)


def _note_hosts(db: Connection, database: Database, ids: Sequence[int], now: float) -> None:
    rows = db.execute(_HOSTS, {"ids": ids}).all()
    late = [row.id for row in rows if row.failures or row.seen is None or not 0 <= now - row.seen < _SEEN_SECONDS]
    silent = [row.id for row in rows if row.silent is not None]
    if late or silent:
        db.execute(database.locking(_HOSTS), {"ids": sorted({*late, *silent})})
    if late:
        db.execute(_SEEN, {"ids": late, "now": now})
    if silent:
        watching.returned(db, silent, now)


def plain(value: Any) -> Any:
    """The value as JSON can hold it: times as ISO 8601, bytes as base64."""
    if isinstance(value, dict):
        return {name: plain(member) for name, member in value.items()}
    if isinstance(value, list):
        return [plain(item) for item in value]
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%dT%H:%M:%SZ}"
    return b64encode(value).decode("ascii") if isinstance(value, bytes) else value
