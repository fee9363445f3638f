"""Results on their way into the database: kept once, together, or not at all."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import func, select, update

from monagent.errors import Fault, StoreAway
from monagent.server import schema
from monagent.server.database import Database
from monagent.server.intake import Intake
from monagent.server.names import Names
from monagent.server.readings import latest
from monagent.server.records import Delivery, Host
from monagent.server.tickets import AddressBook
from tests.support.server import SUBMIT, define, issue, known_host, outcome, reading, ticket_story

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC).timestamp()


@pytest.fixture
def host(database: Database) -> Host:
    """A host on this machine."""
    return known_host(database, "web1")


@pytest.fixture
def intake(database: Database) -> Iterator[Intake]:
    """At work; its clock says `NOW`."""
    intake = Intake(database, AddressBook(Names()), clock=lambda: NOW)
    intake.start()
    yield intake
    intake.stop()


def delivery(ticket: str, data: str = "1", method: str = SUBMIT, at: float = NOW, **more: Any) -> Delivery:
    """A result as an agent hands it in."""
    content = {"ret_code": 0, "data": data, "error": "", "stderr": "", "duration": 0.5, "metrics": [], **more}
    said = {"status": "ok", "message": data, **more}
    when = datetime.fromtimestamp(at, UTC)
    return Delivery(ticket, "127.0.0.1", method, content if method == SUBMIT else said, when, data.encode())


def words(answers: Any) -> list[str]:
    """OK, or the class of the fault."""
    return [type(answer).__name__ if isinstance(answer, Fault) else str(answer) for answer in answers]


def count(database: Database, table: Any) -> int:
    """Rows of a table."""
    with database.read() as db:
        return int(db.execute(select(func.count()).select_from(table)).scalar() or 0)


def with_probe(database: Database, **probe: Any) -> int:
    """A probe of web1; its number."""
    content = {"sensor": "disk", "hosts": ["web1"], **probe}
    define(database, {("sensor", "disk"): {}, ("probe", "root"): content})
    with database.read() as db:
        return int(db.execute(select(schema.host_probe.c.id)).scalar_one())


def test_a_reading_is_kept_with_its_own_time(database: Database, host: Host, intake: Intake) -> None:
    """Late as it may be; sensor and arguments come from the ticket, never from the agent."""
    issue(database, host, "t", arguments=["disk", ["/", "5"]])

    assert words(intake.take([delivery("t", "2.50", at=NOW - 86_400)])) == ["OK"]
    found = reading(database, "t")
    assert found is not None
    assert (found.host, found.sensor, found.arguments) == ("web1", "disk", ["/", "5"])
    assert (found.ret_code, found.data, found.error, found.duration) == (0, "2.50", "", 0.5)
    assert found.finished == NOW - 86_400
    story = ticket_story(database, "t")
    assert (story.state, story.ended, story.finished) == ("done", NOW, NOW - 86_400)


def test_an_outcome_that_says_error_ends_its_ticket_as_failed(database: Database, host: Host, intake: Intake) -> None:
    """With what it says; any other is done."""
    issue(database, host, "a", "b", method="cmd_status")
    intake.take([delivery("a", "fine", "cmd_status"), delivery("b", "no", "cmd_status", status="error")])

    assert ticket_story(database, "a").state == "done"
    assert (ticket_story(database, "b").state, ticket_story(database, "b").reason) == ("failed", "no")
    assert outcome(database, "b") == {"status": "error", "message": "no"}


def test_repeats_are_ok_and_others_refused_and_counted(database: Database, host: Host, intake: Intake) -> None:
    """Replayed, forged, foreign and expired tickets change nothing."""
    issue(database, host, "t", "other")
    issue(database, host, "late", expires=NOW - 1)
    issue(database, known_host(database, "far", "192.0.2.9"), "foreign")
    intake.take([delivery("t")])
    answers = intake.take(
        [
            delivery("t"),
            delivery("t", "2"),
            delivery("forged"),
            delivery("foreign"),
            delivery("late"),
            delivery("other"),
        ]
    )

    assert words(answers) == ["OK", "Used", "Foreign", "Foreign", "Expired", "OK"]
    assert intake.refused == {"used": 1, "foreign": 2, "expired": 1}
    assert count(database, schema.reading) == 2


def test_callers_at_once_leave_one_row_a_ticket(database: Database, host: Host, intake: Intake) -> None:
    """Four hand in the same hundred results, some of another content."""
    names = [f"t{number}" for number in range(100)]
    issue(database, host, *names)
    answers: list[list[str]] = []

    def hand_in(part: int) -> None:
        batches = [[delivery(name, str(part % 2)) for name in names[start : start + 10]] for start in range(0, 100, 10)]
        answers.extend(words(intake.take(batch)) for batch in batches)

    threads = [threading.Thread(target=hand_in, args=(part,)) for part in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)

    assert len(answers) == 40
    assert {word for one in answers for word in one} == {"OK", "Used"}
    assert sum(word == "OK" for one in answers for word in one) == 200
    assert count(database, schema.reading) == 100


def test_two_processes_keep_one_result_a_ticket(database: Database, host: Host) -> None:
    """Each with a database connection and an intake of its own; nobody waits for ever."""
    names = [f"t{number}" for number in range(300)]
    issue(database, host, *names)
    others = [Database(database.engine.url.render_as_string(hide_password=False)) for _ in range(3)]
    intakes = [Intake(other, AddressBook(Names()), clock=lambda: NOW) for other in others]
    answers: list[str] = []

    def hand_in(number: int) -> None:
        order = names if number % 2 else names[::-1]
        for start in range(0, 300, 50):
            answers.extend(
                words(intakes[number].take([delivery(name, str(number)) for name in order[start : start + 50]]))
            )

    for intake in intakes:
        intake.start()
    threads = [threading.Thread(target=hand_in, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    for intake, other in zip(intakes, others, strict=True):
        intake.stop()
        other.close()

    assert sorted(answers) == ["OK"] * 300 + ["Used"] * 600
    assert count(database, schema.reading) == 300


def test_the_newest_reading_of_a_probe_is_kept_at_hand(database: Database, host: Host, intake: Intake) -> None:
    """What comes late does not take its place, and is in the sums all the same."""
    probe = with_probe(database)
    issue(database, host, "new", "old", "ahead", host_probe_id=probe, issued=NOW - 70)
    intake.take([delivery("new", "5")])
    intake.take([delivery("old", "3", at=NOW - 60), delivery("ahead", "9", at=NOW + 90_000)])

    with database.read() as db:
        (shown,) = latest(db)
        (sums,) = db.execute(select(schema.rollup_1h).where(schema.rollup_1h.c.start < NOW)).all()
    assert (shown.data, shown.finished, shown.state) == ("5", NOW, "ok")
    assert (sums.n, sums.sum, sums.min, sums.max) == (3, 17.0, 3.0, 9.0)


def test_a_host_whose_clock_is_off_is_judged_all_the_same(database: Database, host: Host, intake: Intake) -> None:
    """By the time at which it was asked; the reading itself keeps its own time."""
    probe = with_probe(database, critical="8")
    states = []
    for number, (data, off) in enumerate([("1", 0.0), ("9", 7200.0), ("1", -7200.0), ("9", -7200.0)]):
        asked = NOW - 200 + 50 * number
        issue(database, host, f"t{number}", host_probe_id=probe, issued=asked)
        intake.take([delivery(f"t{number}", data, at=asked + 1 + off)])
        with database.read() as db:
            states.append(latest(db)[0].state)

    assert states == ["ok", "critical", "ok", "critical"]
    found = reading(database, "t3")
    assert found is not None
    assert found.finished == NOW - 49 - 7200


def test_thresholds_make_the_state(database: Database, host: Host, intake: Intake) -> None:
    """In the transaction that keeps the reading."""
    probe = with_probe(database, warning="4", critical="8")
    states = []
    for number, data in enumerate(["1", "5", "9", "nan"]):
        issue(database, host, f"t{number}", host_probe_id=probe, issued=NOW)
        intake.take([delivery(f"t{number}", data, at=NOW + number)])
        with database.read() as db:
            states.append(latest(db)[0].state)

    assert states == ["ok", "warning", "critical", "unknown"]
    with database.read() as db:
        (sums,) = db.execute(select(schema.rollup_5m)).all()
    assert (sums.n, sums.missing, sums.warnings, sums.criticals, sums.worst) == (3, 1, 1, 1, 3)


def test_a_host_that_hands_in_has_been_seen(database: Database, host: Host, intake: Intake) -> None:
    """And a silent one is back."""
    with database.write() as db:
        db.execute(update(schema.host).values(silent=NOW - 100))
    issue(database, host, "t")
    intake.take([delivery("t")])

    with database.read() as db:
        row = db.execute(select(schema.host.c.seen, schema.host.c.silent)).one()
    assert tuple(row) == (NOW, None)


def test_a_bug_in_one_result_does_not_cost_the_others_theirs(database: Database, host: Host) -> None:
    """Whoever waited with it is answered."""

    def broken(_db: object, _ticket: object, content: dict[str, Any], _now: float) -> None:
        if content["message"] == "bad":
            raise RuntimeError("a bug")

    intake = Intake(database, AddressBook(Names()), [broken], clock=lambda: NOW)
    issue(database, host, "good", "bad", method="cmd_status")
    good, bad = (intake_request(delivery(name, name, "cmd_status")) for name in ("good", "bad"))
    intake._serve([good, bad])

    assert (list(good.answers), good.error) == (["OK"], None)
    assert isinstance(bad.error, RuntimeError)
    assert ticket_story(database, "bad").state == "issued"


def intake_request(*deliveries: Delivery) -> Any:
    """What waits for the intake's thread."""
    from monagent.server.intake import _Request  # noqa: PLC0415

    return _Request(deliveries)


def test_before_the_database_is_there_nothing_is_taken(database: Database) -> None:
    """The agents keep it."""
    with pytest.raises(StoreAway):
        Intake(database, AddressBook(Names())).take([delivery("t")])
