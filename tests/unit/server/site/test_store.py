"""Definitions in the database, and the rows that are kept in step with them."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from sqlalchemy import Connection, Table, func, insert, select, update

from monagent.errors import Refused
from monagent.server import schema
from monagent.server.database import Database
from monagent.server.site import hosts
from monagent.server.site.difference import Difference
from monagent.server.site.model import Site
from monagent.server.site.store import change, load
from tests.unit.server.site.site import small_site, whole_site

NOW = 1_000_000.0
ALSO = {"sensor": "disk", "schedule": "minutely", "everywhere": True}


def put(database: Database, site: Site, now: float = NOW) -> Difference:
    """Make the definitions those of a site."""
    return change(database, lambda _before: site, now)


def rows(database: Database, table: Table) -> list[Any]:
    """All rows of a table, by id."""
    with database.read() as db:
        return list(db.execute(select(table).order_by(table.c.id)))


def write(database: Database, *statements: Any) -> None:
    """Change rows behind the definitions' back, as the running server does."""
    with database.write() as db:
        for statement in statements:
            db.execute(statement)


def test_definitions_are_kept_as_they_are(database: Database) -> None:
    """Also the longest name, and characters of all planes."""
    site = whole_site().having("sensor", "disk", {"note": 'a "b"\n\x7f € 😀'})
    site = site.having("host", "h" * 255, {"address": "a"}).having("probe", "p" * 64, {"sensor": "disk"})
    site = site.having("override", f"{'h' * 255}/{'p' * 64}", {"runs": 2})
    done = put(database, site)

    assert len(done.added) == len(site.definitions)
    with database.read() as db:
        assert load(db) == site
    assert not put(database, site)


def test_the_rows_follow(database: Database) -> None:
    """Each host, and each probe on its hosts, due at its next turn."""
    put(database, small_site(arguments=["/", 1], critical="9"))
    probes = rows(database, schema.host_probe)

    assert [(row.name, row.port, row.groups, row.failures) for row in rows(database, schema.host)] == [
        ("db1", 8080, [], 0),
        ("web1", 8080, ["web"], 0),
    ]
    assert [(row.probe, row.active, row.arguments, row.critical, row.every, row.state) for row in probes] == [
        ("root", True, ["/", 1], "9", 60.0, None)
    ] * 2
    assert {row.due for row in probes} == {NOW // 60 * 60 + 60}


def test_a_wrong_change_changes_nothing(database: Database) -> None:
    """Nor does one that is refused on the way."""
    put(database, small_site())

    with pytest.raises(Refused, match="there is no schedule never"):
        put(
            database,
            small_site()
            .having("host", "new", {"address": "a"})
            .having("probe", "root", {"sensor": "disk", "schedule": "never"}),
        )
    with database.read() as db:
        assert load(db) == small_site()
        assert [host.name for host in hosts.hosts(db)] == ["db1", "web1"]


def test_a_change_touches_only_what_differs(database: Database) -> None:
    """A threshold moves nobody's turn; a schedule moves it from now on."""
    put(database, small_site())
    write(database, update(schema.host_probe).values(due=NOW + 17, state="ok", finished=NOW))

    put(database, small_site(warning="5").having("override", "web1/root", {"schedule": ""}), NOW + 30)
    db1, web1 = rows(database, schema.host_probe)[0], rows(database, schema.host_probe)[1]
    if db1.host_id != rows(database, schema.host)[0].id:
        db1, web1 = web1, db1

    assert (db1.warning, db1.due, db1.state) == ("5", NOW + 17, "ok")
    assert (web1.warning, web1.due, web1.every, web1.state) == ("5", None, None, "ok")


def test_a_host_that_is_reached_otherwise_is_tried_at_once(database: Database) -> None:
    """What else changes does not end the pause after failures."""
    put(database, small_site())
    write(database, update(schema.host).values(failures=3, retry_at=NOW + 99, trouble="refused", seen=NOW))
    put(
        database,
        small_site()
        .having("host", "db1", {"address": "192.0.2.9"})
        .having("host", "web1", {"address": "192.0.2.1", "groups": ["x"]}),
    )
    db1, web1 = rows(database, schema.host)

    assert (db1.address, db1.failures, db1.retry_at, db1.trouble, db1.seen) == ("192.0.2.9", 0, 0.0, None, NOW)
    assert (web1.groups, web1.failures, web1.trouble) == (["x"], 3, "refused")


def test_a_probe_that_goes_keeps_its_history_and_goes_on_when_it_comes_back(database: Database) -> None:
    """Under the same number."""
    put(database, small_site())
    write(database, update(schema.host_probe).values(state="warning", finished=NOW))
    before = rows(database, schema.host_probe)
    put(database, small_site().without("probe", "root"))
    gone = rows(database, schema.host_probe)
    put(database, small_site(), NOW + 600)
    back = rows(database, schema.host_probe)

    assert [(row.active, row.due, row.state) for row in gone] == [(False, None, "warning")] * 2
    assert [(row.id, row.active, row.state) for row in back] == [(row.id, True, "warning") for row in before]
    assert {row.due for row in back} == {(NOW + 600) // 60 * 60 + 60}


def test_a_host_goes_with_everything_of_its_own(database: Database) -> None:
    """And with nothing of the others."""
    put(database, small_site())
    for probe in rows(database, schema.host_probe):
        ticket = {
            "ticket": f"t{probe.id}", "host_id": probe.host_id, "method": "x", "arguments": [], "state": "done",
            "issued": NOW, "expires": NOW, "send_until": NOW, "id": probe.id,
        }  # fmt: skip
        reading = {"finished": NOW, "host_id": probe.host_id, "received": NOW, "ret_code": 0, "data": "1"}
        sums = {
            "host_probe_id": probe.id,
            "start": 0.0,
            "n": 1,
            "sum": 1.0,
            "missing": 0,
            "warnings": 0,
            "criticals": 0,
            "worst": 0,
        }
        incident = {
            "host_id": probe.host_id, "host_probe_id": probe.id, "state": "warning", "worst": "warning", "message": "",
            "opened": NOW, "flapping": False,
        }  # fmt: skip
        write(
            database,
            insert(schema.ticket).values(ticket),
            insert(schema.reading).values(reading | {"ticket_id": probe.id, "host_probe_id": probe.id}),
            insert(schema.reading).values(reading | {"ticket_id": probe.id, "finished": NOW + 1}),
            insert(schema.outcome).values(ticket_id=probe.id, host_id=probe.host_id, content={}, finished=NOW),
            insert(schema.rollup_5m).values(sums),
            insert(schema.rollup_1h).values(sums),
            insert(schema.incident).values(incident),
        )
    put(database, small_site().without("host", "web1"))

    tables = (
        schema.host,
        schema.host_probe,
        schema.ticket,
        schema.outcome,
        schema.rollup_5m,
        schema.rollup_1h,
        schema.incident,
    )
    with database.read() as db:
        assert [db.scalar(select(func.count()).select_from(table)) for table in tables] == [1] * len(tables)
        assert db.scalar(select(func.count()).select_from(schema.reading)) == 2
        assert [host.name for host in hosts.hosts(db)] == ["db1"]


def test_nothing_becomes_due_on_a_host_that_moves_away(database: Database) -> None:
    """Whatever is changed, and whatever is new."""
    put(database, small_site())
    db1, web1 = (row.id for row in rows(database, schema.host))
    move = {"host_id": web1, "url": "http://x/", "ticket": "t", "state": "moved", "started": NOW}
    write(
        database,
        insert(schema.move).values(move),
        update(schema.host_probe).where(schema.host_probe.c.host_id == web1).values(due=None),
    )
    put(database, small_site(warning="5").having("schedule", "minutely", {"every": "2m"}).having("probe", "new", ALSO))

    dues = {(row.host_id, row.probe): row.due for row in rows(database, schema.host_probe)}
    assert {place for place, due in dues.items() if due is None} == {(web1, "root"), (web1, "new")}
    assert {host for host, _ in dues} == {db1, web1}


def test_what_is_done_beside_a_change_stands_or_falls_with_it(database: Database) -> None:
    """It is done when nothing else is to be changed, too."""

    def fail(_db: Connection) -> None:
        raise Refused("no")

    with pytest.raises(Refused, match="no"):
        change(database, lambda _before: small_site(), NOW, fail)
    change(database, lambda before: before, NOW, lambda db: db.execute(insert(schema.job).values(name="x", due=NOW)))

    with database.read() as db:
        assert load(db) == Site()
        assert db.scalar(select(schema.job.c.name)) == "x"


def test_changes_at_the_same_time_are_all_kept(database: Database) -> None:
    """One after the other, none undoing another."""

    def add(number: int) -> None:
        change(database, lambda site: site.having("host", f"h{number}", {"address": "a"}), NOW)

    threads = [threading.Thread(target=add, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)

    with database.read() as db:
        assert [host.name for host in hosts.hosts(db)] == [f"h{number}" for number in range(8)]


def test_hosts_are_found_by_name_and_by_group(database: Database) -> None:
    """Each once; a group whose name only looks like it is another group."""
    site = Site()
    for name, groups in {"a": ["web"], "b": ["we_"], "c": ["web", "db"], "d": [], "e": ["eweb"]}.items():
        site = site.having("host", name, {"address": name, "groups": groups, "tls": name == "a"})
    put(database, site.having("host", "a", {**(site.content("host", "a") or {}), "server": "http://x/"}))

    with database.read() as db:
        assert [host.name for host in hosts.hosts_in(db, [], ["web"])] == ["a", "c"]
        assert [host.name for host in hosts.hosts_in(db, ["d", "a", "none"], ["we_", "web"])] == ["a", "b", "c", "d"]
        assert hosts.hosts_in(db, [], []) == []
        assert hosts.host(db, "none") is None
        found = hosts.host(db, "a")
    assert found is not None
    assert (found.address, found.port, found.groups, found.url, found.tls) == ("a", 8080, ("web",), "http://x/", True)
