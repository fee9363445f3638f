"""Keep the definitions, and everything that follows from them in step: one change is one transaction."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from sqlalchemy import Connection, bindparam, delete, insert, select, text, update

from monagent.server import moves
from monagent.server.database import Database
from monagent.server.schema import definition
from monagent.server.site import hosts_in_step, probes_in_step, rules
from monagent.server.site.difference import Difference
from monagent.server.site.model import Key, Site

_LOCK = 0x6D6F6E73
"""Of PostgreSQL's advisory locks: whoever changes definitions has it until the end of the transaction."""
_THIS = (definition.c.kind == bindparam("of_kind"), definition.c.name == bindparam("of_name"))


def load(db: Connection) -> Site:
    """All definitions."""
    return Site({(row.kind, row.name): row.content for row in db.execute(select(definition))})


def change(
    database: Database,
    edit: Callable[[Site], Site],
    now: float,
    also: Callable[[Connection], None] = lambda _db: None,
) -> Difference:
    """Change definitions, and with them the hosts and their probes.

    Args:
        database: where they are.
        edit: makes the site that is to be of the one that is; what it raises changes nothing.
        now: seconds since the epoch.
        also: what else is done in the same transaction, whether or not anything is different. It may lock moves and probes.

    Raises:
        WrongSite: what `edit` made is wrong; nothing has changed.
        StoreAway: the database cannot be used now; nothing has changed.
    """
    with database.write() as db:
        if database.is_postgresql:
            db.execute(text("select pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
        before = load(db)
        difference = Difference(before, rules.checked(edit(before)))
        if difference:
            _write(db, difference)
            bring_in_step(database, db, difference.after, now, also)
        else:
            also(db)
    return difference


def bring_in_step(
    database: Database, db: Connection, site: Site, now: float, also: Callable[[Connection], None] = lambda _db: None
) -> None:
    """Make the rows of hosts and their probes what the definitions say.

    Rows are locked in the order in which results are kept: tickets, moves, probes, hosts, each by id; `also` comes before
    the hosts.
    """
    known = hosts_in_step.compare(db, site)
    hosts_in_step.forget_results(database, db, known.gone)
    leaving = moves.leaving(db, database)
    hosts_in_step.add(db, known.new)
    probes_in_step.bring(database, db, site, known.gone, leaving, now)
    also(db)
    hosts_in_step.update_changed(database, db, known.changed)
    hosts_in_step.remove(db, known.gone)


def _write(db: Connection, difference: Difference) -> None:
    if difference.removed:
        db.execute(delete(definition).where(*_THIS), _named(difference.removed))
    after = difference.after.definitions
    if difference.changed:
        rows = [{**one, "to": after[one["of_kind"], one["of_name"]]} for one in _named(difference.changed)]
        db.execute(update(definition).where(*_THIS).values(content=bindparam("to")), rows)
    if difference.added:
        db.execute(
            insert(definition), [{"kind": key[0], "name": key[1], "content": after[key]} for key in difference.added]
        )


def _named(keys: Iterable[Key]) -> list[dict[str, str]]:
    return [{"of_kind": kind, "of_name": name} for kind, name in keys]
