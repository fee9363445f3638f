"""Taking over a monitor.db of the original tutorial system."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import func, select

from monagent.errors import Refused
from monagent.server import schema
from monagent.server.database import Database
from monagent.server.site.model import Site, WrongSite
from monagent.server.site.original import file as original_file
from monagent.server.site.original.adoption import Adopted, adopt
from monagent.server.site.original.file import opened
from monagent.server.site.original.taking_over import Tally, define, take_readings
from monagent.server.site.store import change
from monagent.server.site.writing import to_toml
from tests.unit.server.site.old_file import TABLES, old_file

NOW = 1.7e9
WHOLE = """\
[host.My-laptop]
address = "localhost"
server = "http://other.example.org:8081/xmlrpc/"

[host.My-laptop-2]
address = "127.0.0.1"

[host.web1]
address = "192.0.2.1"
port = 8081

[sensor.cpu_load]

[sensor.disk-space]

[schedule.every-1m]
every = "1m"

[schedule.every-5m]
every = "5m"

[probe.CPU-load]
sensor = "cpu_load"
arguments = ["1"]
warning = "~:5"
critical = "~:10.5"
schedule = "every-5m"
hosts = ["My-laptop", "My-laptop-2", "web1"]

[probe.CPU-load-2]
sensor = "cpu_load"
arguments = ["it's"]

[probe.root]
sensor = "disk-space"
arguments = ["-p", "/ x", "80"]
warning = "~:80"
hosts = ["My-laptop"]

[override."My-laptop-2/CPU-load"]
schedule = "every-1m"

[override."web1/CPU-load"]
warning = "~:6"
"""


def adopted(path: Path, unit: float = 60.0) -> Adopted:
    """What a file's definitions become."""
    with opened(path) as original:
        return adopt(original.everything(), unit)


def take(database: Database, path: Path, now: float = NOW) -> Tally:
    """Take a whole file over."""
    with opened(path) as original:
        found = adopt(original.everything(), 60.0)
        define(database, found, now)
        return take_readings(database, found.series, original.readings(), ZoneInfo("UTC"), now)


def test_definitions_and_readings_are_taken_over_once(database: Database, tmp_path: Path) -> None:
    """Doing it again adds nothing."""
    path = old_file(tmp_path)
    first, again = take(database, path), take(database, path)

    assert (first.taken, first.there, again.taken, again.there) == (5, 0, 0, 5)
    assert first.left_out == {
        "their probe or host is not there": 1, "their time cannot be read": 1, "they are from the future": 1,
    }  # fmt: skip
    with database.read() as db:
        site = change(database, lambda site: site, NOW).after
        readings = db.execute(
            select(schema.reading).order_by(schema.reading.c.finished, schema.reading.c.host_id)
        ).all()
        sums = db.execute(select(schema.rollup_1h).order_by(schema.rollup_1h.c.start)).all()
        tickets = db.scalar(select(func.count()).select_from(schema.ticket))
    assert to_toml(site) == WHOLE
    ten = datetime(2009, 8, 2, 10, tzinfo=UTC).timestamp()
    assert [(row.finished - ten, row.value, row.data, row.ret_code) for row in readings] == [
        (-7200, 7.0, "7", 0), (0, 4.5, "4.5", 0), (60, 6.0, "6", 0), (120, 12.25, "12.25", 0), (180, None, "nan", 1),
    ]  # fmt: skip
    assert [(row.n, row.sum, row.missing, row.warnings, row.criticals) for row in sums] == [
        (1, 7.0, 0, 1, 0),
        (3, 22.75, 1, 1, 1),
    ]
    assert tickets == 0
    assert all(row.ticket_id < 0 for row in readings)


def test_what_becomes_otherwise_or_is_left_out_is_told(tmp_path: Path) -> None:
    """A line for each."""
    notes = "\n".join(adopted(old_file(tmp_path)).notes)

    for note in (
        "host 'My laptop' becomes My-laptop\n",
        "host 'My-laptop' becomes My-laptop-2\n",
        "rename the directory of sensor disk-space on the agents, too",
        "probe 3 ('gone') is left out",
        "its parameter has an unbalanced quote",
        "its critical threshold 'high' is no number",
        "hostprobe 4 is left out",
        "hostprobe 6 is the same as 1",
        "probingschedule 4 is left out",
        "the parameter monitor_url = http://localhost:8081/xmlrpc/ is left out",
        "1 rows of ticketqueue are left out",
    ):
        assert note in notes


def test_intervals_may_be_seconds(tmp_path: Path) -> None:
    """As it is said."""
    definitions = adopted(old_file(tmp_path), 1.0).definitions

    assert ("schedule", "every-5s") in definitions


def test_what_is_defined_otherwise_already_is_not_touched(database: Database, tmp_path: Path) -> None:
    """Nothing is imported then."""
    site = Site().having("host", "web1", {"address": "198.51.100.1"})
    change(database, lambda _before: site, NOW)

    with pytest.raises(Refused, match="nothing is imported: host web1 is defined otherwise here already"):
        take(database, old_file(tmp_path))
    assert change(database, lambda now: now, NOW).after == site


def test_a_file_that_has_grown_is_taken_over_again(database: Database, tmp_path: Path) -> None:
    """A probe gets its new hosts; those that it was given here stay."""
    take(database, old_file(tmp_path))
    change(database, lambda site: site.having("host", "mine", {"address": "a"}), NOW)
    probe = change(database, lambda site: site, NOW).after.definitions["probe", "root"]
    change(database, lambda site: site.having("probe", "root", {**probe, "hosts": ["mine", "My-laptop"]}), NOW)
    with closing(sqlite3.connect(tmp_path / "old.db")) as file:
        file.executescript("insert into hostprobe values (9, 2, 2, null, null)")
    take(database, tmp_path / "old.db")

    site = change(database, lambda site: site, NOW).after
    assert site.definitions["probe", "root"] == {**probe, "hosts": ["My-laptop", "mine", "web1"]}


def test_an_address_that_is_none_is_told_and_nothing_changes(database: Database, tmp_path: Path) -> None:
    """By the host's name."""
    path = old_file(tmp_path, TABLES + "insert into host values (1, 'a', 'http://a/', 'x'), (2, null, null, null);")

    with pytest.raises(WrongSite) as caught:
        take(database, path)
    assert [(one.name, one.key) for one in caught.value.problems] == [
        ("a", "address"),
        ("a", "port"),
        ("host-2", "address"),
    ]


@pytest.mark.parametrize(
    ("statements", "message"),
    [
        ("create table host(id integer)", "it has no table sensor, probe, hostprobe"),
        (TABLES.replace("table probe(", "view probe as select 1 as x; create table x("), "it has no table probe"),
    ],
)
def test_another_file_is_refused(tmp_path: Path, statements: str, message: str) -> None:
    """By what it lacks."""
    with pytest.raises(Refused, match=message):
        adopted(old_file(tmp_path, statements))


def test_garbage_and_nothing_are_refused(tmp_path: Path) -> None:
    """By their name."""
    garbage = tmp_path / "garbage"
    garbage.write_bytes(b"garbage" * 1000)

    with pytest.raises(Refused, match="is no SQLite database"):
        adopted(garbage)
    with pytest.raises(Refused, match="there is no file"):
        adopted(tmp_path / "none")


def test_columns_may_be_missing_and_values_be_anything(tmp_path: Path) -> None:
    """They are told, or taken for nothing."""
    tables = TABLES.replace("parameter text, warning float, error float", "parameter text").replace(
        "port text", "port blob"
    )
    rows = """
    insert into sensor values (1, x'ff00'); insert into probe values (1, 1, 7.5, x'00'), (2, null, null, null);
    insert into host values (1, 'é/é', 'a', x'ff'); insert into hostprobe values (1, '1', 1.0, 1e400, 'NaN');
    insert into probingschedule values (1, 1, -5), (2, 1, 1e300);
    """
    found = adopted(old_file(tmp_path, tables + rows))

    assert ("probe", "7.5") in found.definitions
    assert found.definitions["host", "host-1"]["port"] == b"\xff"


def test_a_file_that_takes_for_ever_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a deadline for each statement."""
    monkeypatch.setattr(original_file, "SECONDS", -1.0)
    many = "insert into host(id) with recursive n(i) as (select 1 union all select i + 1 from n where i < 20000) select i from n;"
    path = old_file(tmp_path, TABLES + many)

    with pytest.raises(Refused, match="cannot be read"):
        adopted(path)
