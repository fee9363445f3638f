"""Put what the original system had into the database: definitions in one transaction, then its readings in batches.

Each reading has a number that follows from what it is, so that taking the same file over again adds nothing. These numbers
are negative and no ticket has them: no ticket of this server ever asked for these readings.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, tzinfo
from hashlib import blake2b
from typing import Any

from sqlalchemy import Connection, insert, select, text

from monagent.alarms.watch import OK
from monagent.errors import Refused
from monagent.protocol import NOT_A_NUMBER
from monagent.server import rollups, schema
from monagent.server.alerts.levels import level_of, rule_of
from monagent.server.database import Database
from monagent.server.site import rules, store
from monagent.server.site.difference import Difference
from monagent.server.site.hosts import chunks
from monagent.server.site.model import Content, Key, Site
from monagent.server.site.original.adoption import Adopted, written
from monagent.server.site.original.records import OldReading

_LOCK = 0x6D6F6E69
_CODES = range(-(2**31), 2**31)
_CLASHES = 20
_host, _probe, _reading = schema.host.c, schema.host_probe.c, schema.reading.c


def with_adopted(site: Site, adopted: Adopted) -> Site:
    """The site with what was taken over; a probe that is there already may get more hosts.

    Raises:
        Refused: something of that name says something else here already.
        WrongSite: what there was is wrong in itself.
    """
    grown = Site({key: _with_hosts(content, adopted.definitions.get(key)) for key, content in site.definitions.items()})
    new = {key: _with_hosts(content, grown.definitions.get(key)) for key, content in adopted.definitions.items()}
    made = rules.checked(Site({**site.definitions, **new}))
    changed = Difference(grown, made).changed
    if changed:
        raise Refused(
            f"nothing is imported: {_named(changed)} is defined otherwise here already; rename or remove that first"
        )
    return made


def _with_hosts(content: Content, other: Content | None) -> Content:
    """A definition, with the hosts of another one beside its own."""
    hosts = {*content.get("hosts", ()), *(other or {}).get("hosts", ())}
    return {**content, "hosts": sorted(hosts)} if hosts else content


def _named(keys: list[Key]) -> str:
    shown = ", ".join(" ".join(key) for key in keys[:_CLASHES])
    return f"{shown} and {len(keys) - _CLASHES} more" if len(keys) > _CLASHES else shown


@dataclass(slots=True)
class Tally:
    """How many readings were taken over, were there before, and were left out, by reason."""

    taken: int = 0
    there: int = 0
    left_out: Counter[str] = field(default_factory=Counter)


def take_readings(
    database: Database,
    series: Mapping[int, tuple[str, str]],
    batches: Iterable[list[OldReading]],
    zone: tzinfo,
    now: float,
) -> Tally:
    """Take readings over, each batch in a transaction of its own.

    Args:
        database: that has the definitions already.
        series: host and probe of each row of `hostprobe`.
        batches: readings.
        zone: of times that do not tell theirs.
        now: seconds since the epoch; readings from after it are left out.

    Raises:
        StoreAway: the database cannot be used now. What was taken is kept; the same again goes on.
    """
    with database.read() as db:
        places = _places(db)
    known = {number: places[place] for number, place in series.items() if place in places}
    tally = Tally()
    for batch in batches:
        rows = [row for one in batch if (row := _row(one, known, zone, now, tally)) is not None]
        with database.write() as db:
            if database.is_postgresql:
                db.execute(text("select pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
            _keep(db, {row["ticket_id"]: row for row in rows}, known, tally)
    return tally


@dataclass(frozen=True, slots=True)
class _Place:
    """A probe on a host, which readings belong to."""

    host: str
    probe: str
    id: int
    host_id: int
    warning: str | None
    critical: str | None
    nagios: bool


def _places(db: Connection) -> dict[tuple[str, str], _Place]:
    statement = select(
        _host.name, _probe.probe, _probe.id, _probe.host_id, _probe.warning, _probe.critical, _probe.nagios
    ).join_from(schema.host_probe, schema.host)
    return {(row.name, row.probe): _Place(*row) for row in db.execute(statement)}


def _keep(db: Connection, rows: dict[int, dict[str, Any]], known: Mapping[int, _Place], tally: Tally) -> None:
    for chunk in chunks(list(rows)):
        times = [rows[number]["finished"] for number in chunk]
        there = select(_reading.ticket_id).where(
            _reading.ticket_id.in_(chunk), _reading.finished.between(min(times), max(times))
        )
        for number in db.execute(there).scalars():
            del rows[number]
            tally.there += 1
    tally.taken += len(rows)
    if rows:
        places = {row.id: row for row in known.values()}
        db.execute(insert(schema.reading), list(rows.values()))
        rollups.add(db, [_point(row, places[row["host_probe_id"]]) for row in rows.values()])


def _row(one: OldReading, known: Mapping[int, _Place], zone: tzinfo, now: float, tally: Tally) -> dict[str, Any] | None:
    place = known.get(one.hostprobe_id)
    finished = _finished(one.timestamp, zone)
    code = 0 if one.ret_code is None else one.ret_code
    if place is None:
        tally.left_out["their probe or host is not there"] += 1
    elif finished is None:
        tally.left_out["their time cannot be read"] += 1
    elif finished > now:
        tally.left_out["they are from the future"] += 1
    elif not isinstance(code, int) or code not in _CODES:
        tally.left_out["their exit status is no number"] += 1
    else:
        return _kept(one, place, finished, code)
    return None


def _kept(one: OldReading, place: _Place, finished: float, code: int) -> dict[str, Any]:
    number = one.probe_value
    value = float(number) if isinstance(number, int | float) and math.isfinite(number) else None
    mark = f"{place.host}\0{place.probe}\0{one.id}\0{one.timestamp}\0{number}\0{code}".encode()
    return {
        "ticket_id": -(int.from_bytes(blake2b(mark, digest_size=8).digest(), "big") >> 2) - 1,
        "finished": finished,
        "host_id": place.host_id,
        "host_probe_id": place.id,
        "received": finished,
        "ret_code": code,
        "data": NOT_A_NUMBER if value is None else written(value),
        "value": value,
        "error": "not-a-number" if value is None and code == 0 else None,
    }


def _point(row: dict[str, Any], place: _Place) -> rollups.Point:
    rule, code, value = rule_of(place.warning, place.critical, 1, 0.0), row["ret_code"], row["value"]
    level = level_of(rule, OK, nagios=place.nagios, ret_code=code, value=value)
    trusted = code == 0 or place.nagios
    return rollups.Point(place.id, row["finished"], value if trusted else None, level)


def _finished(timestamp: Any, zone: tzinfo) -> float | None:
    """Seconds since the epoch; None: it is no time."""
    try:
        if isinstance(timestamp, int | float):
            return datetime.fromtimestamp(timestamp, UTC).timestamp()
        when = datetime.fromisoformat(str(timestamp).strip())
        return (when if when.tzinfo else when.replace(tzinfo=zone)).timestamp()
    except (ValueError, OverflowError, OSError):
        return None


def define(database: Database, adopted: Adopted, now: float) -> Difference:
    """Define what was taken over; what is defined so already stays.

    Raises:
        Refused: something of that name says something else here already, or is wrong; nothing has changed.
        StoreAway: the database cannot be used now.
    """
    return store.change(database, lambda site: with_adopted(site, adopted), now)
