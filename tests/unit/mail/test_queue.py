"""Mails on disk: once each, in order, over restarts."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from monagent.errors import Busy, JournalError, Unavailable
from monagent.mail import outbox, queue
from monagent.mail.outbox import GIVE_UP_SECONDS, Outbox, result_of
from monagent.mail.queue import Due, Fate, Mail, Queue
from monagent.mail.settings import Server
from monagent.mail.transport import LoginRefused, MailTooLarge, Reply, Session


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
    found, _ = mails.next_due()
    return (found.data.decode(), found.recipients) if found else None


def put_off(mails: Queue, seconds: float, clock: Clock) -> None:
    """The mail whose turn it is is not taken now."""
    found, _ = mails.next_due()
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
    found, _ = other.next_due()
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
    found, _ = mails.next_due()
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


def test_what_is_put_off_for_three_days_is_given_up(
    mails: Queue, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With growing pauses until then, and the last answer in the outcome."""
    monkeypatch.setattr(outbox, "CHANCE_SECONDS", 0.0)
    settled: list[Fate] = []
    times: list[float] = []
    box = Outbox(
        mails, [Server("x", 25)], on_settled=settled.append, clock=clock, join=lambda _server: Scripted(answer)
    )

    def answer(_data: object) -> Reply:
        times.append(clock.now)
        return Reply(451, "later")

    mails.put([mail("one")])
    started = clock.now
    while not settled:
        if mails.next_due()[0]:
            box._turn()
        clock.now += 5
    pauses = [later - sooner for sooner, later in pairwise(times)]

    assert GIVE_UP_SECONDS <= times[-1] - started < GIVE_UP_SECONDS + 1900
    assert pauses[:4] < pauses[3:7]
    assert max(pauses) <= 1805
    assert result_of(settled[0])["status"] == "error"
    assert "not for a@b.c (451 later)" in str(result_of(settled[0])["message"])


class Scene:
    """An outbox with servers that answer as a test says, turned by hand."""

    def __init__(self, mails: Queue, clock: Clock, *answers: Callable[[bytes], Reply]) -> None:
        self.asked: list[tuple[int, bytes]] = []
        self.settled: list[Fate] = []
        servers = [Server(f"s{number}", 25) for number in range(len(answers))]

        def join(server: Server) -> Session:
            number = servers.index(server)

            def answer(data: bytes) -> Reply:
                self.asked.append((number, data))
                return answers[number](data)

            session = Scripted(answer)  # type: ignore[arg-type]
            session.server = server
            return session

        self.outbox = Outbox(mails, servers, on_settled=self.settled.append, clock=clock, join=join)
        self.outbox._wait = lambda _seconds: False  # type: ignore[method-assign]


def taken(_data: bytes) -> Reply:
    """Yes."""
    return Reply(250, "ok")


def hangs_up(_data: bytes) -> Reply:
    """Neither yes nor no."""
    raise Unavailable("gone")


def test_a_mail_that_servers_hang_up_on_holds_up_no_other(mails: Queue, clock: Clock) -> None:
    """It has its own pauses."""
    mails.put([mail("bad", "x@y.z"), *(mail(f"good{number}", f"{number}@b.c") for number in range(4))])
    scene = Scene(mails, clock, lambda data: hangs_up(data) if data == b"bad" else taken(data))
    for _ in range(6):
        scene.outbox._turn()

    assert [fate.subject for fate in scene.settled] == [f"good{number}" for number in range(4)]
    assert [(one.subject, one.attempts) for one in mails.waiting()] == [("bad", 1)]


def test_servers_that_hang_up_on_everything_are_away(mails: Queue, clock: Clock) -> None:
    """The second mail shows it."""
    mails.put([mail(str(number), f"{number}@b.c") for number in range(5)])
    scene = Scene(mails, clock, hangs_up)
    for _ in range(5):
        scene.outbox._turn()

    assert len(scene.asked) == 2
    assert scene.outbox.away == "gone"


@pytest.mark.parametrize("first", [hangs_up, lambda _data: Reply(452, "disk full")])
def test_the_next_server_is_tried_at_once(mails: Queue, clock: Clock, first: Callable[[bytes], Reply]) -> None:
    """Where the first one cannot take it now."""
    mails.put([mail("one")])
    scene = Scene(mails, clock, first, taken)
    scene.outbox._turn()

    assert [number for number, _ in scene.asked] == [0, 1]
    assert [fate.recipients["a@b.c"][0] for fate in scene.settled] == ["taken"]


def test_what_the_server_took_is_not_sent_again_because_the_disk_is_full(
    mails: Queue, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not even when the server had been away before."""
    mails.put([mail("one"), mail("two")])
    scene = Scene(mails, clock, taken)
    scene.outbox.away = "gone"

    def fail(_number: int) -> None:
        raise JournalError("full")

    monkeypatch.setattr(mails, "hurry", fail)
    scene.outbox._turn()
    scene.outbox._turn()

    assert [data for _, data in scene.asked] == [b"one", b"two"]
    assert scene.outbox.away == ""


def test_a_host_that_was_off_for_days_gives_mails_a_chance(mails: Queue, clock: Clock) -> None:
    """The network is not there yet when it starts."""
    mails.put([mail("one")])
    clock.now += 5 * 86_400
    scene = Scene(mails, clock, taken)
    scene.outbox._go_away("no network yet")
    assert scene.settled == []
    scene.outbox._resume = 0.0
    scene.outbox._turn()

    assert [fate.recipients["a@b.c"][0] for fate in scene.settled] == ["taken"]


def test_many_that_wait_are_found_quickly_and_nobody_looks_for_nothing(mails: Queue, clock: Clock) -> None:
    """The time to look again is when one of them may go."""
    mails.put([mail(str(number), incidents=(f"i{number % 3}",)) for number in range(300)])
    put_off(mails, 3600, clock)

    found, when = mails.next_due()
    assert (found, when) == (None, clock.now + queue.ORDER_SECONDS)
    clock.now += queue.ORDER_SECONDS
    assert due(mails) == ("1", ("a@b.c",))


def test_a_mail_that_servers_hang_up_on_is_given_up_some_day(
    mails: Queue, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What waits for it goes on then."""
    monkeypatch.setattr(outbox, "CHANCE_SECONDS", 0.0)
    mails.put([mail("bad", "x@y.z", incidents=("i",)), mail("end", "x@y.z", incidents=("i",))])
    scene = Scene(mails, clock, lambda data: hangs_up(data) if data == b"bad" else taken(data))
    for _ in range(400):
        scene.outbox._resume = 0.0
        scene.outbox._turn()
        clock.now += 1800

    assert [(fate.subject, fate.recipients["x@y.z"][0]) for fate in scene.settled] == [
        ("bad", "given up"),
        ("end", "taken"),
    ]


def test_one_mail_that_breaks_the_connection_again_and_again_is_no_outage(mails: Queue, clock: Clock) -> None:
    """A later one goes at once."""
    mails.put([mail("bad", "x@y.z")])
    scene = Scene(mails, clock, lambda data: hangs_up(data) if data == b"bad" else taken(data))
    for _ in range(20):
        scene.outbox._turn()
        clock.now += 1800
    assert scene.outbox.away == ""
    mails.put([mail("good")])
    clock.now -= 1
    scene.outbox._turn()
    scene.outbox._turn()

    assert [fate.subject for fate in scene.settled] == ["good"]


def test_who_has_a_mail_does_not_get_it_again_without_its_attachments(mails: Queue, clock: Clock) -> None:
    """The first server took it for one, and the second one finds it too large for the other."""
    mails.put([mail("one", "a@b.c", "d@e.f", lean=b"lean")])
    scene = Scene(mails, clock, taken, taken)
    answers = [
        {"a@b.c": Reply(250, ""), "d@e.f": Reply(451, "")},
        MailTooLarge("552"),
    ]
    sent: list[tuple[list[str], bytes]] = []

    def send(_self: Session, _sender: str, recipients: Any, data: bytes) -> Any:
        sent.append((list(recipients), data))
        answer = answers.pop(0) if answers else dict.fromkeys(recipients, Reply(250, ""))
        if isinstance(answer, Exception):
            raise answer
        return answer

    original, Scripted.send = Scripted.send, send  # type: ignore[method-assign]
    try:
        scene.outbox._turn()
        scene.outbox._turn()
    finally:
        Scripted.send = original  # type: ignore[method-assign]

    assert sent == [(["a@b.c", "d@e.f"], b"one"), (["d@e.f"], b"one"), (["d@e.f"], b"lean")]


def test_a_bug_in_one_server_or_mail_stops_no_other(mails: Queue, clock: Clock) -> None:
    """It is put off like one that servers hang up on."""
    mails.put([mail("bad", "x@y.z"), mail("good")])

    def answer(data: bytes) -> Reply:
        if data == b"bad":
            raise RuntimeError("bug")
        return taken(data)

    scene = Scene(mails, clock, answer)
    scene.outbox._turn()
    scene.outbox._turn()

    assert [fate.subject for fate in scene.settled] == ["good"]


def test_a_server_that_refused_our_login_is_left_alone_for_a_while(mails: Queue, clock: Clock) -> None:
    """While another one takes the mails."""
    logins: list[str] = []

    def join(server: Server) -> Session:
        logins.append(server.host)
        if server.host == "s0":
            raise LoginRefused("535")
        session = Scripted(taken)  # type: ignore[arg-type]
        session.server = server
        return session

    box = Outbox(mails, [Server("s0", 25), Server("s1", 25)], clock=clock, join=join)
    for number in range(5):
        mails.put([mail(str(number))])
        box._turn()
        box._servers.part()

    assert (logins.count("s0"), logins.count("s1"), box.held) == (1, 5, "")


def test_what_a_former_process_said_of_an_outage_counts_for_nothing(mails: Queue, clock: Clock) -> None:
    """It was killed while the server was away."""
    mails.put([mail("one")], {"trouble": "refused"})
    scene = Scene(mails, clock, taken)
    scene.outbox._turn = lambda: setattr(scene.outbox, "_stopping", True)  # type: ignore[method-assign]
    scene.outbox._run()

    assert mails.remembered() == {}


def test_any_answer_ends_what_is_said_of_an_outage(mails: Queue, clock: Clock) -> None:
    """Also a refusal."""
    mails.put([mail("one")])
    scene = Scene(mails, clock, lambda _data: Reply(550, "no"))
    scene.outbox._go_away("refused")
    assert mails.remembered() == {"trouble": "refused"}
    scene.outbox._resume = 0.0
    scene.outbox._turn()

    assert (scene.outbox.away, mails.remembered()) == ("", {})
