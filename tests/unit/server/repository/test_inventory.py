"""What hosts say they have installed, kept and compared."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import insert, select

from monagent.protocol import UPDATE_SENSOR_CODE
from monagent.server import schema
from monagent.server.database import Database
from monagent.server.records import IssuedTicket
from monagent.server.repository import inventory
from monagent.server.repository.inventory import LIST_SENSORS, Reported, Wanted, compare, findings, noted, reported_in
from monagent.server.repository.repository import Package, Repository
from tests.support.agent import pack_sensor

HERE, OTHER = Reported("1", "sha256:a", changed=False), Reported("2", "sha256:b", changed=False)


@pytest.mark.parametrize(
    ("here", "wanted", "probed", "state"),
    [
        (HERE, Wanted("1", "sha256:a"), True, inventory.OK),
        (HERE, None, True, inventory.OK),
        (OTHER, Wanted("1", "sha256:a"), True, inventory.OTHER),
        (OTHER, Wanted("1", "sha256:a"), False, inventory.OTHER),
        (HERE, Wanted("1", "sha256:a"), False, inventory.EXTRA),
        (Reported("1", "sha256:a", changed=True), Wanted("1", "sha256:a"), True, inventory.EDITED),
        (Reported("", "", changed=False), Wanted("1", "sha256:a"), True, inventory.UNKNOWN),
        (None, Wanted("1", "sha256:a"), True, inventory.MISSING),
    ],
)
def test_what_is_there_is_compared_with_what_should_be(
    here: Reported | None, wanted: Wanted | None, probed: bool, state: str
) -> None:
    """Contents count, not the name of a version."""
    assert state == compare(here, wanted, probed=probed, has_reported=True)


def test_of_a_host_that_never_told_nothing_is_missing() -> None:
    """There is no telling."""
    assert compare(None, None, probed=True, has_reported=False) == inventory.UNKNOWN


@pytest.mark.parametrize(
    "content",
    [
        {}, {"sensors": []}, {"sensors": None, "installed": {}}, {"sensors": {"../x": "h", "-y": "h", "": "h"}},
        {"sensors": {1: "h"}},
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_left_out(content: dict[str, Any]) -> None:
    """An agent can say anything."""
    assert reported_in(content) == {}


def test_what_is_too_long_or_of_another_kind_is_cut() -> None:
    """The sensor's name counts all the same."""
    told = {"version": 7, "digest": "d" * 1000, "changed": "yes"}
    found = reported_in({"sensors": {"disk": "h\0" * 10_000, "cpu": 5}, "installed": {"disk": told, "cpu": "?"}})

    assert Reported("", "", changed=False, help=None) == found["cpu"]
    assert (found["disk"].version, found["disk"].digest, found["disk"].changed) == ("", "d" * 80, False)
    assert found["disk"].help == "h" * 8192
    assert len(reported_in({"sensors": {f"s{number}": "" for number in range(5000)}})) == inventory.SENSORS


@pytest.fixture
def package(database: Database, tmp_path: Path) -> Package:
    """Version 1 of disk, which is current."""
    return Repository(database, tmp_path).upload(pack_sensor("disk", {"check": "#!/bin/sh\necho 1\n"}), None, "", 1.0)[
        0
    ]


@pytest.fixture
def host_id(database: Database) -> int:
    """A host with probes of disk and of cpu."""
    row = {"address": "127.0.0.1", "port": 1, "sources": [], "groups": [], "tls": False, "failures": 0, "retry_at": 0.0}
    probe = {"active": True, "arguments": [], "runs": 1, "margin": 0.0, "nagios": False, "phase": 0.0}
    with database.write() as db:
        id_: int = db.execute(insert(schema.host).values(name="web1", **row).returning(schema.host.c.id)).scalar_one()
        for sensor in ("disk", "cpu"):
            db.execute(insert(schema.host_probe).values(host_id=id_, probe=sensor, sensor=sensor, **probe))
    return id_


def tell(
    database: Database, host_id: int, method: str, arguments: list[Any], content: dict[str, Any], now: float
) -> None:
    """An outcome is kept."""
    ticket = IssuedTicket(1, "t", host_id, None, method, arguments, "acknowledged", now + 1, None)
    with database.write() as db:
        noted(db, ticket, content, now)


def listed(digest: str) -> dict[str, Any]:
    """What an agent with disk and tape tells."""
    installed = {
        "disk": {"version": "", "digest": digest, "changed": False},
        "tape": {"version": "9", "digest": "x", "changed": False},
    }
    return {
        "status": "ok",
        "message": "2 sensors",
        "sensors": {"disk": "free space", "tape": ""},
        "installed": installed,
    }


def states(database: Database) -> dict[str, str]:
    """Of the host's sensors."""
    with database.read() as db:
        return {one.sensor: one.state for one in findings(db)}


def test_a_host_tells_what_it_has_and_is_compared(database: Database, package: Package, host_id: int) -> None:
    """What it does not name any more is forgotten."""
    assert states(database) == {"cpu": "unknown", "disk": "unknown"}
    tell(database, host_id, LIST_SENSORS, [], listed(package.digest), 5.0)
    assert states(database) == {"cpu": "missing", "disk": "ok", "tape": "extra"}
    with database.read() as db:
        assert [one.installed or "-" for one in findings(db)] == ["-", "1", "9"]
        row = db.execute(select(schema.inventory).where(schema.inventory.c.sensor == "disk")).one()
    assert (package.id, "free space", 5.0) == (row.package_id, row.help, row.reported)

    tell(database, host_id, LIST_SENSORS, [], listed("sha256:other") | {"sensors": {"disk": ""}}, 6.0)
    assert states(database) == {"cpu": "missing", "disk": "other"}


def test_a_host_without_any_sensors_lacks_those_that_its_probes_need(database: Database, host_id: int) -> None:
    """It has told, after all. What makes no sense tells nothing."""
    tell(database, host_id, LIST_SENSORS, [], {"status": "ok", "sensors": "none"}, 4.0)
    assert states(database) == {"cpu": "unknown", "disk": "unknown"}
    tell(database, host_id, LIST_SENSORS, [], {"status": "ok", "sensors": {}}, 5.0)

    assert states(database) == {"cpu": "missing", "disk": "missing"}
    with database.read() as db:
        assert {one.reported for one in findings(db)} == {5.0}


def test_an_update_that_went_well_is_noted_at_once(database: Database, package: Package, host_id: int) -> None:
    """One that did not says nothing; the help that was told before stays."""
    tell(database, host_id, LIST_SENSORS, [], listed("sha256:other"), 5.0)
    tell(database, host_id, UPDATE_SENSOR_CODE, ["disk"], {"status": "error", "digest": "sha256:worse"}, 6.0)
    assert states(database)["disk"] == "other"
    tell(
        database, host_id, UPDATE_SENSOR_CODE, ["disk"], {"status": "ok", "version": "", "digest": package.digest}, 7.0
    )
    assert states(database)["disk"] == "ok"
    with database.read() as db:
        assert (
            db.execute(select(schema.inventory.c.help).where(schema.inventory.c.sensor == "disk")).scalar()
            == "free space"
        )
