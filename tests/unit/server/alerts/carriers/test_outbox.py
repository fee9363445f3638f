"""The thread that sends: each notification once, in order, whatever dies in between."""

from __future__ import annotations

import threading
import time
from collections import Counter
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import update

from monagent.server.alerts.carriers.parcels import FAILED, LATER, SENT, Parcel, Verdict
from monagent.server.alerts.carriers.shelf import LEASE_SECONDS, Shelf
from monagent.server.alerts.carriers.webhook import WebhookChannel
from monagent.server.database import Database
from monagent.server.migrate import prepare
from monagent.server.schema import notification
from tests.unit.server.alerts.carriers.conftest import StartCarrier
from tests.unit.server.alerts.carriers.receiver import Receiver, until
from tests.unit.server.alerts.carriers.rows import (
    add_host,
    add_incident,
    notifications,
    put,
    secret_file,
    states,
)


def _hook(database: Database, receiver: Receiver, path: str, number: int = 0, **members: object) -> int:
    secret = {"secret_file": path, **members.pop("content", {})}  # type: ignore[dict-item]
    return put(database, channel="webhook", target=f"{receiver.url}/{number}", content=secret, **members)


def _claimed(database: Database, now: float) -> Parcel:
    parcel, _ = Shelf(database).claim(now)
    assert parcel is not None
    return parcel


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)  # SQLite is for one process
def test_two_carriers_send_each_of_many_once(
    database: Database, receiver: Receiver, carry: StartCarrier, tmp_path: Path
) -> None:
    """As two processes do that share a database."""
    path = secret_file(tmp_path)
    for number in range(200):
        _hook(database, receiver, path, number)
    carry(database)
    carry(database)

    receiver.wait(200)
    until(lambda: set(states(database)) == {SENT})
    told = Counter(event["id"] for heard in receiver.heard for event in heard.content["events"])
    assert len(told) == 200
    assert set(told.values()) == {1}


def test_what_a_dead_process_had_claimed_is_sent_after_the_lease(
    database: Database, receiver: Receiver, carry: StartCarrier, tmp_path: Path
) -> None:
    """Under the same identity, and not while the other one may live."""
    for _ in range(3):
        _hook(database, receiver, secret_file(tmp_path))
    now = time.time()
    dead = _claimed(database, now + 5)

    assert Shelf(database).claim(now + LEASE_SECONDS)[0] is None
    with database.write() as db:
        db.execute(update(notification).values(next_try=notification.c.next_try - LEASE_SECONDS - 5))
    carry(database)
    (heard,) = receiver.wait(1)
    assert heard.content["id"] == dead.batch
    assert [event["id"] for event in heard.content["events"]] == [f"{dead.batch}-{number}" for number in dead.ids]


def test_a_claim_that_is_kept_alive_is_nobody_elses(database: Database, receiver: Receiver, tmp_path: Path) -> None:
    """However slow the target is; until somebody else has it, and then it is not ours any more."""
    _hook(database, receiver, secret_file(tmp_path))
    now, shelf = time.time(), Shelf(database)
    ours = _claimed(database, now)
    shelf.renew(ours, now + 100)
    assert shelf.claim(now + 200)[0] is None

    theirs = _claimed(database, now + 100 + LEASE_SECONDS)
    shelf.renew(ours, now + 1000)
    shelf.settle(ours, Verdict(LATER, "busy"), now, now + 9999)
    assert (theirs.batch, theirs.attempts) == (ours.batch, 2)
    assert notifications(database)[0].next_try == pytest.approx(now + 100 + 2 * LEASE_SECONDS)
    shelf.settle(ours, Verdict(SENT), now, 0.0)
    assert states(database) == [SENT]


def test_a_recovery_never_overtakes_its_problem(database: Database, receiver: Receiver, tmp_path: Path) -> None:
    """Neither while that waits for its next try, nor while somebody is at it; what failed holds nobody up."""
    incident, path = add_incident(database, add_host(database)), secret_file(tmp_path)
    now = time.time()
    _hook(database, receiver, path, incident_id=incident)
    recovery = _hook(database, receiver, path, incident_id=incident, what="recovery")
    other = _hook(database, receiver, path, number=1, incident_id=incident, what="recovery")
    shelf = Shelf(database)
    problem = _claimed(database, now + 5)

    elsewhere = _claimed(database, now + 5)
    assert elsewhere.ids == [other]
    shelf.settle(elsewhere, Verdict(SENT), now, 0.0)
    assert shelf.claim(now + 5)[0] is None
    shelf.settle(problem, Verdict(LATER, "busy"), now, now + 900)
    assert shelf.claim(now + 600)[0] is None
    shelf.settle(_claimed(database, now + 900), Verdict(FAILED, "no"), now, 0.0)
    assert _claimed(database, now + 900).ids == [recovery]


def test_what_is_put_off_on_purpose_holds_nobody_up(database: Database, receiver: Receiver, tmp_path: Path) -> None:
    """An alert with a delay waits for itself alone."""
    incident, path = add_incident(database, add_host(database)), secret_file(tmp_path)
    now = time.time()
    _hook(database, receiver, path, incident_id=incident, rule="patient", next_try=now + 600)
    prompt = _hook(database, receiver, path, incident_id=incident)

    assert _claimed(database, now + 5).ids == [prompt]


def test_a_receiver_that_is_down_gets_it_later(
    database: Database, receiver: Receiver, carry: StartCarrier, tmp_path: Path
) -> None:
    """It is written down why, and when it is tried again; others go out meanwhile."""
    path = secret_file(tmp_path)
    receiver.reply = lambda heard: (503, b"down") if heard.path == "/0" else (200, b"")
    _hook(database, receiver, path)
    carry(database)
    receiver.wait(1)
    _hook(database, receiver, path, number=1)
    receiver.wait(2)

    until(lambda: states(database)[1] == SENT)
    row = notifications(database)[0]
    assert (row.state, row.attempts, row.trouble) == ("waiting", 1, "the receiver answered HTTP 503: down")
    assert 3 < row.next_try - time.time() < 11


def test_a_target_that_is_away_keeps_nobody_waiting(
    database: Database, receiver: Receiver, carry: StartCarrier, tmp_path: Path
) -> None:
    """The second one for it is not even tried."""
    path = secret_file(tmp_path)
    put(database, channel="webhook", target="http://127.0.0.1:9/x", content={"secret_file": path})
    carry(database)
    until(lambda: notifications(database)[0].trouble)
    put(database, channel="webhook", target="http://127.0.0.1:9/x", content={"secret_file": path})
    _hook(database, receiver, path)

    receiver.wait(1)
    until(lambda: states(database)[2] == SENT)
    assert [row.attempts for row in notifications(database)] == [1, 0, 1]
    assert notifications(database)[0].trouble == "127.0.0.1 port 9: connection refused"


def test_a_wrong_channel_is_said(database: Database, carry: StartCarrier) -> None:
    """It fails at once, and is counted."""
    put(database, channel="pigeon")
    carrier = carry(database)
    until(lambda: states(database) == [FAILED])

    assert notifications(database)[0].trouble == 'this server has no way to send by "pigeon"'
    put(database, next_try=time.time() + 900, created=5.0)
    assert carrier.status() == {"waiting": 1, "oldest": 5.0, "failed": 1, "trouble": ""}


def test_a_bug_with_one_notification_does_not_keep_the_others(
    database: Database, receiver: Receiver, carry: StartCarrier, tmp_path: Path
) -> None:
    """The thread lives on; that one says why it waits, and is given up in the end as any other."""
    _hook(database, receiver, secret_file(tmp_path))
    old = time.time() - 5 * 86_400
    _hook(database, receiver, secret_file(tmp_path), created=old, attempts=9, batch="b" * 32)
    carrier = carry(database, webhook=_Buggy())
    _hook(database, receiver, secret_file(tmp_path), number=1)

    until(lambda: states(database) == ["waiting", FAILED, SENT])
    assert carrier.ailing() == ""
    waits, given_up, _ = notifications(database)
    assert (waits.attempts, waits.trouble) == (1, "ZeroDivisionError; the log tells more")
    assert 3 < waits.next_try - time.time() < 11
    assert given_up.trouble.startswith("given up after 10 tries in 5 days: ZeroDivisionError")


def test_what_went_together_and_failed_goes_apart(
    database: Database, receiver: Receiver, carry: StartCarrier, tmp_path: Path
) -> None:
    """One that is wrong costs itself alone."""
    path = secret_file(tmp_path)
    for message in ("good", "bad", "good"):
        _hook(database, receiver, path, content={"message": message}, batch="b" * 32)
    carry(database, webhook=_Buggy())
    until(lambda: all(row.trouble for row in notifications(database)))
    with database.write() as db:
        db.execute(update(notification).values(next_try=0.0))

    until(lambda: states(database) == [SENT, "waiting", SENT])
    assert len({row.batch for row in notifications(database)}) == 3


def test_a_channel_that_hangs_keeps_no_other(
    database: Database, receiver: Receiver, carry: StartCarrier, tmp_path: Path
) -> None:
    """A mail server that takes and says nothing delays mails alone."""
    slow = _Slow()
    put(database)
    carry(database, mail=slow, webhook=WebhookChannel())
    assert slow.begun.wait(10)
    _hook(database, receiver, secret_file(tmp_path))

    receiver.wait(1)
    until(lambda: states(database) == ["waiting", SENT])
    slow.go_on.set()
    until(lambda: states(database) == [SENT, SENT])


def test_content_that_makes_no_sense_keeps_nobody(
    database: Database, receiver: Receiver, carry: StartCarrier, tmp_path: Path
) -> None:
    """It waits, and says what is missing."""
    _hook(database, receiver, secret_file(tmp_path))
    with database.write() as db:
        db.execute(update(notification).values(content=["not", "a", "struct"]))
    carry(database)

    until(lambda: notifications(database)[0].trouble)
    assert notifications(database)[0].trouble == "the webhook of the alert ops has no secret_file to sign by"


class _Buggy(WebhookChannel):
    """Cannot bear the first target, but for what is good."""

    def send(self, parcel: Parcel) -> Verdict:
        if parcel.target.endswith("/0") and any(note.content["message"] != "good" for note in parcel.notes):
            raise ZeroDivisionError
        return super().send(parcel)


class _Slow:
    """Takes as long as a test wants."""

    shared = True

    def __init__(self) -> None:
        self.begun, self.go_on = threading.Event(), threading.Event()

    def send(self, _parcel: Parcel) -> Verdict:
        self.begun.set()
        self.go_on.wait(20)
        return Verdict(SENT)

    def rest(self) -> None:
        """Nothing is kept."""


def test_a_database_that_is_not_there_yet_is_waited_for(
    receiver: Receiver, carry: StartCarrier, tmp_path: Path
) -> None:
    """The thread says so, lives on, and sends once it is there."""
    directory = tmp_path / "later"
    database = Database(f"sqlite:///{directory}/store.db")
    carrier = carry(database)
    until(lambda: "cannot be used now" in carrier.trouble)
    directory.mkdir()
    prepare(database)
    _hook(database, receiver, secret_file(tmp_path))

    receiver.wait(1)
    until(lambda: states(database) == [SENT] and not carrier.trouble)
    database.close()


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)  # a file that is open does not go away
def test_a_database_that_goes_away_while_something_is_sent_hears_of_it_later(
    database: Database, receiver: Receiver, carry: StartCarrier, tmp_path: Path
) -> None:
    """What the receiver has is not sent again: that it has it is written down as soon as it can be."""
    name, directory = database.engine.url.database, database.engine.url.query["host"]
    admin = psycopg.connect(f"postgresql://postgres@/postgres?host={directory}", autocommit=True)

    def fall_over(_heard: object) -> tuple[int, bytes]:
        admin.execute(f"alter database {name} allow_connections false")
        admin.execute("select pg_terminate_backend(pid) from pg_stat_activity where datname = %s", [name])
        return 200, b""

    _hook(database, receiver, secret_file(tmp_path))
    receiver.reply = fall_over
    carrier = carry(database)
    until(lambda: "cannot be used now" in carrier.trouble)
    admin.execute(f"alter database {name} allow_connections true")
    admin.close()

    until(lambda: states(database) == [SENT])
    until(lambda: not carrier.trouble)
    assert len(receiver.heard) == 1
