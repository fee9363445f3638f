"""Silences and maintenance hold telling back, and no longer than they last."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import event

from monagent.errors import Refused
from monagent.server.alerts.releasing import Releasing
from monagent.server.alerts.silencing import end, silence
from monagent.server.alerts.subjects import Scope, Subject
from monagent.server.alerts.withholding import in_effect
from tests.support.alerting import START, Fleet
from tests.unit.server.alerts.test_upkeep import sent


def iso(when: float) -> str:
    """As definitions hold it."""
    return f"{datetime.fromtimestamp(when, UTC):%Y-%m-%dT%H:%M:%SZ}"


def hold(fleet: Fleet, seconds: float, **whom: str) -> int:
    """A silence from the start on."""
    return silence(fleet.database, whom, START + seconds, "ann", "it is being mended", START)


def test_what_is_still_bad_when_a_silence_ends_is_told_then(fleet: Fleet) -> None:
    """Until then the incident says what holds it back, and nobody hears of it."""
    probe = fleet.watched()
    number = hold(fleet, 3600, host="web1")
    job = Releasing(fleet.database)

    fleet.hand_in(probe, 85, START + 1)
    fleet.hand_in(probe, 95, START + 61)
    job.run(START + 3599)
    assert fleet.notifications() == []
    assert (fleet.incident().withheld, fleet.incident().told) == (f"silence {number}", None)
    job.run(START + 3600)
    job.run(START + 3615)

    assert fleet.told() == [("problem", "critical")]
    assert (fleet.incident().withheld, fleet.incident().told) == (None, START + 3600)
    assert fleet.story() == ["problem", "withheld", "worse", "told"]


def test_what_recovers_while_it_is_held_back_is_told_to_nobody(fleet: Fleet) -> None:
    """There was nothing, as far as people know."""
    probe = fleet.watched()
    hold(fleet, 3600, probe="disk")

    fleet.hand_in(probe, 95, START + 1)
    fleet.hand_in(probe, 10, START + 61)
    Releasing(fleet.database).run(START + 3600)

    assert fleet.notifications() == []
    assert (fleet.incident().closed, fleet.incident().withheld) == (START + 61, None)


def test_who_was_told_before_a_silence_hears_of_the_end(fleet: Fleet) -> None:
    """But of nothing in between."""
    probe = fleet.watched()
    fleet.hand_in(probe, 85, START - 60)
    sent(fleet, START - 60)
    hold(fleet, 3600, host="web1")

    fleet.hand_in(probe, 95, START + 1)
    fleet.hand_in(probe, 10, START + 61)

    assert fleet.told() == [("problem", "warning"), ("recovery", "ok")]


def test_what_waits_when_a_silence_or_a_maintenance_begins_waits_until_it_is_over(fleet: Fleet) -> None:
    """The delay of an alert may end in it; what was sent before stays as it is."""
    fleet.define("alert", "ops", mail=["ops@example.org"], delay="5m")
    web, db = fleet.probe(fleet.host()), fleet.probe(fleet.host("db1"))
    for probe in (web, db):
        fleet.hand_in(probe, 95, START - 60)
    job = Releasing(fleet.database)

    number = hold(fleet, 3600, host="web1")
    assert [row.content["host"] for row in fleet.notifications()] == ["db1"]
    fleet.define("maintenance", "patching", hosts=["db1"], **{"from": iso(START), "until": iso(START + 7200)})
    job.run(START)
    assert fleet.notifications() == []
    assert [one.withheld for one in fleet.incidents()] == [f"silence {number}", "maintenance patching"]
    job.run(START + 3600)

    assert [(row.content["host"], row.next_try) for row in fleet.notifications()] == [("web1", START + 3900)]
    assert [one.withheld for one in fleet.incidents()] == [None, "maintenance patching"]


def test_nothing_is_locked_where_nothing_begins_or_ends(fleet: Fleet) -> None:
    """Thousands may be held back for days."""
    probe = fleet.watched()
    hold(fleet, 3600)
    fleet.hand_in(probe, 95, START + 1)
    said: list[str] = []
    event.listen(fleet.database.engine, "before_cursor_execute", lambda *call: said.append(call[2]))

    Releasing(fleet.database).run(START + 60)

    assert said
    assert not [statement for statement in said if "UPDATE" in statement or "immediate" in statement]


def test_a_silence_that_is_ended_holds_nothing_back(fleet: Fleet) -> None:
    """And one that is over cannot be ended again."""
    probe = fleet.watched()
    number = hold(fleet, 3600)

    end(fleet.database, number, START + 10)
    fleet.hand_in(probe, 95, START + 11)

    assert fleet.told() == [("problem", "critical")]
    with pytest.raises(Refused, match=f"no silence {number} that is not over"):
        end(fleet.database, number, START + 20)


def test_a_silence_of_what_is_not_there_is_refused(fleet: Fleet) -> None:
    """A misspelt name would silence nothing, and nobody would know. So is one that is over, or never ends."""
    fleet.probe(fleet.host(groups=["web"]))
    wrong: list[tuple[dict[str, str], float, str]] = [
        ({"host": "web2"}, 60.0, "there is no host 'web2'"),
        ({"group": "db"}, 60.0, "no host is in a group 'db'; there are: web"),
        ({"probe": "load"}, 60.0, "no host has a probe 'load'"),
        ({}, 0.0, "must end in the future"),
        ({}, 4e7, "a year at most"),
    ]

    for whom, seconds, why in wrong:
        with pytest.raises(Refused, match=why):
            hold(fleet, seconds, **whom)


def test_maintenance_holds_back_by_its_name(fleet: Fleet) -> None:
    """From its beginning to its end, for what it names."""
    web = fleet.watched()
    db = fleet.probe(fleet.host("db1", groups=["db"]))
    fleet.define("maintenance", "patching", groups=["db"], **{"from": iso(START), "until": iso(START + 600)})

    fleet.hand_in(web, 95, START + 1)
    fleet.hand_in(db, 95, START + 1)
    assert [row.content["host"] for row in fleet.notifications()] == ["web1"]
    assert fleet.incidents()[1].withheld == "maintenance patching"
    Releasing(fleet.database).run(START + 600)

    assert [row.content["host"] for row in fleet.notifications()] == ["web1", "db1"]


def test_a_maintenance_that_cannot_be_understood_holds_nothing_back(
    fleet: Fleet, caplog: pytest.LogCaptureFixture
) -> None:
    """The log names it."""
    probe = fleet.watched()
    fleet.define("maintenance", "odd", cron="every day", duration="1h", everywhere=True)

    fleet.hand_in(probe, 95, START)

    assert fleet.told() == [("problem", "critical")]
    assert "maintenance odd" in caplog.text


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ({"from": "2027-01-15T08:00:00Z", "until": "2027-01-15T08:00:01Z"}, True),
        ({"from": "2027-01-15T08:00:01Z", "until": "2027-01-15T09:00:00Z"}, False),
        ({"from": "2027-01-15T07:00:00Z", "until": "2027-01-15T08:00:00Z"}, False),
        ({"from": START, "until": START + 1}, True),
        ({"cron": "0 8 * * *", "timezone": "UTC", "duration": "2h"}, True),
        ({"cron": "0 7 * * *", "timezone": "Europe/Paris", "duration": "2h"}, False),
        ({"cron": "0 8 * * *", "timezone": "Europe/Paris", "duration": "2h"}, True),
        ({"cron": "59 5 * * *", "timezone": "UTC", "duration": "2h"}, False),
    ],
)
def test_a_maintenance_is_in_effect_from_its_beginning_until_before_its_end(
    content: dict[str, Any], expected: bool
) -> None:
    """At 08:00 UTC, which is 09:00 in Paris."""
    assert in_effect(content, START) is expected


def test_a_host_that_is_silent_is_covered_when_all_of_its_probes_are() -> None:
    """And concerns whoever watches one of them."""
    silent = Subject(1, "web1", frozenset({"web"}), None, None, frozenset({"disk", "load"}))
    disk, both = Scope(probes=frozenset({"disk"})), Scope(probes=frozenset({"disk", "load", "cpu"}))

    assert [disk.covers(silent), both.covers(silent)] == [False, True]
    assert [disk.concerns(silent), Scope(probes=frozenset({"cpu"})).concerns(silent)] == [True, False]
    assert Scope(hosts=frozenset({"db1"}), groups=frozenset({"web"})).covers(silent)
    assert not Scope(hosts=frozenset({"db1"})).covers(silent)
