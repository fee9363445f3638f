"""Incidents that are in hand, reminded of, or about what is gone."""

from __future__ import annotations

import time

import pytest
from sqlalchemy import update

from monagent.errors import Refused
from monagent.server import schema
from monagent.server.alerts.acknowledging import acknowledge
from monagent.server.alerts.reminding import Reminding
from monagent.server.alerts.removing import Removing
from monagent.server.alerts.silencing import silence
from monagent.server.alerts.upkeep import jobs
from monagent.server.jobs import Jobs
from tests.support.alerting import START, Fleet, Probe


def reminded(fleet: Fleet, **rule: object) -> Probe:
    """A probe that went bad at the start, with an alert that reminds every hour, and whose mail was sent."""
    fleet.define("alert", "ops", mail=["ops@example.org"], remind="1h", **rule)
    probe = fleet.probe(fleet.host())
    fleet.hand_in(probe, 85, START)
    sent(fleet, START)
    return probe


def sent(fleet: Fleet, when: float) -> None:
    """Everything that waits has gone out."""
    with fleet.database.write() as db:
        db.execute(update(schema.notification).values(state="sent", sent=when, next_try=None, attempts=1))


def test_a_problem_that_goes_on_is_told_again(fleet: Fleet) -> None:
    """As often as the alert says, and not while the last one still waits."""
    reminded(fleet)
    job = Reminding(fleet.database)

    job.run(START + 3599)
    assert fleet.told() == [("problem", "warning")]
    job.run(START + 3600)
    job.run(START + 7300)
    assert fleet.told() == [("problem", "warning"), ("reminder", "warning")]
    sent(fleet, START + 7300)
    job.run(START + 7400)
    job.run(START + 10_900)

    assert [what for what, _ in fleet.told()] == ["problem", "reminder", "reminder"]
    assert fleet.incident().told == START + 10_900
    assert fleet.story() == ["problem", "reminder", "reminder"]


def test_what_somebody_has_in_hand_is_not_told_again_until_it_gets_worse(fleet: Fleet) -> None:
    """Then it is in nobody's hand any more. Its end is told as ever."""
    probe = reminded(fleet)
    job = Reminding(fleet.database)

    acknowledge(fleet.database, fleet.incident().id, "ann", "a bigger disk is coming", START + 60)
    job.run(START + 7200)
    assert len(fleet.notifications()) == 1
    assert (fleet.incident().acknowledged_by, fleet.incident().note) == ("ann", "a bigger disk is coming")
    fleet.hand_in(probe, 95, START + 7260)
    fleet.hand_in(probe, 10, START + 7320)

    assert fleet.incident().acknowledged is None
    assert fleet.told() == [("problem", "warning"), ("problem", "critical"), ("recovery", "ok")]
    assert fleet.story() == ["problem", "acknowledged", "worse", "recovery"]


def test_what_gets_better_stays_in_hand(fleet: Fleet) -> None:
    """Nobody is told of it before it is over."""
    probe = fleet.watched()
    fleet.hand_in(probe, 95, START)
    acknowledge(fleet.database, fleet.incident().id, "ann", "on it", START + 60)

    fleet.hand_in(probe, 85, START + 61)

    assert fleet.told() == [("problem", "critical")]
    assert (fleet.incident().state, fleet.incident().acknowledged_by) == ("warning", "ann")


def test_who_is_told_after_a_delay_is_not_when_somebody_has_it_in_hand(fleet: Fleet) -> None:
    """That is what the delay is for."""
    fleet.define("alert", "boss", mail=["boss@example.org"], delay="30m")
    probe = fleet.probe(fleet.host())
    fleet.hand_in(probe, 95, START)

    acknowledge(fleet.database, fleet.incident().id, "ann", "on it", START + 60)
    fleet.hand_in(probe, 10, START + 7200)

    assert fleet.notifications() == []


def test_only_an_open_incident_can_be_taken_in_hand(fleet: Fleet) -> None:
    """Others are refused by name."""
    probe = fleet.watched()
    fleet.hand_in(probe, 95, START)
    fleet.hand_in(probe, 10, START + 60)

    with pytest.raises(Refused, match="there is no incident 77"):
        acknowledge(fleet.database, 77, "ann", "on it", START + 70)
    with pytest.raises(Refused, match="is closed"):
        acknowledge(fleet.database, fleet.incident().id, "ann", "on it", START + 70)


def test_a_silence_holds_reminders_back(fleet: Fleet) -> None:
    """They go on when it is over."""
    reminded(fleet)
    silence(fleet.database, {"host": "web1"}, START + 7200, "ann", "", START + 60)
    job = Reminding(fleet.database)

    job.run(START + 3600)
    assert len(fleet.notifications()) == 1
    job.run(START + 7200)

    assert len(fleet.notifications()) == 2


def test_who_is_added_to_an_alert_later_is_told_of_what_goes_on(fleet: Fleet) -> None:
    """Once, by alerts that remind and by those that do not; not of what somebody has in hand."""
    first, second = fleet.probe(fleet.host()), fleet.probe(fleet.host("web2"))
    fleet.hand_in(first, 95, START)
    fleet.hand_in(second, 95, START)
    acknowledge(fleet.database, fleet.incidents()[1].id, "ann", "on it", START + 1)
    fleet.define("alert", "ops", mail=["ops@example.org"])
    fleet.define("alert", "boss", mail=["boss@example.org"], delay="30m")
    job = Reminding(fleet.database)

    for when in (START + 60, START + 90, START + 7200):
        job.run(when)

    told = {row.rule: (row.what, row.content["host"], row.next_try) for row in fleet.notifications()}
    assert told == {"ops": ("problem", "web1", START + 60), "boss": ("problem", "web1", START + 1800)}
    assert fleet.incidents()[0].told == START + 60
    assert fleet.story()[-1] == "told"


def test_what_could_not_be_told_is_reminded_of_and_its_end_is_told(fleet: Fleet) -> None:
    """The target may be mended meanwhile, and may have taken what it did not confirm."""
    probe = reminded(fleet)
    with fleet.database.write() as db:
        db.execute(update(schema.notification).values(state="failed", next_try=None, sent=None))

    Reminding(fleet.database).run(START + 3600)
    with fleet.database.write() as db:
        db.execute(update(schema.notification).values(state="failed", next_try=None))
    fleet.hand_in(probe, 10, START + 3660)

    assert [what for what, _ in fleet.told()] == ["problem", "reminder", "recovery"]


def test_an_alert_for_critical_alone_does_not_remind_of_a_warning(fleet: Fleet) -> None:
    """It told when it was critical, and will tell the end."""
    probe = reminded(fleet, from_state="critical")
    fleet.hand_in(probe, 95, START + 60)
    sent(fleet, START + 60)
    fleet.hand_in(probe, 85, START + 120)

    Reminding(fleet.database).run(START + 7200)

    assert fleet.told() == [("problem", "critical")]


def test_the_incident_of_a_removed_probe_is_closed_without_a_word(fleet: Fleet) -> None:
    """What was not told yet is taken back; if the probe comes back as bad, that is a new one."""
    probe = fleet.watched()
    fleet.define("alert", "boss", mail=["boss@example.org"], delay="30m")
    fleet.hand_in(probe, 95, START)
    fleet.change(probe, active=False)

    Removing(fleet.database).run(START + 60)

    assert fleet.incident().closed == START + 60
    assert [row.rule for row in fleet.notifications()] == ["ops"]
    assert fleet.story() == ["problem", "removed"]
    fleet.change(probe, active=True)
    fleet.hand_in(probe, 95, START + 120)
    assert len(fleet.incidents()) == 2


def test_the_jobs_run_as_the_server_runs_them(fleet: Fleet) -> None:
    """One after the other, without trouble."""
    probe = fleet.watched()
    fleet.hand_in(probe, 95, time.time())
    found = jobs(fleet.database)

    Jobs(fleet.database, found).run_due()

    with fleet.database.read() as db:
        # Only trouble would be written down.
        assert db.execute(schema.job.select()).all() == []
