"""The agent's own alarms: what is mailed, to whom, how often, and what a restart changes of it (nothing)."""

from __future__ import annotations

import email
import email.policy
import sqlite3
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest

from monagent.agent import alerts
from monagent.agent.alarm import AlertSettings, Said
from monagent.agent.alerting import Alerting, Reading, Surroundings
from monagent.agent.alerts import GROUP_SECONDS, LOOK_SECONDS, Alerts
from monagent.agent.mails import Mails
from monagent.alarms import quiet
from monagent.alarms.caps import WINDOW_SECONDS
from monagent.alarms.ranges import parse
from monagent.alarms.watch import CALM_SECONDS, Rule
from monagent.errors import Busy, JournalError
from monagent.mail.compose import Sources
from monagent.mail.settings import Mailing, ReportSettings

LOAD = AlertSettings("load", "ops", "load", (), Rule(parse("~:4"), parse("~:8")), "~:4", "~:8")
NOON = time.mktime((2026, 3, 10, 12, 0, 0, 0, 0, -1))


class Bench:
    """Alarms whose clock a test turns. Mails are made and queued for real, and never sent: there is no server."""

    def __init__(
        self, directory: Path, alerting: Alerting, *, cap: int = 100, to: tuple[str, ...] = ("a@b.c",)
    ) -> None:
        self.directory = directory
        self.now = NOON
        self.away: float | None = None
        self.taken: float | None = None
        self.overdue: dict[str, str] = {}
        self.alerting = alerting
        self.mailing = Mailing(
            "web1",
            ("", "mon@b.c"),
            (),
            {"ops": ReportSettings("ops", to), "night": ReportSettings("night", ("n@b.c",))},
            cap=cap,
        )
        self.start()

    def start(self) -> None:
        """Make them anew, of what is on disk."""
        self.mails = Mails(self.directory, self.mailing, Sources, lambda _job, _outcome: None)
        surroundings = Surroundings(
            lambda: self.away, lambda: self.taken, lambda _since: "nothing was taken", lambda: self.overdue
        )
        clock: Callable[[], float] = lambda: self.now  # noqa: E731
        self.alerts = Alerts(self.alerting, self.mails, surroundings, clock, clock)
        self.alerts._load()

    def restart(self) -> None:
        """As after a crash: nothing but what is on disk is left."""
        self.mails.stop(time.monotonic() + 1)
        self.start()

    def read(
        self, *numbers: float | None, seconds: float = 60.0, sensor: str = "load", arguments: tuple[str, ...] = ()
    ) -> None:
        """Readings, one after the other."""
        for number in numbers:
            self.alerts._judge(Reading(sensor, arguments, Said(number), self.now))
            self.wait(seconds)

    def wait(self, seconds: float) -> None:
        """Time passes, as the thread would see it."""
        until = self.now + seconds
        while self.now < until:
            self.now = min(self.now + LOOK_SECONDS, until)
            self.alerts._look()
            self.alerts._tell_what_is_due()

    def sent(self) -> list[EmailMessage]:
        """All mails that were ever queued."""
        with sqlite3.connect(self.directory / "mail.db") as database:
            rows = database.execute("select whole from mail order by id").fetchall()
        found = [email.message_from_bytes(row[0], policy=email.policy.default) for row in rows]
        assert all(isinstance(one, EmailMessage) for one in found)
        return found  # type: ignore[return-value]

    def subjects(self) -> list[str]:
        """What they are about."""
        return [str(mail["subject"]) for mail in self.sent()]


Make = Callable[..., Bench]


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    """Makes a bench with these alerts."""
    made: list[Bench] = []

    def make(*alerts: AlertSettings, server: Any = None, backups: Any = None, **options: Any) -> Bench:
        made.append(Bench(tmp_path, Alerting("web1", alerts, server, backups or {}), **options))
        return made[-1]

    yield make
    for bench in made:
        bench.mails.stop(time.monotonic() + 1)


def test_an_alarm_and_its_end_are_one_thread(make: Make) -> None:
    """The end answers the alarm, also after a restart."""
    bench = make(LOAD)
    bench.read(1, 9, 9)
    bench.restart()
    bench.read(9, 1, 1)
    first, last = bench.sent()

    assert bench.subjects() == ["CRITICAL: load on web1 (9)", "OK: load on web1 (1)"]
    assert last["in-reply-to"] == first["message-id"]
    assert last["references"] == first["message-id"]
    assert first["x-monagent-incident"] == last["x-monagent-incident"]
    assert "it was CRITICAL since" in last.get_body(("plain",)).get_content()  # type: ignore[union-attr]


def test_the_next_incident_is_a_thread_of_its_own(make: Make) -> None:
    """Each has its own beginning."""
    bench = make(LOAD)
    bench.read(9, 1, 9, seconds=4000)

    assert [mail["in-reply-to"] is None for mail in bench.sent()] == [True, False, True]


def test_an_event_that_waits_for_company_is_not_lost(make: Make) -> None:
    """The agent is killed within the 30 seconds."""
    bench = make(LOAD)
    bench.read(9, seconds=1)
    assert bench.sent() == []
    bench.restart()
    bench.wait(GROUP_SECONDS + LOOK_SECONDS)

    assert bench.subjects() == ["CRITICAL: load on web1 (9)"]


def test_a_short_trouble_is_two_mails_in_order(make: Make) -> None:
    """Both happened within the 30 seconds."""
    bench = make(LOAD)
    bench.read(9, 1, seconds=5)
    bench.wait(60)

    assert bench.subjects() == ["CRITICAL: load on web1 (9)", "OK: load on web1 (1)"]


def test_500_alarms_at_once_are_one_mail(make: Make) -> None:
    """And so is their end."""
    bench = make(LOAD)
    for number in range(500):
        bench.alerts._judge(Reading("load", (str(number),), Said(9.0), bench.now))
    bench.wait(60)
    for number in range(500):
        bench.alerts._judge(Reading("load", (str(number),), Said(1.0), bench.now))
    bench.wait(60)
    alarm, end = bench.sent()

    assert bench.subjects() == ["CRITICAL: 500 alerts on web1: load 0, …", "OK: 500 alerts on web1: load 0, …"]
    (table,) = alarm.iter_attachments()
    assert table.get_content().count("critical") == 500 + 1
    assert end["in-reply-to"] == alarm["message-id"]


def test_each_check_of_a_sensor_is_watched_on_its_own(make: Make) -> None:
    """An alert without arguments is for all; one with them for that check."""
    bench = make(LOAD, replace(LOAD, name="one", report="night", arguments=("5",)))
    bench.read(9, arguments=("1",))
    bench.read(9, arguments=("5",))
    bench.read(9, sensor="disk")

    assert sorted(bench.subjects()) == sorted(["CRITICAL: load 1 on web1 (9)", *["CRITICAL: load 5 on web1 (9)"] * 2])


def test_a_day_of_flapping_stays_within_the_cap_and_an_outage_in_it_is_told(make: Make) -> None:
    """Once a minute; from noon on it is really down for an hour."""
    bench = make(LOAD)
    bench.read(*[9, 1] * 360)
    before = bench.subjects()
    bench.read(*[9] * 60)
    outage = bench.subjects()[len(before) :]
    bench.read(*[1, 9] * 330)

    assert outage == ["CRITICAL: load on web1 (9)"]
    assert len(bench.sent()) <= LOAD.cap
    flapping = bench.sent()[len(before) - 1]
    assert "changes its state all the time" in flapping.get_body(("plain",)).get_content()  # type: ignore[union-attr]


def test_a_problem_that_found_no_room_is_told_once_it_lasts(make: Make) -> None:
    """Slow changes use the cap up; an outage after that is not kept from anybody."""
    bench = make(LOAD)
    bench.read(*[9, 1] * 4, seconds=1200)
    used = len(bench.sent())
    bench.read(9, seconds=CALM_SECONDS - 60)
    assert len(bench.sent()) == used
    bench.wait(200)

    assert bench.subjects()[used:] == ["CRITICAL: load on web1 (9)"]
    assert "held back since the last one" in bench.sent()[-1].get_body(("plain",)).get_content()  # type: ignore[union-attr]


def test_a_recovery_makes_no_room(make: Make) -> None:
    """Only a day does."""
    bench = make(LOAD)
    bench.read(*[9, 1] * 20, seconds=1200)
    assert len(bench.sent()) <= LOAD.cap
    used = len(bench.sent())
    bench.wait(WINDOW_SECONDS)
    bench.read(9, 1, seconds=1200)

    assert len(bench.sent()) == used + 2


def test_each_recipient_has_a_cap(make: Make) -> None:
    """Over all alerts together."""
    alerts = [replace(LOAD, name=f"load{number}", sensor=f"load{number}") for number in range(30)]
    bench = make(*alerts, cap=12, to=("a@b.c", "d@e.f"))
    for alert in alerts:
        bench.read(9, sensor=alert.sensor)

    assert 8 <= len(bench.sent()) <= 12


def test_who_got_the_alarm_gets_its_end(make: Make) -> None:
    """Also when the section names somebody else by then."""
    bench = make(LOAD, to=("a@b.c", "d@e.f"))
    bench.read(9)
    bench.mailing = replace(bench.mailing, reports={"ops": ReportSettings("ops", ("new@b.c",))})
    bench.restart()
    bench.read(1)

    assert [mail["to"] for mail in bench.sent()] == ["a@b.c, d@e.f"] * 2


def test_a_problem_that_lasts_is_told_again(make: Make) -> None:
    """As often as the section says."""
    bench = make(replace(LOAD, rule=replace(LOAD.rule, remind=3600)))
    bench.read(*[9] * 190)

    assert bench.subjects() == ["CRITICAL: load on web1 (9)"] * 4


def test_quiet_hours_let_only_critical_through(make: Make) -> None:
    """What still stands at their end is told then; what is over is not."""
    bench = make(replace(LOAD, quiet=quiet.parse("11:00-13:00")))
    bench.read(5, 1, 5)
    assert bench.sent() == []
    bench.read(9, sensor="load", arguments=("x",))
    assert bench.subjects() == ["CRITICAL: load x on web1 (9)"]
    bench.wait(3600)

    assert bench.subjects()[1:] == ["WARNING: load on web1 (5)"]


def test_no_number_is_unknown_and_says_why(make: Make) -> None:
    """With what the sensor said."""
    bench = make(LOAD)
    bench.alerts._judge(Reading("load", (), Said(None, "", "timeout, exit code -9\ndisk hangs"), bench.now))
    bench.wait(60)

    assert bench.subjects() == ["UNKNOWN: load on web1"]
    assert "disk hangs" in bench.sent()[0].get_body(("plain",)).get_content()  # type: ignore[union-attr]


def test_a_server_that_takes_nothing_is_an_alarm_of_the_agents_own(make: Make) -> None:
    """After the time that the section gives it, and its end is told."""
    bench = make(server=(AlertSettings("server", "ops"), 1800.0))
    bench.away = bench.now
    bench.wait(1790)
    assert bench.sent() == []
    bench.wait(60)
    assert bench.subjects() == ["CRITICAL: nothing was taken on web1"]
    bench.away, bench.taken = None, bench.now
    bench.wait(60)

    assert bench.subjects()[1:] == ["OK: the monitoring server takes results again on web1"]
    assert bench.sent()[1]["in-reply-to"] == bench.sent()[0]["message-id"]


def test_an_overdue_backup_is_an_alarm(make: Make) -> None:
    """But not of a job that is never mailed about."""
    bench = make(backups={"nightly": ("ops", "problems"), "other": ("ops", "never")})
    bench.overdue = {"nightly": "the backup nightly did not succeed for 27 h", "other": "x"}
    bench.wait(60)
    bench.overdue = {}
    bench.wait(60)

    assert bench.subjects() == [
        "CRITICAL: the backup nightly did not succeed for 27 h on web1",
        "OK: the backup nightly is not overdue any more on web1",
    ]


@pytest.mark.parametrize(
    ("when", "mailed"),
    [
        ("never", ""),
        ("problems", "bad bad good"),
        ("changes", "bad bad good changed"),
        ("always", "good bad bad good changed good"),
    ],
)
def test_the_report_of_a_backup_is_mailed_when_it_should(make: Make, when: str, mailed: str) -> None:
    """The first good one after a bad one goes to whoever heard of that."""
    bench = make(backups={"nightly": ("ops", when)})
    good = {"job": "nightly", "status": "ok", "result": "equal", "message": "good", "done": {}}
    bad = {**good, "status": "error", "message": "bad", "result": "different"}
    changed = {**good, "message": "changed", "done": {"copied": 1}}
    for outcome in (good, bad, bad, good, changed, good):
        bench.alerts.note_backup("nightly", outcome)
        bench.wait(10)
    mails = bench.sent()

    assert [mail.get_body(("plain",)).get_content().splitlines()[1] for mail in mails] == mailed.split()  # type: ignore[union-attr]
    threaded = [mail["in-reply-to"] is not None for mail in mails]
    if when == "problems":
        assert threaded == [False, True, True]


def test_sections_that_are_gone_are_watched_no_more(make: Make) -> None:
    """After a reload."""
    bench = make(LOAD)
    bench.read(9)
    bench.alerts._take(Alerting("web1"))
    bench.read(1)
    assert not [name for name in bench.mails.remembered() if name.startswith("alarm")]

    assert len(bench.sent()) == 1


def test_a_template_that_fails_costs_no_alarm(make: Make, tmp_path: Path) -> None:
    """The built-in one tells of it."""
    templates = tmp_path / "templates"
    templates.mkdir()
    (templates / "alert.subject").write_text("{{ nothing.such }}")
    bench = make(LOAD)
    bench.mailing = replace(bench.mailing, templates=templates)
    bench.restart()
    bench.read(9)

    assert bench.subjects() == ["CRITICAL: load on web1 (9)"]


def test_a_queue_that_takes_nothing_for_a_while_loses_no_alarm(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk, or a full queue."""
    bench = make(LOAD)
    put = bench.mails.put

    def fail(mails: Any, memory: Any = None) -> None:
        if mails:
            raise Busy("full")
        put(mails, memory)

    monkeypatch.setattr(bench.mails, "put", fail)
    bench.read(9)
    assert bench.sent() == []
    monkeypatch.undo()
    bench.wait(60)

    assert bench.subjects() == ["CRITICAL: load on web1 (9)"]


def test_a_mail_that_cannot_be_made_keeps_no_other(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is wrong with it."""
    bench = make(LOAD, replace(LOAD, name="other", report="night", sensor="disk"))
    make_mail = bench.mails.make

    def fail(name: str, *arguments: Any, **more: Any) -> Any:
        if name == "ops":
            raise RecursionError("no")
        return make_mail(name, *arguments, **more)

    monkeypatch.setattr(bench.mails, "make", fail)
    bench.read(9)
    bench.read(9, sensor="disk")

    assert bench.subjects() == ["CRITICAL: disk on web1 (9)"]


def test_a_plot_that_cannot_be_drawn_costs_no_alarm(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """The journal cannot be read."""

    def fail(_alert: object) -> Any:
        raise JournalError("unreadable")

    bench = make(LOAD)
    monkeypatch.setattr(bench.mails, "_sources", lambda: Sources(recent=fail))
    bench.read(9)

    assert bench.subjects() == ["CRITICAL: load on web1 (9)"]


def test_the_server_is_away_until_it_takes_something_also_over_a_restart(make: Make) -> None:
    """A restart knows nothing of the server at first: that is no recovery, and no new half hour."""
    bench = make(server=(AlertSettings("server", "ops"), 1800.0))
    bench.away = bench.now
    bench.wait(1000)
    bench.away = None
    bench.restart()
    bench.wait(1000)
    assert bench.subjects() == ["CRITICAL: nothing was taken on web1"]
    bench.restart()
    bench.wait(600)
    assert len(bench.sent()) == 1
    bench.taken = bench.now
    bench.wait(60)

    assert bench.subjects()[1:] == ["OK: the monitoring server takes results again on web1"]


def test_an_end_that_finds_no_room_is_told_when_there_is_some(make: Make) -> None:
    """Three are told, and the recipient's cap is four."""
    alerts = [replace(LOAD, name=f"load{number}", sensor=f"load{number}") for number in range(3)]
    bench = make(*alerts, cap=4)
    for alert in alerts:
        bench.alerts._judge(Reading(alert.sensor, (), Said(9.0), bench.now))
    bench.wait(60)
    for alert in alerts:
        bench.read(1, sensor=alert.sensor, seconds=120)
    bench.wait(WINDOW_SECONDS)

    assert bench.subjects()[0] == "CRITICAL: 3 alerts on web1: load0, …"
    ended = " ".join(mail.get_body(("plain",)).get_content() for mail in bench.sent()[1:])  # type: ignore[union-attr]
    assert [name for name in ("load0", "load1", "load2") if f"{name} is OK" not in ended] == []


def test_who_had_no_room_hears_of_an_outage_that_lasts(make: Make) -> None:
    """And of its end; what is reserved is for that."""
    bench = make(LOAD, cap=6, to=("boss@b.c", "x@b.c"))
    bench.alerts._telling.recipients["boss@b.c"] = (bench.now,) * 4
    bench.read(9, seconds=120)
    assert [mail["to"] for mail in bench.sent()] == ["x@b.c"]
    bench.wait(CALM_SECONDS)
    bench.read(1)

    assert [mail["to"] for mail in bench.sent()] == ["x@b.c", "boss@b.c", "x@b.c, boss@b.c"]


def test_nothing_is_done_while_nobody_has_room(make: Make) -> None:
    """An outage that nobody may be told of is not counted again and again."""
    bench = make(LOAD, cap=4)
    bench.alerts._telling.recipients["a@b.c"] = (bench.now,) * 4
    bench.read(9)
    bench.wait(3600)

    assert bench.sent() == []
    (alarm,) = bench.alerts._alarms.values()
    assert (alarm.held_back, alarm.pending, alarm.incident) == (1, [], "")


def test_a_check_that_a_section_does_not_watch_any_more_is_forgotten(make: Make) -> None:
    """Its arguments were changed."""
    bench = make(replace(LOAD, arguments=("a",)))
    bench.read(9, arguments=("a",))
    bench.alerts._take(Alerting("web1", (replace(LOAD, arguments=("b",)),)))

    assert bench.alerts._alarms == {}
    bench.restart()
    assert bench.alerts._alarms.keys() == set()


def test_only_what_is_not_well_is_remembered(make: Make) -> None:
    """Thousands of checks that are well cost nothing, and blind nobody."""
    bench = make(LOAD)
    for number in range(3000):
        bench.alerts._judge(Reading("load", (str(number),), Said(1.0), bench.now))
    bench.read(9, arguments=("/var",))
    bench.read(1, arguments=("/var",))
    assert len(bench.alerts._alarms) == 1
    bench.wait(2 * WINDOW_SECONDS)

    assert bench.alerts._alarms == {}
    assert [name for name in bench.mails.remembered() if name.startswith("alarm")] == []


def test_a_clock_that_was_ahead_mutes_nobody(make: Make) -> None:
    """It is set back by a year."""
    bench = make(replace(LOAD, cap=4))
    bench.now += 400 * WINDOW_SECONDS
    bench.read(9, 1, 9, 1, seconds=1000)
    bench.now -= 400 * WINDOW_SECONDS
    before = len(bench.sent())
    bench.wait(WINDOW_SECONDS + 60)
    bench.read(9, seconds=1000)

    assert len(bench.sent()) == before + 1


def test_a_backup_that_was_not_even_begun_is_no_failure(make: Make) -> None:
    """Another run was under way."""
    bench = make(backups={"nightly": ("ops", "always")})
    bench.alerts.note_backup("nightly", {"status": "error", "message": "x", "result": "busy"})
    bench.wait(20)

    assert bench.alerts._mails.remembered() == {}


def test_the_report_of_a_backup_survives_a_crash(make: Make) -> None:
    """Also one that ended in a bug, and says nothing but that."""
    bench = make(backups={"nightly": ("ops", "problems")})
    bench.alerts.note_backup("nightly", {"status": "error", "message": "internal error, incident 12ab"})
    bench.restart()
    bench.wait(20)

    assert len(bench.sent()) == 1
    assert "incident 12ab" in bench.sent()[0].get_body(("plain",)).get_content()  # type: ignore[union-attr]


def test_an_event_follows_its_alert_to_another_report(make: Make) -> None:
    """A reload within the 30 seconds."""
    bench = make(LOAD)
    bench.read(9, seconds=10)
    bench.alerts._take(Alerting("web1", (replace(LOAD, report="night"),)))
    bench.wait(60)

    assert [mail["to"] for mail in bench.sent()] == ["n@b.c"]


def test_a_backups_mail_that_is_refused_keeps_no_alarm(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is tried again; the rest goes on."""
    bench = make(LOAD, backups={"nightly": ("night", "always")})
    put = bench.mails.put

    def fail(mails: Any, memory: Any = None) -> None:
        if any(mail.report == "night" for mail in mails):
            raise Busy("full")
        put(mails, memory)

    monkeypatch.setattr(bench.mails, "put", fail)
    bench.alerts.note_backup("nightly", {"status": "ok", "message": "good"})
    bench.read(9)
    assert bench.subjects() == ["CRITICAL: load on web1 (9)"]
    monkeypatch.undo()
    bench.wait(20)

    assert len(bench.sent()) == 2


def test_what_another_version_remembered_ends_nothing(make: Make) -> None:
    """It is forgotten, and the watch goes on."""
    bench = make(LOAD)
    bench.read(9)
    bench.mails.put([], {"alarm\0load\0load": {"arguments": [], "told": "x"}, "alarm\0x": 5, "what": [1]})
    bench.restart()
    bench.read(9)

    assert bench.subjects() == ["CRITICAL: load on web1 (9)"] * 2


def test_nothing_is_watched_before_what_was_remembered_is_known(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """Or it would be told again, and overwritten."""
    bench = make(LOAD)
    bench.read(9)
    bench.mails.stop(time.monotonic() + 1)
    bench.mails = Mails(bench.directory, bench.mailing, Sources, lambda _job, _outcome: None)
    failures = [JournalError("locked")]
    remembered = bench.mails.remembered

    def fail() -> Any:
        if failures:
            raise failures.pop()
        return remembered()

    monkeypatch.setattr(bench.mails, "remembered", fail)
    monkeypatch.setattr(alerts, "RETRY_SECONDS", 0.05)
    surroundings = Surroundings(lambda: None, lambda: None, lambda _since: "", dict)
    running = Alerts(bench.alerting, bench.mails, surroundings)
    running.start()
    running.note_reading(Reading("load", (), Said(9.0), time.time()))
    until = time.monotonic() + 10
    while not running._alarms and time.monotonic() < until:
        time.sleep(0.02)
    running.stop(time.monotonic() + 5)

    assert failures == []
    assert [alarm.known for alarm in running._alarms.values()] == [{"a@b.c": "critical"}]
    assert [alarm.pending for alarm in running._alarms.values()] == [[]]


def test_every_section_sees_a_reading_also_when_the_disk_is_full(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that watches the same sensor."""
    bench = make(LOAD, replace(LOAD, name="again", report="night"))

    def fail(_mails: Any, _memory: Any = None) -> None:
        raise JournalError("full")

    monkeypatch.setattr(bench.mails, "put", fail)
    with pytest.raises(JournalError):
        bench.alerts._judge(Reading("load", (), Said(9.0), bench.now))
    monkeypatch.undo()
    bench.wait(60)

    assert sorted(mail["to"] for mail in bench.sent()) == ["a@b.c", "n@b.c"]


def test_a_cap_holds_within_one_pass_too(make: Make) -> None:
    """Several mails are made at the same moment."""
    alerts_ = [replace(LOAD, name=f"load{number}", sensor=f"load{number}") for number in range(3)]
    bench = make(*alerts_, cap=10, to=("a@b.c", "b@b.c", "x@b.c"))
    for alert in alerts_:
        bench.read(9, sensor=alert.sensor, seconds=0)
    bench.wait(60)
    for alarm, known in zip(
        bench.alerts._alarms.values(), ({"a@b.c"}, {"a@b.c", "b@b.c"}, {"a@b.c", "x@b.c"}), strict=True
    ):
        alarm.known = dict.fromkeys(known, "critical")
    bench.alerts._telling.recipients["a@b.c"] = (bench.now,) * 9
    for alert in alerts_:
        bench.read(1, sensor=alert.sensor, seconds=0)
    bench.wait(60)

    assert len(bench.alerts._telling.recipients["a@b.c"]) == 10
    bench.wait(WINDOW_SECONDS)
    assert [alarm.known for alarm in bench.alerts._alarms.values() if alarm.known] == []


def test_a_clock_that_was_ahead_makes_no_outage_of_the_server(make: Make) -> None:
    """It took results all the time."""
    bench = make(server=(AlertSettings("server", "ops"), 1800.0))
    bench.now += 30 * WINDOW_SECONDS
    bench.away = bench.now
    bench.wait(20)
    bench.now -= 30 * WINDOW_SECONDS
    bench.away = None
    for _ in range(100):
        bench.taken = bench.now
        bench.wait(60)

    assert (bench.sent() if (bench.directory / "mail.db").exists() else []) == []


def test_each_run_of_a_backup_is_told(make: Make) -> None:
    """A good one right after a bad one."""
    bench = make(backups={"nightly": ("ops", "problems")})
    bench.alerts.note_backup("nightly", {"status": "error", "message": "bad"})
    bench.alerts.note_backup("nightly", {"status": "ok", "message": "good"})
    bench.wait(20)

    assert len(bench.sent()) == 2
    assert [name for name in bench.mails.remembered() if name.startswith("backup-due")] == []


def test_what_a_cap_held_back_is_forgotten_once_all_is_well(make: Make) -> None:
    """And what was bad once, and never seen again."""
    bench = make(
        replace(LOAD, cap=4, rule=replace(LOAD.rule, runs=1)),
        replace(LOAD, name="slow", sensor="slow", rule=replace(LOAD.rule, runs=3)),
    )
    bench.read(9, 1, 9, 1, 9, 1, seconds=700)
    bench.read(9, sensor="slow")
    bench.wait(3 * WINDOW_SECONDS)

    assert bench.alerts._alarms == {}
