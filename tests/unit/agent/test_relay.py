"""The relay against real servers on loopback, with a clock that the test turns."""

from __future__ import annotations

import logging
import socket
import threading
import time
import xmlrpc.client
from collections import Counter
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from monagent.agent.journal import Journal
from monagent.agent.relay import ASK_AGAIN_SECONDS, FIRST_PAUSE, LAST_PAUSE, REFUSED_PAUSES, TRIES, Relay
from monagent.errors import Unavailable
from monagent.rpc.client import Client
from tests.support.monitor import Monitor
from tests.support.ports import free_port
from tests.unit.agent.conftest import OpenJournal
from tests.unit.agent.parts import NOON, STATUS, Clock, accepted, command, finish, reading, rows, state, wait_until

StartRelay = Callable[..., Relay]


@pytest.fixture
def clock() -> Clock:
    """Stands at noon until it is turned."""
    return Clock()


@pytest.fixture
def journal(open_journal: OpenJournal, clock: Clock) -> Journal:
    """A journal by that clock."""
    return open_journal(clock=clock)


@pytest.fixture
def start(journal: Journal, clock: Clock) -> Iterator[StartRelay]:
    """Starts relays that are stopped at the end."""
    started: list[Relay] = []

    def make(url: str, **settings: Any) -> Relay:
        relay = Relay(journal, Client(url, timeout=5), clock=clock, **settings)
        relay.start()
        started.append(relay)
        return relay

    yield make
    for relay in started:
        relay.stop(time.monotonic() + 10)


def finished(journal: Journal, *tickets: int | str, method: str = "cmd_submit_reading") -> None:
    """Accept and finish commands with these tickets, in this order."""
    outcome = reading() if method == "cmd_submit_reading" else {"status": "ok", "message": "fine"}
    finish(journal, *accepted(journal, *(command(ticket, method=method) for ticket in tickets)), outcome=outcome)


def settled(journal: Journal, ticket: int | str) -> str:
    """The state of the last command with this ticket."""
    return str(rows(journal._path, f"select state from command where ticket = '{ticket}' order by id")[-1][0])


# -- the end ------------------------------------------------------------------------------------------------------


def test_the_last_results_are_handed_in_before_the_end(
    journal: Journal, start: StartRelay, plain_monitor: Monitor
) -> None:
    """All that are due, but not those that the server has refused and that wait for their next try."""
    plain_monitor.refuse = lambda ticket: ticket == 3
    relay = start(plain_monitor.url)
    finished(journal, *range(1, 250))
    relay.hand_in_the_rest(time.monotonic() + 10)

    assert len(plain_monitor.tickets()) == 248
    assert settled(journal, 3) == "finished"


@pytest.mark.parametrize("answers", [True, False])
def test_a_server_that_takes_nothing_does_not_hold_up_the_end(journal: Journal, clock: Clock, answers: bool) -> None:
    """Neither one that is away nor one that never answers."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        if answers:
            listener.listen()
        relay = Relay(journal, Client(f"http://127.0.0.1:{listener.getsockname()[1]}/", timeout=3), clock=clock)
        relay.start()
        finished(journal, 1)
        begun = time.monotonic()
        relay.hand_in_the_rest(begun + 0.5)
        assert time.monotonic() - begun < 1.5
        relay.stop(time.monotonic() + 10)

    assert settled(journal, 1) == "finished"


# -- handing in ---------------------------------------------------------------------------------------------------


def test_results_arrive_in_the_order_of_completion(journal: Journal, start: StartRelay, plain_monitor: Monitor) -> None:
    """One by one to a plain server."""
    finished(journal, *range(30))
    start(plain_monitor.url)
    plain_monitor.wait_for(30)

    assert plain_monitor.tickets() == list(range(30))
    assert plain_monitor.multicalls == 0


def test_an_extended_server_gets_many_results_at_once(journal: Journal, start: StartRelay, monitor: Monitor) -> None:
    """250 results are three multicalls, in order."""
    jobs = accepted(journal, *map(command, range(250)))
    for job in jobs:
        journal.finish(job, reading(), NOON)
    wait_until(lambda: journal.counts()["finished"] == 250, "all results are on disk")
    start(monitor.url)
    monitor.wait_for(250)

    assert monitor.tickets() == list(range(250))
    assert monitor.multicalls == 3


def test_large_results_are_spread_over_several_calls(journal: Journal, start: StartRelay, monitor: Monitor) -> None:
    """A multicall stays within what a server takes."""
    for ticket in range(8):
        (job,) = accepted(journal, command(ticket))
        finish(journal, job, outcome={**reading(), "stderr": "x" * 200_000})
    start(monitor.url)
    monitor.wait_for(8)

    assert monitor.tickets() == list(range(8))
    assert monitor.multicalls >= 3


def test_a_new_result_is_handed_in_when_the_relay_is_woken(
    journal: Journal, start: StartRelay, monitor: Monitor
) -> None:
    """It does not wait for the next look at the clock."""
    relay = start(monitor.url)
    time.sleep(0.2)
    finished(journal, "t")
    started = time.monotonic()
    relay.wake()
    monitor.wait_for(1)

    assert time.monotonic() - started < 3


def test_delivery_is_noted(journal: Journal, start: StartRelay, monitor: Monitor, clock: Clock) -> None:
    """When it was, and that nothing waits any more."""
    relay = start(monitor.url)
    assert relay.last_delivery is None
    finished(journal, "t")
    relay.wake()
    wait_until(lambda: relay.last_delivery == clock.now, "the delivery is noted")

    assert journal.counts() == {"accepted": 0, "finished": 0, "rejected": 0}


# -- dialects -----------------------------------------------------------------------------------------------------


def test_a_plain_server_gets_two_members_and_an_extended_one_three(
    journal: Journal, start: StartRelay, plain_monitor: Monitor, monitor: Monitor
) -> None:
    """What the original server stores stays as it was."""
    finished(journal, "t")
    start(plain_monitor.url).wake()
    (plain,) = plain_monitor.wait_for(1)
    wait_until(lambda: settled(journal, "t") == "delivered", "the journal knows")
    finished(journal, "t")
    start(monitor.url)
    (extended,) = monitor.wait_for(1)

    assert plain.content == [0, "1"]
    assert extended.content[:2] == [0, "1"]
    assert set(extended.content[2]) == {"started", "duration", "error", "stderr", "metrics"}


def test_a_command_result_never_goes_to_a_plain_server(
    journal: Journal, start: StartRelay, plain_monitor: Monitor, caplog: pytest.LogCaptureFixture
) -> None:
    """It is logged and closed, and the readings around it arrive."""
    caplog.set_level(logging.INFO)
    finished(journal, "before")
    finished(journal, "status", method=STATUS)
    finished(journal, "after")
    start(plain_monitor.url)
    plain_monitor.wait_for(2)
    wait_until(lambda: settled(journal, "status") == "closed", "the result is closed")

    assert plain_monitor.tickets() == ["before", "after"]
    assert "result kept here ticket=status method=cmd_status: fine" in caplog.text


def test_a_server_that_comes_back_in_another_dialect_is_asked_again(
    journal: Journal, start: StartRelay, plain_monitor: Monitor
) -> None:
    """An outage may have been an upgrade: the next result goes out in the new dialect."""
    relay = start(plain_monitor.url)
    finished(journal, "first")
    relay.wake()
    plain_monitor.wait_for(1)
    plain_monitor.stop()
    finished(journal, "during")
    relay.wake()
    wait_until(lambda: relay.away_since is not None, "the outage is noticed")
    plain_monitor._extended = True
    plain_monitor.start()
    plain_monitor.wait_for(2)

    assert len(plain_monitor.handed[1].content) == 3


@pytest.mark.parametrize("upgraded", [True, False])
def test_a_server_that_was_exchanged_while_nothing_was_due_is_asked_again(
    journal: Journal, start: StartRelay, clock: Clock, upgraded: bool
) -> None:
    """An outage that no delivery fell into may have been an upgrade, or its undoing, all the same."""
    server = Monitor(extended=not upgraded)
    server.start()
    relay = start(server.url)
    finished(journal, "first")
    relay.wake()
    server.wait_for(1)
    wait_until(lambda: settled(journal, "first") == "delivered", "the journal knows")
    server.stop()
    time.sleep(0.2)
    server._extended = upgraded
    server.start()
    clock.now += ASK_AGAIN_SECONDS + 1
    finished(journal, "second")
    finished(journal, "status", method=STATUS)
    relay.wake()
    try:
        second = server.wait_for_ticket("second", 10)
        wait_until(lambda: settled(journal, "status") != "finished", "the outcome is settled", seconds=10)

        assert len(second.content) == (3 if upgraded else 2)
        assert settled(journal, "status") == ("delivered" if upgraded else "closed")
    finally:
        server.stop()


# -- outages ------------------------------------------------------------------------------------------------------


def test_results_wait_for_a_server_that_is_away(
    journal: Journal, start: StartRelay, monitor: Monitor, caplog: pytest.LogCaptureFixture
) -> None:
    """The outage is said once, its end too, and everything arrives."""
    monitor.stop()
    finished(journal, *range(5))
    relay = start(monitor.url)
    wait_until(lambda: relay._pause > FIRST_PAUSE, "the second try has failed")
    assert relay.away_since == NOON
    assert journal.counts()["finished"] == 5
    monitor.start()
    monitor.wait_for(5)
    wait_until(lambda: relay.away_since is None, "the end of the outage is noticed")

    assert monitor.tickets() == list(range(5))
    assert caplog.text.count("server is away") == 1
    assert caplog.text.count("server is back") == 1


def test_the_pauses_of_an_outage_grow_up_to_a_limit(journal: Journal, caplog: pytest.LogCaptureFixture) -> None:
    """1, 2, 4, ... 300 seconds, and from the start again after a success."""
    relay = Relay(journal, Client("http://127.0.0.1:1/"), clock=Clock())
    relay._interrupted.set()  # so that no pause is really waited for
    pauses = []
    for _ in range(12):
        relay._away(Unavailable("away"))
        pauses.append(relay._pause)

    assert pauses == [min(FIRST_PAUSE * 2**number, LAST_PAUSE) for number in range(12)]
    relay._back()
    relay._away(Unavailable("away"))
    assert relay._pause == FIRST_PAUSE
    assert caplog.text.count("server is away") == 2


@pytest.mark.parametrize(
    ("status", "content", "body"),
    [
        pytest.param(500, "text/plain", b"oops", id="500"),
        pytest.param(503, "text/xml", b"<methodResponse/>", id="503"),
        pytest.param(302, "text/plain", b"", id="a redirect"),
        pytest.param(404, "text/html", b"<html>", id="404"),
        pytest.param(200, "text/html", b"<html><body>hello</body></html>", id="a web page"),
        pytest.param(200, "text/xml", b"", id="nothing"),
        pytest.param(200, "text/xml", b"<methodResponse><params/></methodResponse>", id="no value"),
    ],
)
def test_whatever_is_no_xmlrpc_answer_means_away(
    journal: Journal, start: StartRelay, monitor: Monitor, status: int, content: str, body: bytes
) -> None:
    """No try is counted against a result, and it arrives once the server is itself again."""

    class Strange(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(status)
            self.send_header("Content-Type", content)
            self.send_header("Location", monitor.url)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    monitor.stop()
    strange = ThreadingHTTPServer(("127.0.0.1", monitor.port), Strange)
    strange.daemon_threads = True
    threading.Thread(target=strange.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    finished(journal, "t")
    relay = start(monitor.url)
    wait_until(lambda: relay.away_since is not None, "the outage is noticed")
    strange.shutdown()
    strange.server_close()
    assert [result.attempts for result in journal.due(10)] == [0]
    monitor.start()
    monitor.wait_for(1)


def test_stopping_does_not_wait_for_a_server_that_is_away(journal: Journal, start: StartRelay) -> None:
    """The pause ends at once, and the result stays."""
    finished(journal, "t")
    relay = start(f"http://127.0.0.1:{free_port()}/")
    wait_until(lambda: relay.away_since is not None, "the outage is noticed")
    started = time.monotonic()
    relay.stop(started + 10)

    assert time.monotonic() - started < 5
    assert settled(journal, "t") == "finished"


# -- refusals -----------------------------------------------------------------------------------------------------


def test_a_refused_result_is_tried_five_times_over_growing_pauses(
    journal: Journal, start: StartRelay, monitor: Monitor, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    """1, 3, 9 and 27 seconds, a fifth more or less; then it is rejected, kept and not tried again."""
    tries = Counter[int | str]()

    def refuse(ticket: int | str) -> bool:
        tries[ticket] += 1
        return True

    monitor.refuse = refuse
    finished(journal, "bad")
    relay = start(monitor.url)
    for number, pause in enumerate(REFUSED_PAUSES, start=1):
        wait_until(lambda number=number: _attempts(journal) == number, "the try is noted")  # type: ignore[misc]
        due = journal.next_due()
        assert due is not None
        assert 0.8 * pause <= due - clock.now <= 1.2 * pause
        relay.wake()
        time.sleep(0.05)
        assert tries["bad"] == number, "it was tried before its time"
        clock.now = due
        relay.wake()
    wait_until(lambda: settled(journal, "bad") == "rejected", "it is rejected")
    clock.now += 1000
    relay.wake()
    time.sleep(0.1)

    assert tries["bad"] == TRIES
    assert journal.counts()["rejected"] == 1
    assert "result rejected ticket=bad after 5 tries: fault -32602: 'not a ticket of mine'" in caplog.text


def _attempts(journal: Journal) -> int:
    return int(rows(journal._path, "select attempts from command")[0][0])


@pytest.mark.parametrize("extended", [True, False])
def test_a_refused_result_never_holds_up_the_others(
    journal: Journal, start: StartRelay, monitor: Monitor, plain_monitor: Monitor, extended: bool
) -> None:
    """Results behind it, in the same multicall and in later ones, arrive in order."""
    server = monitor if extended else plain_monitor
    server.refuse = lambda ticket: ticket in ("bad", "worse")
    finished(journal, "bad", 1, "worse", 2)
    relay = start(server.url)
    server.wait_for(2)
    finished(journal, 3)
    relay.wake()
    server.wait_for(3)

    assert server.tickets() == [1, 2, 3]
    wait_until(lambda: settled(journal, 3) == "delivered", "the journal knows")
    assert {settled(journal, "bad"), settled(journal, "worse")} == {"finished"}


@pytest.mark.parametrize("extended", [True, False])
def test_a_rejected_ticket_stays_known_with_an_extended_server_alone(
    journal: Journal, start: StartRelay, monitor: Monitor, plain_monitor: Monitor, clock: Clock, extended: bool
) -> None:
    """A plain server may use the number again."""
    server = monitor if extended else plain_monitor
    server.refuse = lambda _ticket: True
    finished(journal, 1)
    relay = start(server.url)
    for number in range(1, TRIES):
        wait_until(lambda number=number: _attempts(journal) == number, "the try is noted")  # type: ignore[misc]
        clock.now += 100
        relay.wake()
    wait_until(lambda: settled(journal, 1) == "rejected", "it is rejected")

    if extended:
        assert journal.accept([command(1)]) == [None]
    else:
        accepted(journal, command(1))


def test_an_answer_other_than_ok_is_a_refusal(journal: Journal, start: StartRelay, monitor: Monitor) -> None:
    """A server that says something else has not said that it keeps the result."""
    monitor._take = lambda handed: monitor.handed.append(handed) or "thanks"  # type: ignore[method-assign,func-returns-value]
    finished(journal, "t")
    start(monitor.url)
    wait_until(lambda: _attempts(journal) == 1, "the try is noted")

    assert rows(journal._path, "select refusal from command") == [("the server answered 'thanks' instead of OK",)]


def test_a_server_that_refuses_the_multicall_itself_gets_the_results_one_by_one(
    journal: Journal, start: StartRelay, monitor: Monitor
) -> None:
    """So that the fault of one is not the fault of all."""

    def refuse(_calls: list[Any]) -> list[Any]:
        raise xmlrpc.client.Fault(-32600, "too many")

    monitor._multicall = refuse  # type: ignore[method-assign,assignment]
    monitor.stop()
    monitor.start()
    finished(journal, *range(5))
    start(monitor.url)
    monitor.wait_for(5)

    assert monitor.tickets() == list(range(5))


def test_a_result_that_cannot_be_put_on_the_wire_does_not_hold_up_the_others(
    journal: Journal, start: StartRelay, monitor: Monitor
) -> None:
    """Whatever a command leaves behind, the results of the others go on arriving."""
    (job,) = accepted(journal, command("poison", method=STATUS))
    finish(journal, job, outcome={"status": "ok", "message": "", "share": float("inf")})
    finished(journal, "good")
    start(monitor.url)

    monitor.wait_for_ticket("good", 15)


def test_a_result_is_handed_in_again_when_the_answer_was_lost(journal: Journal, start: StartRelay) -> None:
    """At least once: a server that stored it and broke off gets it again, word for word."""
    taken: list[Any] = []

    class Breaking(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            params, method = xmlrpc.client.loads(self.rfile.read(int(self.headers["Content-Length"])))
            if method == "cmd_store_probe_data":
                taken.append(params)
                if len(taken) == 1:
                    self.close_connection = True
                    return
            body = xmlrpc.client.dumps(("OK",), methodresponse=True).encode()
            self.send_response(200)
            self.send_header("Content-Type", "text/xml")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    breaking = ThreadingHTTPServer(("127.0.0.1", 0), Breaking)
    breaking.daemon_threads = True
    threading.Thread(target=breaking.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    try:
        finished(journal, "t")
        start(f"http://127.0.0.1:{breaking.server_address[1]}/")
        wait_until(lambda: settled(journal, "t") == "delivered", "the journal knows")

        assert len(taken) == 2
        assert taken[0] == taken[1]
    finally:
        breaking.shutdown()
        breaking.server_close()


def test_results_of_commands_without_a_ticket_are_never_handed_in(
    journal: Journal, start: StartRelay, monitor: Monitor
) -> None:
    """There is nothing to hand them in under."""
    (job,) = accepted(journal, command(None, method=STATUS))
    finish(journal, job, outcome={"status": "ok", "message": ""})
    finished(journal, "t")
    start(monitor.url)
    monitor.wait_for_ticket("t")

    assert monitor.tickets() == ["t"]
    assert state(journal, job.id) == "closed"
