"""What does not come is noticed: a host that is silent is one incident, a probe without results another."""

from __future__ import annotations

import threading

import pytest
from sqlalchemy import update

from monagent.server import schema
from monagent.server.alerts.lateness import history_after, overdue_after, overdue_by_cron
from monagent.server.alerts.staleness import EVERY_SECONDS, Staleness
from monagent.server.times import age
from tests.support.alerting import START, Fleet, Probe

MIDNIGHT = 1_800_057_600.0
"""2027-01-16 00:00 UTC."""


def watch(fleet: Fleet, begin: float, end: float, job: Staleness | None = None) -> Staleness:
    """Run the job as often as a server does."""
    job = job or Staleness(fleet.database)
    now = begin
    while now <= end:
        job.run(now)
        now += EVERY_SECONDS
    return job


def seen_fleet(fleet: Fleet, count: int, at: float) -> list[Probe]:
    """A host with probes that have just handed in."""
    fleet.define("alert", "ops", mail=["ops@example.org"])
    host = fleet.host()
    probes = [fleet.probe(host, f"probe{number}") for number in range(count)]
    with fleet.database.write() as db:
        fleet.keep(db, [(probe, 10) for probe in probes], at)
    return probes


def test_a_silent_host_is_one_alert_for_all_of_its_probes(fleet: Fleet) -> None:
    """Told after three intervals, and its return by the first result."""
    probes = seen_fleet(fleet, 10, START)
    with fleet.database.write() as db:
        db.execute(update(schema.host).values(trouble="connection refused"))

    job = watch(fleet, START, START + 180)
    assert fleet.incidents() == []
    watch(fleet, START + 195, START + 600, job)

    incident = fleet.incident()
    assert (incident.state, incident.host_probe_id) == ("silent", None)
    assert incident.message.startswith("nothing has come from web1 since ")
    assert incident.message.endswith("\nthe server cannot reach it: connection refused")
    assert fleet.host_row(probes[0].host_id).silent == START + 195
    (row,) = fleet.notifications()
    assert (row.content["state"], row.content["host"], "probe" in row.content) == ("silent", "web1", False)

    fleet.hand_in(probes[3], 10, START + 660)

    assert fleet.told() == [("problem", "silent"), ("recovery", "ok")]
    assert fleet.incident().closed == START + 660
    assert fleet.host_row(probes[0].host_id).silent is None
    watch(fleet, START + 660, START + 720, job)
    assert len(fleet.incidents()) == 1


def test_an_alert_for_one_probe_hears_of_the_silence_of_its_host(fleet: Fleet) -> None:
    """But one for a probe that the host does not have hears nothing."""
    probe = fleet.probe(fleet.host())
    fleet.define("alert", "disks", probes=["disk"], mail=["disks@example.org"])
    fleet.define("alert", "loads", probes=["load"], mail=["loads@example.org"])
    fleet.hand_in(probe, 10, START)

    watch(fleet, START, START + 240)

    assert [row.rule for row in fleet.notifications()] == ["disks"]


def test_a_restart_does_not_silence_the_fleet(fleet: Fleet) -> None:
    """Whoever was away himself gives everybody the time to be heard."""
    seen_fleet(fleet, 1, START)
    watch(fleet, START, START + 30)

    back = START + 7200
    job = watch(fleet, back, back + 180)
    assert fleet.incidents() == []
    watch(fleet, back + 195, back + 240, job)

    assert fleet.incident().opened == back + 195


def test_a_host_that_never_answered_is_silent_some_time_after_it_was_added(fleet: Fleet) -> None:
    """The server had been watching for long before."""
    job = watch(fleet, START, START + 300)
    fleet.probe(fleet.host())

    watch(fleet, START + 315, START + 495, job)
    assert fleet.incidents() == []
    watch(fleet, START + 510, START + 510, job)

    assert fleet.incident().message.startswith("nothing ever came from web1\n")


def test_a_host_without_a_schedule_is_never_silent(fleet: Fleet) -> None:
    """And one that loses its schedules is not any more; nobody is told."""
    probe = seen_fleet(fleet, 1, START)[0]
    fleet.probe(fleet.host("byhand"), every=None)
    job = watch(fleet, START, START + 300)
    assert fleet.incident().host_id == probe.host_id

    fleet.change(probe, every=None, due=None)
    watch(fleet, START + 315, START + 315, job)

    assert fleet.incident().closed == START + 315
    assert fleet.host_row(probe.host_id).silent is None
    assert fleet.told() == [("problem", "silent")]
    assert fleet.story() == ["problem", "removed"]


def test_a_host_by_cron_is_silent_after_two_missed_runs(fleet: Fleet) -> None:
    """Not before the next one was due."""
    fleet.define("alert", "ops", mail=["ops@example.org"])
    probe = fleet.probe(fleet.host(), every=None, cron="0 * * * *", timezone="UTC")
    fleet.hand_in(probe, 10, MIDNIGHT + 5)

    job = Staleness(fleet.database, every=1200.0)
    for at in (10, 3000, 6000, 7320):
        job.run(MIDNIGHT + at)
    assert fleet.incidents() == []
    job.run(MIDNIGHT + 7335)

    assert fleet.incident().state == "silent"


def test_a_probe_without_results_is_stale_while_its_host_hands_in_others(fleet: Fleet) -> None:
    """It is unknown then, and the next result ends it."""
    quiet, chatty = seen_fleet(fleet, 2, START)
    job = watch(fleet, START, START + 45)
    for number in range(1, 6):
        fleet.hand_in(chatty, 10, START + 60 * number)
        watch(fleet, START + 60 * number, START + 60 * number + 45, job)

    incident = fleet.incident()
    assert (incident.state, incident.host_probe_id) == ("stale", quiet.id)
    assert fleet.row(quiet).state == "unknown"
    assert fleet.row(quiet).stale == incident.opened
    assert START + 240 <= incident.opened < START + 260

    fleet.hand_in(quiet, 10, START + 360)

    assert fleet.told() == [("problem", "stale"), ("recovery", "ok")]
    assert (fleet.row(quiet).state, fleet.row(quiet).since, fleet.row(quiet).stale) == ("ok", START, None)


def test_a_stale_probe_that_comes_back_bad_goes_on_as_the_same_incident(fleet: Fleet) -> None:
    """Its story tells both."""
    quiet, chatty = seen_fleet(fleet, 2, START)
    fleet.hand_in(quiet, 85, START + 10)
    job = Staleness(fleet.database)
    for number in range(1, 6):
        fleet.hand_in(chatty, 10, START + 60 * number)
        watch(fleet, START + 60 * number, START + 60 * number + 45, job)
    fleet.hand_in(quiet, 95, START + 360)

    assert fleet.story() == ["problem", "worse", "worse"]
    assert (fleet.incident().state, fleet.incident().closed) == ("critical", None)


@pytest.mark.parametrize(("before", "after"), [(-3600.0, -3600.0), (290.0, 0.0), (0.0, 600.0)])
def test_a_host_whose_clock_is_wrong_hands_in_all_the_same(fleet: Fleet, before: float, after: float) -> None:
    """What counts is when its results came, or one step of its clock would be an alert for each of its probes."""
    probe = fleet.watched()
    job = Staleness(fleet.database)
    for number in range(1, 11):
        ahead = before if number < 4 else after
        fleet.hand_in(probe, 10, START + 60 * number, START + 60 * number + ahead)
        watch(fleet, START + 60 * number, START + 60 * number + 45, job)

    assert fleet.incidents() == []


def test_a_backlog_that_is_handed_in_makes_nothing_stale(fleet: Fleet) -> None:
    """After an hour without the network the old results come first."""
    probe = seen_fleet(fleet, 1, START)[0]
    job = watch(fleet, START, START + 600)
    for number in range(1, 10):
        fleet.hand_in(probe, 99 if number < 6 else 10, START + 601 + number, START + 60 * number)
        job.run(START + 601 + number)

    assert fleet.told() == [("problem", "silent"), ("recovery", "ok")]


def test_two_processes_that_look_at_once_call_a_host_silent_once(fleet: Fleet) -> None:
    """Whoever has the row first does; the other one leaves it alone."""
    seen_fleet(fleet, 1, START)
    jobs = [watch(fleet, START, START + 180), Staleness(fleet.database)]
    barrier = threading.Barrier(2)

    def look(job: Staleness) -> None:
        barrier.wait(10)
        job.run(START + 195)

    threads = [threading.Thread(target=look, args=(job,)) for job in jobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)

    assert fleet.told() == [("problem", "silent")]


@pytest.mark.parametrize(
    ("every", "overdue", "history"), [(10.0, 120.0, 300.0), (60.0, 180.0, 300.0), (600.0, 1800.0, 1800.0)]
)
def test_three_intervals_are_waited_for_or_two_minutes(every: float, overdue: float, history: float) -> None:
    """And what is older than that, or five minutes, is history."""
    assert (overdue_after(every), history_after(every)) == (overdue, history)


def test_by_cron_the_second_run_must_have_been_missed() -> None:
    """Nights and weekends without runs are no silence."""
    friday = MIDNIGHT - 86_400 + 18 * 3600 + 3  # 18:00:03

    deadline = overdue_by_cron("0 9-18 * * 1-5", "UTC", 0.0, friday)

    assert deadline == MIDNIGHT + 2 * 86_400 + 10 * 3600 + 120  # Monday, 10:02


@pytest.mark.parametrize(
    ("seconds", "words"), [(-1, "0 s"), (40, "40 s"), (60, "1 min"), (5400, "90 min"), (7200, "2 h"), (200_000, "2 d")]
)
def test_ages_are_told_in_few_words(seconds: float, words: str) -> None:
    """In the largest unit that makes sense."""
    assert age(seconds) == words
