"""Keep what agents say they have installed, and tell it from what should be there."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Table, delete, select
from sqlalchemy.dialects import postgresql, sqlite

from monagent.models import is_sensor_name
from monagent.protocol import RESTORE_SENSOR_CODE, UPDATE_SENSOR_CODE
from monagent.server import schema
from monagent.server.records import Host, IssuedTicket
from monagent.server.site.hosts import hosts

LIST_SENSORS = "cmd_list_sensors"
SENSORS = 2_000
"""Of one host that are kept; nobody has so many."""
_HELP = 8 * 1024
_WORD = 80

OK, MISSING, OTHER, EDITED, EXTRA, UNKNOWN = "ok", "missing", "other", "edited", "extra", "unknown"
"""As it should be; not there, and a probe needs it; another version than the current one; edited by hand; there, and no
probe uses it; there is no telling, because the host has not reported or there is nothing to compare with."""


@dataclass(frozen=True, slots=True)
class Reported:
    """A sensor as its host told it; empty words where it does not know. `package` is our version with these contents."""

    version: str
    digest: str
    changed: bool
    help: str | None = None
    package: str | None = None


@dataclass(frozen=True, slots=True)
class Finding:
    """One sensor of one host: what is there, what should be, and how they compare."""

    host: str
    sensor: str
    state: str
    installed: str
    wanted: str
    reported: float | None


@dataclass(frozen=True, slots=True)
class Wanted:
    """The version of a sensor that is current."""

    version: str
    digest: str


# -- the rule -------------------------------------------------------------------------------------------------------


def compare(here: Reported | None, wanted: Wanted | None, *, probed: bool, has_reported: bool) -> str:
    """How a sensor stands on a host.

    Args:
        here: what the host told; None: it did not name it.
        wanted: None: no version of it is kept at the server.
        probed: whether a probe of the host uses it.
        has_reported: whether the host has ever told all of its sensors, if only that it has none.
    """
    if here is None:
        return MISSING if has_reported else UNKNOWN
    if here.changed:
        return EDITED
    if wanted is not None and here.digest and here.digest != wanted.digest:
        return OTHER
    if not probed:
        return EXTRA
    return OK if wanted is None or here.digest else UNKNOWN


# -- what agents tell -----------------------------------------------------------------------------------------------


def noted(db: Connection, ticket: IssuedTicket, content: dict[str, Any], now: float) -> None:
    """An observer of outcomes: note what they tell of a host's sensors, in the transaction that keeps them."""
    if content.get("status") != "ok":
        return
    if ticket.method == LIST_SENSORS:
        if isinstance(content.get("sensors"), dict):
            reported = reported_in(content)
            known = schema.inventory.c
            db.execute(delete(schema.inventory).where(known.host_id == ticket.host_id, known.sensor.not_in(reported)))
            _keep(db, ticket.host_id, reported, now)
            _put(db, schema.inventory_report, {"host_id": ticket.host_id}, {"reported": now})
    elif ticket.method in (UPDATE_SENSOR_CODE, RESTORE_SENSOR_CODE) and ticket.arguments:
        here = Reported(_word(content.get("version")), _word(content.get("digest")), changed=False)
        _keep(db, ticket.host_id, {str(ticket.arguments[0]): here}, now)


def reported_in(content: Mapping[str, Any]) -> dict[str, Reported]:
    """The sensors that an outcome of `cmd_list_sensors` tells; what makes no sense in it is left out."""
    helps, installed = content.get("sensors"), content.get("installed")
    if not isinstance(helps, dict):
        return {}
    details = installed if isinstance(installed, dict) else {}
    names = [name for name in helps if isinstance(name, str) and is_sensor_name(name)]
    return {name: _reported(helps[name], details.get(name)) for name in sorted(names)[:SENSORS]}


def _reported(help_text: Any, told: Any) -> Reported:
    about = told if isinstance(told, dict) else {}
    shown = help_text.replace("\0", "")[:_HELP] if isinstance(help_text, str) else None
    return Reported(_word(about.get("version")), _word(about.get("digest")), about.get("changed") is True, shown)


def _word(value: Any) -> str:
    return value[:_WORD] if isinstance(value, str) and value.isprintable() else ""


def _keep(db: Connection, host_id: int, reported: Mapping[str, Reported], now: float) -> None:
    packages = _packages(db, reported)
    for sensor, here in sorted(reported.items()):
        values = {
            "package_id": packages.get((sensor, here.digest)),
            "version": here.version,
            "digest": here.digest,
            "changed": here.changed,
            "reported": now,
        } | ({} if here.help is None else {"help": here.help})
        _put(db, schema.inventory, {"host_id": host_id, "sensor": sensor}, values)


def _put(db: Connection, table: Table, key: Mapping[str, Any], values: Mapping[str, Any]) -> None:
    """Insert a row, or change the one that is there."""
    insert = postgresql.insert if db.dialect.name == "postgresql" else sqlite.insert
    statement = insert(table).values(**key, **values)
    db.execute(statement.on_conflict_do_update(index_elements=list(key), set_=values))


def _packages(db: Connection, sensors: Collection[str]) -> dict[tuple[str, str], int]:
    known = schema.package.c
    statement = select(known.sensor, known.digest, known.id).where(known.sensor.in_(sensors)).order_by(known.id)
    return {(row.sensor, row.digest): row.id for row in db.execute(statement)}


# -- looking --------------------------------------------------------------------------------------------------------


def findings(db: Connection, only: Iterable[Host] | None = None) -> list[Finding]:
    """How the sensors of these hosts stand, or of all, by host and sensor."""
    wanted = _wanted(db)
    probed = _probed(db)
    reported = _all_reported(db)
    listed = {row.host_id: row.reported for row in db.execute(select(schema.inventory_report))}
    found = []
    for host in hosts(db) if only is None else only:
        here, used = reported.get(host.id, {}), probed.get(host.id, frozenset())
        for sensor in sorted(used | here.keys()):
            told, when = here.get(sensor, (None, listed.get(host.id)))
            current = wanted.get(sensor)
            state = compare(told, current, probed=sensor in used, has_reported=host.id in listed)
            shown = (told.package or told.version or told.digest[:19]) if told else ""
            found.append(Finding(host.name, sensor, state, shown, current.version if current else "", when))
    return found


def _wanted(db: Connection) -> dict[str, Wanted]:
    known = schema.package.c
    statement = select(known.sensor, known.version, known.digest).where(known.current)
    return {row.sensor: Wanted(row.version, row.digest) for row in db.execute(statement)}


def _probed(db: Connection) -> dict[int, frozenset[str]]:
    probe = schema.host_probe.c
    found: dict[int, set[str]] = {}
    for row in db.execute(select(probe.host_id, probe.sensor).where(probe.active).distinct()):
        found.setdefault(row.host_id, set()).add(row.sensor)
    return {host_id: frozenset(sensors) for host_id, sensors in found.items()}


def _all_reported(db: Connection) -> dict[int, dict[str, tuple[Reported, float]]]:
    known = schema.inventory.c
    found: dict[int, dict[str, tuple[Reported, float]]] = {}
    statement = select(
        known.host_id, known.sensor, known.version, known.digest, known.changed, known.reported,
        schema.package.c.version.label("package"),
    ).outerjoin_from(schema.inventory, schema.package)  # fmt: skip
    for row in db.execute(statement):
        here = Reported(row.version, row.digest, row.changed, package=row.package)
        found.setdefault(row.host_id, {})[row.sensor] = (here, row.reported)
    return found
