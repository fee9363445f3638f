"""Readings become incidents, and incidents notifications: each change once."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from monagent.server.alerts import watching
from monagent.server.records import Seen
from tests.support.alerting import START, Fleet, Probe

OPS = "ops@example.org"


def test_a_bad_reading_opens_an_incident_and_tells_who_wants_it(fleet: Fleet) -> None:
    """It has all that a mail shows."""
    probe = fleet.watched()

    fleet.hand_in(probe, 50, START)
    fleet.hand_in(probe, 95.5, START + 60)

    incident = fleet.incident()
    assert (incident.state, incident.worst, incident.value, incident.closed) == ("critical", "critical", 95.5, None)
    assert (incident.opened, incident.told) == (START + 60, START + 60)
    (row,) = fleet.notifications()
    assert (row.rule, row.channel, row.target, row.state) == ("ops", "mail", OPS, "waiting")
    assert row.next_try == START + 60
    assert row.content == {
        "host": "web1", "groups": [], "state": "critical", "since": START + 60, "what": "problem", "probe": "disk",
        "message": "95.5 (warning at 80, critical at 90)", "sensor": "disk", "arguments": ["percent", "/"],
        "warning": "80", "critical": "90", "value": 95.5, "language": "en",
        "incident": f"incident-{incident.id}-{START + 60:.0f}@server",
    }  # fmt: skip
    assert fleet.story() == ["problem"]


def test_good_readings_make_nothing(fleet: Fleet) -> None:
    """And the row of the probe says that it is well since the first one."""
    probe = fleet.watched()

    for number in range(3):
        fleet.hand_in(probe, 50, START + 60 * number)

    assert fleet.incidents() == []
    assert (fleet.row(probe).state, fleet.row(probe).since) == ("ok", START)
    assert fleet.row(probe).watch == {"v": 1, "n": START}


def test_worse_better_and_well_again(fleet: Fleet) -> None:
    """One incident, each step told, and its end."""
    probe = fleet.watched()

    for number, value in enumerate((85, 95, 85, 10)):
        fleet.hand_in(probe, value, START + 60 * number)

    incident = fleet.incident()
    assert (incident.state, incident.worst, incident.closed) == ("warning", "critical", START + 180)
    assert fleet.told() == [("problem", "warning"), ("problem", "critical"), ("problem", "warning"), ("recovery", "ok")]
    assert fleet.story() == ["problem", "worse", "better", "recovery"]
    assert len({row.content["incident"] for row in fleet.notifications()}) == 1


def test_several_bad_readings_in_a_row_are_needed_where_the_probe_says_so(fleet: Fleet) -> None:
    """One that is good begins the count anew; it began with the first of those that were believed."""
    probe = fleet.watched(runs=3)

    for number, value in enumerate((95, 95, 10, 95, 95, 95)):
        fleet.hand_in(probe, value, START + 60 * number)

    assert fleet.incident().opened == START + 300
    assert fleet.notifications()[0].content["since"] == START + 180


def test_all_readings_of_a_batch_are_watched_in_order(fleet: Fleet) -> None:
    """Bad and good again within one call leaves a closed incident."""
    probe = fleet.watched()
    with fleet.database.write() as db:
        for number, value in enumerate((95, 10, 96)):
            fleet.keep(db, [(probe, value)], START + number)

    assert [one.closed is None for one in fleet.incidents()] == [False, True]
    assert fleet.row(probe).state == "critical"


def test_readings_of_one_probe_in_one_call_follow_each_other() -> None:
    """The second is judged by what the first one made."""
    seen = [_seen(10.0, finished=START), _seen(20.0, finished=START + 1), _seen(30.0, finished=START)]

    judged = watching.watch(None, seen, START + 2)  # type: ignore[arg-type]  # nothing changes: it is not asked

    assert judged[1].since == START
    assert judged[1].watch == {"v": 1, "n": START}


def test_a_number_must_come_back_by_the_margin(fleet: Fleet) -> None:
    """Just below the threshold is not good enough to be well."""
    probe = fleet.watched(critical=None, margin=5.0)

    for number, value in enumerate((81, 79, 76)):
        fleet.hand_in(probe, value, START + 60 * number)
    assert fleet.incident().closed is None
    fleet.hand_in(probe, 75, START + 180)

    assert fleet.incident().closed == START + 180
    assert fleet.told() == [("problem", "warning"), ("recovery", "ok")]


def test_flapping_is_told_once_and_its_end_once(fleet: Fleet) -> None:
    """In between the incident stays open and follows the state."""
    probe = fleet.watched()
    for number in range(20):
        fleet.hand_in(probe, 95 if number % 2 else 10, START + 60 * number)

    *_, open_one = fleet.incidents()
    assert (open_one.flapping, open_one.closed) == (True, None)
    assert [what for what, _ in fleet.told()].count("flapping") == 1
    before = len(fleet.notifications())
    for number in range(20, 31):
        fleet.hand_in(probe, 10, START + 60 * number)

    assert fleet.told()[before:] == [("recovery", "ok")]
    assert fleet.incidents()[-1].closed is not None
    assert fleet.incidents()[-1].flapping is False


def test_flapping_that_ends_badly_is_told_as_settled(fleet: Fleet) -> None:
    """The incident goes on."""
    probe = fleet.watched()
    for number in range(8):
        fleet.hand_in(probe, 95 if number % 2 else 10, START + 60 * number)
    for number in range(8, 20):
        fleet.hand_in(probe, 85, START + 60 * number)

    assert fleet.told()[-1] == ("settled", "warning")
    assert (fleet.incidents()[-1].flapping, fleet.incidents()[-1].closed) == (False, None)


def test_history_is_kept_and_judges_nothing(fleet: Fleet) -> None:
    """What is too old, older than the newest, or of a clock that is far ahead, says nothing of now."""
    probe = fleet.watched()
    fleet.hand_in(probe, 10, START)

    for finished in (START - 400, START - 1, START + 400):
        fleet.hand_in(probe, 99, START + 30, finished)

    assert fleet.incidents() == []
    assert fleet.row(probe).state == "ok"


def test_what_the_sensor_wrote_is_the_message(fleet: Fleet) -> None:
    """Where there is no number to trust, the error or the exit code comes first, and no value is shown."""
    host = fleet.host()
    disk, load = fleet.probe(host, "disk"), fleet.probe(host, "load")
    plug_in = fleet.probe(host, "plug-in", nagios=True, warning=None, critical=None)

    fleet.hand_in(disk, "nan", START, ret_code=-9, error="timeout", stderr="waiting for the disk\n")
    fleet.hand_in(load, 5, START, ret_code=1)
    fleet.hand_in(plug_in, "nan", START, ret_code=2, stderr="DISK CRITICAL - / is full")

    assert [(one.state, one.value, one.message) for one in fleet.incidents()] == [
        ("unknown", None, "timeout, exit code -9\nwaiting for the disk"),
        ("unknown", None, "no number to trust, exit code 1"),
        ("critical", None, "DISK CRITICAL - / is full"),
    ]


def test_only_those_hear_of_the_end_who_heard_of_the_problem(fleet: Fleet) -> None:
    """An alert for critical alone says nothing of a warning, nor of its end."""
    probe = fleet.watched()
    fleet.define("alert", "boss", mail=["boss@example.org"], from_state="critical")

    fleet.hand_in(probe, 85, START)
    fleet.hand_in(probe, 10, START + 60)

    assert {row.rule for row in fleet.notifications()} == {"ops"}


def test_every_channel_of_an_alert_gets_its_own_notification(fleet: Fleet) -> None:
    """Where the secret of a webhook is goes along; the secret itself is nowhere."""
    probe = fleet.probe(fleet.host(groups=["db", "web"]))
    fleet.define(
        "alert", "ops", groups=["web"], mail=["a@example.org", "b@example.org"], webhook="https://chat.example.org/x",
        secret_file="/etc/monagent/secret", apprise_file="/etc/monagent/apprise", language="zh",
    )  # fmt: skip
    fleet.define("alert", "others", hosts=["db1"], mail=["c@example.org"])

    fleet.hand_in(probe, 99, START)
    fleet.hand_in(probe, 10, START + 60)

    rows = fleet.notifications()
    assert {(row.channel, row.target) for row in rows} == {
        ("mail", "a@example.org,b@example.org"), ("webhook", "https://chat.example.org/x"),
        ("apprise", "/etc/monagent/apprise"),
    }  # fmt: skip
    assert [row.what for row in rows] == ["problem"] * 3 + ["recovery"] * 3
    assert {row.content["secret_file"] for row in rows} == {"/etc/monagent/secret"}
    assert {row.content["language"] for row in rows} == {"zh"}
    assert rows[0].content["groups"] == ["db", "web"]


def test_a_delayed_problem_that_ends_in_time_is_told_to_nobody(fleet: Fleet) -> None:
    """It is taken back, and its end is not told either; whoever gets it at once hears of both."""
    probe = fleet.watched()
    fleet.define("alert", "boss", mail=["boss@example.org"], delay="10m")

    fleet.hand_in(probe, 99, START)
    assert [(row.rule, row.next_try) for row in fleet.notifications()] == [("ops", START), ("boss", START + 600)]
    fleet.hand_in(probe, 10, START + 60)

    assert [(row.rule, row.what) for row in fleet.notifications()] == [("ops", "problem"), ("ops", "recovery")]


def test_a_delay_does_not_begin_anew_when_it_gets_worse(fleet: Fleet) -> None:
    """And who is told then is told how it is then."""
    fleet.define("alert", "boss", mail=["boss@example.org"], delay=600)
    probe = fleet.probe(fleet.host())

    fleet.hand_in(probe, 85, START)
    fleet.hand_in(probe, 99, START + 60)

    (row,) = fleet.notifications()
    assert (row.next_try, row.content["state"]) == (START + 600, "critical")


def test_an_alert_that_cannot_be_understood_does_not_keep_readings_away(
    fleet: Fleet, caplog: pytest.LogCaptureFixture
) -> None:
    """The others still tell, and the log names it."""
    probe = fleet.watched()
    fleet.define("alert", "broken", mail="ops@example.org", remind="soon")

    fleet.hand_in(probe, 99, START)

    assert [row.rule for row in fleet.notifications()] == ["ops"]
    assert "alert broken" in caplog.text


def test_late_results_of_a_removed_probe_open_nothing(fleet: Fleet) -> None:
    """It is not watched any more."""
    probe = fleet.watched(active=False)

    fleet.hand_in(probe, 99, START)

    assert fleet.incidents() == []


def test_two_processes_that_see_the_same_change_make_one_incident(fleet: Fleet) -> None:
    """Whoever has the rows first has it; the other finds it done."""
    probes = [fleet.watched(), *(fleet.probe(fleet.host(f"db{number}")) for number in range(9))]
    barrier = threading.Barrier(2)
    failures: list[BaseException] = []

    def process(order: list[Probe], finished: float) -> None:
        try:
            barrier.wait(10)
            with fleet.database.write() as db:
                fleet.keep(db, [(probe, 99) for probe in order], START + 1, finished)
        except BaseException as error:
            failures.append(error)
            raise

    threads = [
        threading.Thread(target=process, args=(order, finished))
        for order, finished in ((probes, START), (probes[::-1], START + 1))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)

    assert failures == []
    assert len(fleet.incidents()) == len(probes)
    assert fleet.told() == [("problem", "critical")] * len(probes)


def _seen(value: float, **changed: Any) -> Seen:
    values: dict[str, Any] = {
        "host_probe_id": 1, "host_id": 1, "every": 60.0, "warning": "80", "critical": "90", "runs": 1, "margin": 0.0,
        "nagios": False, "watch": None, "newest": None, "ret_code": 0, "data": str(value), "value": value,
        "error": None,
        "finished": START, **changed,
    }  # fmt: skip
    return Seen(**values)
