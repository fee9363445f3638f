"""Mails on disk: once each, in order, over restarts."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from monagent.errors import Busy, JournalError
from monagent.mail import queue
from monagent.mail.outbox import GIVE_UP_SECONDS, Outbox, result_of
from monagent.mail.queue import Due, Fate, Mail, Queue
from monagent.mail.settings import Server
from monagent.mail.transport import Reply, Session


class Clock:
    """A clock that a test turns."""

    now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    """One of them."""
    return Clock()


@pytest.fixture
def mails(tmp_path: Path, clock: Clock) -> Queue:
    """An empty queue."""
    return Queue(tmp_path / "mail.db", clock)


def mail(name: str, *to: str, incidents: tuple[str, ...] = (), key: str = "", lean: bytes | None = None) -> Mail:
    """A mail that says its name."""
    return Mail("ops", name, f"<{name}@x>", "mon@b.c", to or ("a@b.c",), name.encode(), lean, incidents, key)


def due(mails: Queue) -> tuple[str, tuple[str, ...]] | None:
    """What goes next, to whom."""
    found = mails.next_due()
    return (found.data.decode(), found.recipients) if found else None


def put_off(mails: Queue, seconds: float, clock: Clock) -> None:
    """The mail whose turn it is is not taken now."""
    found = mails.next_due()
    assert found is not None
    mails.settle(found.id, dict.fromkeys(found.recipients, (queue.WAITING, "451")), until=clock.now + seconds)


def test_what_a_job_brought_is_kept_once(mails: Queue) -> None:
    """However often it is taken up again."""
    mails.put([mail("one", key="job")])
    mails.put([mail("again", key="job"), mail("two")])

    assert [one.subject for one in mails.waiting()] == ["one", "two"]


def test_mails_go_in_order_and_a_crash_changes_nothing(mails: Queue, tmp_path: Path, clock: Clock) -> None:
    """The queue is opened again as it is on disk."""
    mails.put([mail("one"), mail("two")])
    other = Queue(tmp_path / "mail.db", clock)

    assert due(other) == ("one", ("a@b.c",))
    found = other.next_due()
    assert found is not None
    other.settle(found.id, {"a@b.c": (queue.TAKEN, "250")})
    assert due(Queue(tmp_path / "mail.db", clock)) == ("two", ("a@b.c",))


def test_later_mails_to_the_same_recipient_wait_for_a_while(mails: Queue, clock: Clock) -> None:
    """Others do not; and nobody is shut off for long by one mail that is put off again and again."""
    mails.put([mail("one"), mail("two", "a@b.c", "d@e.f")])
    put_off(mails, 3600, clock)

    assert due(mails) == ("two", ("d@e.f",))
    clock.now += queue.ORDER_SECONDS
    assert due(mails) == ("two", ("a@b.c", "d@e.f"))


def test_a_recovery_never_overtakes_its_alarm(mails: Queue, clock: Clock) -> None:
    """However long that is put off."""
    mails.put([mail("alarm", incidents=("i",)), mail("end", incidents=("i",)), mail("other")])
    put_off(mails, 80_000, clock)
    clock.now += queue.ORDER_SECONDS

    assert due(mails) == ("other", ("a@b.c",))
    found = mails.next_due()
    assert found is not None
    mails.settle(found.id, {"a@b.c": (queue.TAKEN, "")})
    assert due(mails) is None


def test_a_clock_that_stepped_back_holds_nothing_up(mails: Queue, clock: Clock) -> None:
    """What was put off until far ahead is tried."""
    mails.put([mail("one")])
    clock.now += 10_000_000
    put_off(mails, 60, clock)
    clock.now -= 10_000_000

    assert due(mails) == ("one", ("a@b.c",))


def test_mails_of_an_incident_are_one_thread(mails: Queue, clock: Clock) -> None:
    """The oldest first; for months."""
    for name in ("one", "two"):
        mails.put([mail(name, incidents=("i", "j"))])
        clock.now += 1
    mails.put([mail("three", incidents=("k",))])

    assert mails.thread(["i", "j"]) == ["<one@x>", "<two@x>"]
    assert mails.thread(["k", "nothing"]) == ["<three@x>"]


def test_memory_changes_with_the_mails_or_not_at_all(mails: Queue, monkeypatch: pytest.MonkeyPatch) -> None:
    """A queue that is full takes neither."""
    mails.put([mail("one")], {"a": [1]})
    monkeypatch.setattr(queue, "LIMIT", 1)
    with pytest.raises(Busy, match="1 mails"):
        mails.put([mail("two")], {"a": [2]})

    assert mails.remembered() == {"a": [1]}
    mails.put([], {"a": None})
    assert mails.remembered() == {}


def test_the_file_is_for_nobody_else(mails: Queue, tmp_path: Path) -> None:
    """What is in mails is private."""
    assert {file.stat().st_mode & 0o777 for file in tmp_path.iterdir()} == {0o600}


def test_what_is_no_queue_is_said(tmp_path: Path) -> None:
    """With its path."""
    (tmp_path / "mail.db").write_text("x" * 5000)
    with pytest.raises(JournalError, match=r"mail\.db: cannot be opened as a queue of mails"):
        Queue(tmp_path / "mail.db")


def test_what_was_settled_is_forgotten_after_a_week(mails: Queue, clock: Clock) -> None:
    """Not before: its job may ask again after a restart."""
    mails.put([mail("one", key="job")])
    mails.settle(1, {"a@b.c": (queue.TAKEN, "250")})
    clock.now += queue.KEPT_SECONDS - 1
    mails.tidy()
    assert mails.fate("job") is not None
    clock.now += 2
    mails.tidy()

    assert mails.fate("job") is None


class Scripted(Session):
    """A session that answers as a test says: the seam behind which a mail server stands."""

    def __init__(self, answer: Callable[[Due | bytes], Any]) -> None:
        self.server = Server("x", 25)
        self._answer = answer

    def send(self, _sender: str, recipients: Any, data: bytes) -> Any:
        return dict.fromkeys(recipients, self._answer(data))

    def close(self) -> None:
        pass


def test_what_is_put_off_for_three_days_is_given_up(mails: Queue, clock: Clock) -> None:
    """With growing pauses until then, and the last answer in the outcome."""
    settled: list[Fate] = []
    times: list[float] = []
    outbox = Outbox(
        mails, [Server("x", 25)], on_settled=settled.append, clock=clock, join=lambda _server: Scripted(answer)
    )

    def answer(_data: object) -> Reply:
        times.append(clock.now)
        return Reply(451, "later")

    mails.put([mail("one")])
    started = clock.now
    while not settled:
        if mails.next_due():
            outbox._turn()
        clock.now += 5
    pauses = [later - sooner for sooner, later in pairwise(times)]

    assert GIVE_UP_SECONDS <= times[-1] - started < GIVE_UP_SECONDS + 1900
    assert pauses[:4] < pauses[3:7]
    assert max(pauses) <= 1805
    assert result_of(settled[0])["status"] == "error"
    assert "not for a@b.c (451 later)" in str(result_of(settled[0])["message"])
