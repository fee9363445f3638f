"""The listener over real sockets, with clients good, slow and hostile."""

from __future__ import annotations

import contextlib
import gc
import os
import socket
import threading
import time
import xmlrpc.client
from collections.abc import Callable, Iterator
from ipaddress import ip_network
from typing import Any

import pytest

from monagent.errors import AlreadyRunning
from monagent.models import Value
from monagent.rpc import marshal, unmarshal
from monagent.rpc import reception as reception_module
from monagent.rpc.access import AllowList, Gate
from monagent.rpc.application import application
from monagent.rpc.dispatch import Dispatcher, Method
from monagent.rpc.endpoint import Endpoint
from monagent.rpc.reception import Room

from .heads import head, post
from .talk import PATIENCE, Reply, Talk

THREADS = 3
BODY_LIMIT = 100_000
HEALTHY = marshal.call("healthcheck", ())
Start = Callable[..., Endpoint]


class Page:
    """A page for a CherryPy tree."""

    exposed = True

    def __init__(self, make: Callable[[], bytes]) -> None:
        self._make = make

    def __call__(self) -> bytes:
        return self._make()


class Pages:
    """Two pages: one that works, one that does not."""

    def __init__(self) -> None:
        self.index = Page(lambda: b"<p>hello</p>")
        self.broken = Page(self._break)

    def _break(self) -> bytes:
        raise RuntimeError("the password is 1234")


def _answer(body: bytes, peer: str, _names: object = ()) -> bytes:
    return _DISPATCHER.answer(body, peer)


def _echo(params: list[Value], peer: str) -> Value:
    return [peer, *params]


def _slow(params: list[Value], _peer: str) -> Value:
    (seconds,) = params
    assert isinstance(seconds, float)
    time.sleep(seconds)
    return "done"


_DISPATCHER = Dispatcher(
    [
        Method("slow", _slow, "Takes its time.", (("string", "double"),)),
        Method("healthcheck", lambda _params, _peer: "OK", "Says OK.", (("string",),)),
        Method("echo", _echo, "Says who asked, and what.", (("array",),)),
    ],
    lambda works: works,
    {},
)


def _new(
    *, host: str = "127.0.0.1", port: int = 0, networks: tuple[str, ...] | None = None, threads: int = THREADS
) -> Endpoint:
    allow = AllowList(None if networks is None else [ip_network(network) for network in networks])
    gate = Gate(allow, BODY_LIMIT, pages=["/", "/broken"])
    return Endpoint(host, port, application(_answer, Pages()), gate, threads=threads)


@pytest.fixture(scope="module")
def shared() -> Iterator[Endpoint]:
    """An endpoint that the well-behaved tests share."""
    one = _new()
    one.start()
    yield one
    one.stop()


@pytest.fixture
def start() -> Iterator[Start]:
    """Starts endpoints that are stopped at the end."""
    made: list[Endpoint] = []

    def make(**options: Any) -> Endpoint:
        one = _new(**options)
        one.start()
        made.append(one)
        return one

    yield make
    for one in made:
        one._server.shutdown_timeout = 0.2
        one.stop()


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> float:
    """Make the time for one request short, and tell it."""
    monkeypatch.setattr(reception_module, "REQUEST_SECONDS", 0.4)
    return 0.4


def value_of(reply: Reply) -> Value:
    """What the answer carries."""
    assert reply.status == 200, reply
    return unmarshal.response(reply.body)


# -- good clients -------------------------------------------------------------------------------------------------


def test_a_call_is_answered(shared: Endpoint) -> None:
    """With the type, the length and the date, and without the name of the software."""
    with Talk(shared.address) as talk:
        reply = talk.ask(post(HEALTHY))

    assert value_of(reply) == "OK"
    assert set(reply.headers) == {"content-type", "content-length", "date"}
    assert reply.headers["content-type"] == "text/xml; charset=utf-8"


@pytest.mark.parametrize("path", ["/xmlrpc/", "/xmlrpc", "/RPC2", "/xmlrpc/?a=b", "/%78mlrpc/"])
def test_every_path_leads_there(shared: Endpoint, path: str) -> None:
    """The aliases, a query and percent signs included."""
    with Talk(shared.address) as talk:
        assert value_of(talk.ask(post(HEALTHY, path=path))) == "OK"


def test_the_standard_library_gets_its_answers(shared: Endpoint) -> None:
    """A plain Python client needs no settings, and sees its own address."""
    host, port = shared.address
    with xmlrpc.client.ServerProxy(f"http://{host}:{port}/RPC2") as proxy:
        answers = [proxy.echo("é", number) for number in range(3)]

    assert answers == [["127.0.0.1", "é", number] for number in range(3)]


def test_a_large_call_and_a_large_answer_pass(shared: Endpoint) -> None:
    """Up to the limit."""
    text = "x" * (BODY_LIMIT - 500)
    with Talk(shared.address) as talk:
        assert value_of(talk.ask(post(marshal.call("echo", [text])))) == ["127.0.0.1", text]


def test_a_connection_is_kept(shared: Endpoint) -> None:
    """Request after request on the same connection, also after a pause."""
    with Talk(shared.address) as talk:
        answers = [value_of(talk.ask(post(HEALTHY)))]
        time.sleep(0.1)
        answers += [value_of(talk.ask(post(marshal.call("echo", [number])))) for number in range(20)]

    assert answers == ["OK", *(["127.0.0.1", number] for number in range(20))]


def test_pipelined_requests_are_answered_in_order(shared: Endpoint) -> None:
    """All in one segment."""
    with Talk(shared.address) as talk:
        talk.send(b"".join(post(marshal.call("echo", [number])) for number in range(10)))

        assert [value_of(talk.reply()) for _ in range(10)] == [["127.0.0.1", number] for number in range(10)]


def test_who_sends_many_requests_at_once_lets_others_in_between(start: Start) -> None:
    """One thread, twenty slow requests on one connection: another caller waits for one or two of them."""
    endpoint = start(threads=1)
    with Talk(endpoint.address) as greedy, Talk(endpoint.address) as modest:
        greedy.send(post(marshal.call("slow", [0.2])) * 20)
        assert value_of(greedy.reply()) == "done"
        started = time.monotonic()
        assert value_of(modest.ask(post(HEALTHY))) == "OK"
        waited = time.monotonic() - started

        assert waited < 0.9
        assert [value_of(greedy.reply()) for _ in range(19)] == ["done"] * 19


def test_only_so_much_waits_for_a_thread(start: Start) -> None:
    """Large requests are told that we are busy sooner than small ones, and the connection ends."""
    endpoint = start(threads=1)
    large = post(marshal.call("echo", ["x" * 90_000]))
    with contextlib.ExitStack() as stack:
        talks = [stack.enter_context(Talk(endpoint.address)) for _ in range(20)]
        talks[0].send(post(marshal.call("slow", [1.0])))
        time.sleep(0.2)
        for talk in talks[1:]:
            talk.send(large)
        answers = [talk.reply().body for talk in talks[1:]]

    busy = [answer for answer in answers if b"<int>-32002</int>" in answer]
    assert all(b"x" * 90_000 in answer for answer in answers if answer not in busy)
    assert len(answers) - len(busy) == Room().request_bytes // len(large)


def test_as_long_as_a_thread_is_free_nobody_is_told_that_we_are_busy(start: Start) -> None:
    """Many large requests at the same instant, and as many threads."""
    endpoint = start(threads=16)
    large = post(marshal.call("echo", ["x" * 90_000]))
    for _ in range(5):
        with contextlib.ExitStack() as stack:
            talks = [stack.enter_context(Talk(endpoint.address)) for _ in range(14)]
            for talk in talks:
                talk.send(large)
            assert all(b"x" * 90_000 in talk.reply().body for talk in talks)


def test_a_stop_leaves_no_connection_open(start: Start) -> None:
    """Not even one that has sent more than was answered."""
    endpoint = start(threads=1)
    with Talk(endpoint.address) as talk:
        talk.send(post(marshal.call("slow", [0.5])) * 4)
        time.sleep(0.1)
        endpoint.stop()
        talk.rest()

        assert endpoint._waiting == 0


def test_pipelined_requests_may_be_cut_anywhere(shared: Endpoint) -> None:
    """Segments need not end where requests do."""
    stream = b"".join(post(marshal.call("echo", [number])) for number in range(3))
    with Talk(shared.address) as talk:
        for start in range(0, len(stream), 97):
            talk.send(stream[start : start + 97])
            time.sleep(0.002)

        assert [value_of(talk.reply()) for _ in range(3)] == [["127.0.0.1", number] for number in range(3)]


def test_a_line_end_too_many_does_not_hurt(shared: Endpoint) -> None:
    """Old clients end a body with one more."""
    with Talk(shared.address) as talk:
        talk.send(post(HEALTHY) + b"\r\n" + post(HEALTHY))

        assert [value_of(talk.reply()) for _ in range(2)] == ["OK", "OK"]


def test_close_is_obeyed(shared: Endpoint) -> None:
    """The answer says so too, and the connection ends."""
    with Talk(shared.address) as talk:
        reply = talk.ask(post(HEALTHY, "Connection: close"))

        assert value_of(reply) == "OK"
        assert reply.headers["connection"] == "close"
        assert talk.rest() == b""


def test_http_1_0_closes(shared: Endpoint) -> None:
    """One request, one answer, the end."""
    with Talk(shared.address) as talk:
        reply = talk.ask(post(HEALTHY, version="1.0"))

        assert value_of(reply) == "OK"
        assert talk.rest() == b""


def test_http_1_0_is_kept_on_request(shared: Endpoint) -> None:
    """The old header still works."""
    with Talk(shared.address) as talk:
        replies = [talk.ask(post(HEALTHY, "Connection: keep-alive", version="1.0")) for _ in range(3)]

    assert [(value_of(reply), reply.headers["connection"]) for reply in replies] == [("OK", "keep-alive")] * 3


def test_a_client_that_waits_is_told_to_go_on(shared: Endpoint) -> None:
    """100-continue comes before the body does."""
    whole = post(HEALTHY, "Expect: 100-continue")
    with Talk(shared.address) as talk:
        talk.send(whole[: -len(HEALTHY)])
        first = talk.reply(bodiless=True)
        talk.send(HEALTHY)

        assert first.status == 100
        assert value_of(talk.reply()) == "OK"


def test_a_client_that_waits_is_told_to_go_on_in_a_later_request_too(shared: Endpoint) -> None:
    """However closely its head follows the request before."""
    later = post(HEALTHY, "Expect: 100-continue")
    with Talk(shared.address) as talk:
        talk.send(post(HEALTHY) + later[: -len(HEALTHY)])
        assert value_of(talk.reply()) == "OK"
        assert talk.reply(bodiless=True).status == 100
        assert value_of(talk.ask(HEALTHY + later[: -len(HEALTHY)])) == "OK"
        assert talk.reply(bodiless=True).status == 100
        assert value_of(talk.ask(HEALTHY)) == "OK"


def test_a_client_that_waits_for_nothing_is_told_the_refusal(shared: Endpoint) -> None:
    """A body that would be refused is not asked for."""
    with Talk(shared.address) as talk:
        first = talk.ask(head("Content-Type: text/xml", f"Content-Length: {BODY_LIMIT + 1}", "Expect: 100-continue"))

    assert first.status == 413


def test_a_page_is_served(shared: Endpoint) -> None:
    """Beside the calls, with its own type, still without the name of the software."""
    with Talk(shared.address) as talk:
        reply = talk.ask(head("Host: x", first="GET / HTTP/1.1"))

    assert (reply.status, reply.body) == (200, b"<p>hello</p>")
    assert reply.headers["x-content-type-options"] == "nosniff"
    assert not {"server", "x-powered-by"} & set(reply.headers)


@pytest.mark.parametrize(("path", "status"), [("/", 200), ("/broken", 500), ("/nowhere", 404), ("/xmlrpc/", 405)])
def test_an_answer_to_head_has_no_body(shared: Endpoint, path: str, status: int) -> None:
    """Not one byte after the headers."""
    with Talk(shared.address) as talk:
        talk.send(head("Host: x", "Connection: close", first=f"HEAD {path} HTTP/1.1"))
        reply = talk.reply(bodiless=True)

        assert reply.status == status
        assert talk.rest() == b""


def test_a_broken_page_tells_nothing(shared: Endpoint) -> None:
    """A fixed text, no traceback."""
    with Talk(shared.address) as talk:
        reply = talk.ask(head("Host: x", first="GET /broken HTTP/1.1"))

    assert reply.status == 500
    assert reply.body.strip() == b"Internal Server Error"


def test_ipv6_is_served(start: Start) -> None:
    """On its loopback, where the machine has one."""
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("this machine has no IPv6 loopback")
    one = start(host="::1", networks=("::1/128",))
    with Talk(one.address) as talk:
        assert value_of(talk.ask(post(marshal.call("echo", ())))) == ["::1"]


# -- refusals -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (head("Host: x", first="GET /nowhere HTTP/1.1"), 404),
        (head("Host: x", first="GET /xmlrpc/ HTTP/1.1"), 405),
        (head("Host: x", first="POST / HTTP/1.1"), 405),
        (head("Content-Type: text/xml"), 411),
        (head("Content-Type: text/xml", "Transfer-Encoding: chunked") + b"0\r\n\r\n", 411),
        (head("Content-Type: text/xml", "Content-Length: 100001"), 413),
        (head("Content-Type: text/plain", "Content-Length: 0"), 415),
        (post(HEALTHY, "Content-Encoding: gzip"), 415),
        (post(HEALTHY, "Origin: http://evil"), 403),
        (post(HEALTHY, "Sec-Fetch-Site: same-origin"), 403),
        (post(HEALTHY, "Expect: tea"), 417),
        (post(HEALTHY, "Content-Length: 0"), 400),
        (post(HEALTHY, "Transfer-Encoding: chunked"), 400),
        (post(HEALTHY, "Transfer-Encoding : chunked"), 400),
        (post(HEALTHY, " folded"), 400),
        (post(HEALTHY, "X: a\nb"), 400),
        (post(HEALTHY, "X: a\0b"), 400),
        (head(first="POST http://x/xmlrpc/ HTTP/1.1"), 400),
        (head(first="PRI * HTTP/2.0"), 400),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400),
        (head("X: " + "y" * 17_000), 431),
    ],
)
def test_a_refusal_is_short_and_ends_the_connection(shared: Endpoint, request_: bytes, status: int) -> None:
    """A fixed text, and nothing that came after it is read as a request."""
    with Talk(shared.address) as talk:
        reply = talk.ask(request_ + post(HEALTHY))

        assert reply.status == status
        assert reply.headers["connection"] == "close"
        assert "server" not in reply.headers
        assert len(reply.body) < 50
        assert talk.rest() == b""


@pytest.mark.parametrize(("path", "verbs"), [("/xmlrpc/", "POST"), ("/", "GET, HEAD")])
def test_a_wrong_verb_learns_the_right_ones(shared: Endpoint, path: str, verbs: str) -> None:
    """405 comes with Allow."""
    with Talk(shared.address) as talk:
        assert talk.ask(head(first=f"DELETE {path} HTTP/1.1")).headers["allow"] == verbs


def test_what_is_no_xml_rpc_gets_a_fault(shared: Endpoint) -> None:
    """Behind the gate the answers are XML-RPC."""
    with Talk(shared.address) as talk:
        replies = [talk.ask(post(body)) for body in (b"", b"<a/>", b"\xff")]

    assert [reply.status for reply in replies] == [200] * 3
    assert [code in reply.body for reply, code in zip(replies, (b"-32700", b"-32600", b"-32700"), strict=True)] == [
        True
    ] * 3


@pytest.mark.parametrize("size", [BODY_LIMIT, 800_000])
def test_a_refusal_arrives_although_a_large_body_is_on_its_way(start: Start, size: int) -> None:
    """A stranger's 403 is not lost to a reset, however much is sent without waiting."""
    one = start(networks=("192.0.2.0/24",))
    for _ in range(5):
        with Talk(one.address) as talk:
            sender = threading.Thread(target=talk.send_what_is_taken, args=(post(b"x" * size),))
            sender.start()
            time.sleep(0.02)
            reply = talk.reply()
            talk.sock.shutdown(socket.SHUT_WR)
            sender.join(PATIENCE)

            assert (reply.status, reply.body) == (403, b"Forbidden\n")


def test_a_stranger_does_not_wait_for_its_body_to_be_read(start: Start) -> None:
    """403 comes at once, with the body still missing."""
    one = start(networks=("192.0.2.0/24",))
    started = time.monotonic()
    with Talk(one.address) as talk:
        reply = talk.ask(post(b"x" * 1000)[:-1000])

    assert reply.status == 403
    assert time.monotonic() - started < 1


# -- slow clients -------------------------------------------------------------------------------------------------


def _status_after(address: tuple[str, int], data: bytes, *, drip: bytes = b"") -> tuple[int, float]:
    """Send, then drip; the status that comes, and when."""
    started = time.monotonic()
    with Talk(address) as talk:
        talk.send(data)
        stop = threading.Event()

        def run() -> None:
            for byte in drip:
                if stop.wait(0.05):
                    return
                talk.send_what_is_taken(bytes([byte]))

        thread = threading.Thread(target=run)
        thread.start()
        try:
            return talk.reply().status, time.monotonic() - started
        finally:
            stop.set()
            thread.join(PATIENCE)


@pytest.mark.parametrize(
    ("data", "drip"),
    [
        (b"POST /xml", b""),
        (b"P", b"OST /xmlrpc/ HTTP/1.1\r\n" + b"X: y\r\n" * 50),
        (post(HEALTHY)[:-10], b""),
        (post(b"x" * 200)[:-199], b"x" * 199),
    ],
    ids=["a stalled head", "a dripping head", "a stalled body", "a dripping body"],
)
def test_a_slow_request_gets_408(start: Start, quick: float, data: bytes, drip: bytes) -> None:
    """Head and body together have one deadline, however steadily they drip."""
    status, took = _status_after(start().address, data, drip=drip)

    assert status == 408
    assert quick * 0.9 < took < quick + 1.5


def test_the_deadline_is_for_each_request(start: Start, quick: float) -> None:
    """A kept connection lives longer than one request may take."""
    one = start()
    with Talk(one.address) as talk:
        for _ in range(4):
            assert value_of(talk.ask(post(HEALTHY))) == "OK"
            time.sleep(quick / 2)


def test_a_body_cut_off_is_not_carried_out(shared: Endpoint) -> None:
    """Half a body gets 400, not a guess."""
    with Talk(shared.address) as talk:
        talk.send(post(HEALTHY)[:-10])
        talk.sock.shutdown(socket.SHUT_WR)

        assert talk.reply().status == 400


def test_a_client_that_hangs_up_leaves_the_others_alone(shared: Endpoint) -> None:
    """With or without a reset, at any moment."""
    for data in (b"", b"P", post(HEALTHY)[:-5], post(HEALTHY)):
        for reset in (False, True):
            with Talk(shared.address) as talk:
                if reset:
                    talk.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
                talk.send(data)

    with Talk(shared.address) as talk:
        assert value_of(talk.ask(post(HEALTHY))) == "OK"


def test_idle_connections_do_not_keep_others_waiting(shared: Endpoint) -> None:
    """Many connections that say nothing, and kept ones that say no more, cost no thread."""
    with contextlib.ExitStack() as stack:
        kept = [stack.enter_context(Talk(shared.address)) for _ in range(20)]
        for talk in kept:
            assert value_of(talk.ask(post(HEALTHY))) == "OK"
        for _ in range(200):
            stack.enter_context(Talk(shared.address))
        started = time.monotonic()
        good = stack.enter_context(Talk(shared.address))

        assert value_of(good.ask(post(HEALTHY))) == "OK"
        assert time.monotonic() - started < 1
        assert [value_of(talk.ask(post(HEALTHY))) for talk in kept] == ["OK"] * 20


def test_strangers_do_not_keep_others_waiting(start: Start) -> None:
    """Callers outside the allow-list that begin a head and stall take no thread from those inside."""
    one = start(networks=("127.0.0.1/32",))
    with contextlib.ExitStack() as stack:
        for _ in range(THREADS * 2):
            stack.enter_context(Talk(one.address, source="127.0.0.2")).send(b"POST /xmlrpc/ HTTP/1.1\r\n")
        time.sleep(0.2)
        started = time.monotonic()
        good = stack.enter_context(Talk(one.address, source="127.0.0.1"))
        good.send(post(HEALTHY))
        good.sock.settimeout(3)

        assert value_of(good.reply()) == "OK"
        assert time.monotonic() - started < 1


@pytest.mark.parametrize("first", [b"", post(HEALTHY)], ids=["at once", "behind a request"])
def test_endless_empty_lines_keep_nobody_waiting(shared: Endpoint, first: bytes) -> None:
    """They are not skipped for ever, by nobody."""
    ended = threading.Event()

    def flood() -> None:
        with Talk(shared.address) as talk:
            talk.send(first)
            until = time.monotonic() + PATIENCE
            with contextlib.suppress(OSError):
                while time.monotonic() < until:
                    talk.send(b"\r\n" * 30_000)
                return
        ended.set()

    floods = [threading.Thread(target=flood) for _ in range(THREADS + 1)]
    for thread in floods:
        thread.start()
    for _ in range(10):
        started = time.monotonic()
        with Talk(shared.address) as good:
            assert value_of(good.ask(post(HEALTHY))) == "OK"
        assert time.monotonic() - started < 1
    for thread in floods:
        thread.join()
    assert ended.is_set()


def test_answers_that_are_taken_late_arrive_whole_and_in_order(shared: Endpoint) -> None:
    """Also those to requests that were sent before any answer was taken; and the refusal of what came behind them."""
    words = [str(number) * 30_000 for number in range(1, 9)]
    asked = b"".join(post(marshal.call("echo", (word,))) for word in words) + post(HEALTHY, "Origin: x")
    with Talk(shared.address) as talk:
        talk.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1024)
        sender = threading.Thread(target=talk.send, args=(asked,))
        sender.start()
        time.sleep(0.5)
        taken = [value_of(talk.reply()) for _ in words]
        sender.join()

        assert taken == [["127.0.0.1", word] for word in words]
        assert talk.reply().status == 403
        assert talk.rest() == b""


def test_callers_that_take_no_answer_keep_nobody_waiting(shared: Endpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many there are; and after a while they are let go."""
    monkeypatch.setattr(reception_module, "ANSWER_SECONDS", 0.5)
    asked = post(marshal.call("echo", ("x" * 90_000,)))
    with contextlib.ExitStack() as stack:
        deaf = [stack.enter_context(Talk(shared.address)) for _ in range(4 * THREADS)]
        for talk in deaf:
            talk.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1024)
            talk.sock.settimeout(0.3)
            talk.send_what_is_taken(asked * 60)
            talk.sock.settimeout(PATIENCE)
        for _ in range(20):
            started = time.monotonic()
            with Talk(shared.address) as good:
                assert value_of(good.ask(post(HEALTHY))) == "OK"
            assert time.monotonic() - started < 1
        time.sleep(2.5)
        for talk in deaf:
            assert not talk.rest().endswith(b"</methodResponse>" * 60)


# -- start and stop -----------------------------------------------------------------------------------------------


def test_stopping_ends_all_threads(start: Start) -> None:
    """Idle connections, kept ones and half a request notwithstanding."""
    before = set(threading.enumerate())
    one = start()
    with contextlib.ExitStack() as stack:
        for data in (b"", b"POST /xml", post(HEALTHY)):
            stack.enter_context(Talk(one.address)).send(data)
        time.sleep(0.1)
        one._server.shutdown_timeout = 0.2
        started = time.monotonic()
        one.stop()

    assert time.monotonic() - started < 4
    assert set(threading.enumerate()) <= before


def test_stopping_does_not_mind_an_answer_that_takes_longer(start: Start) -> None:
    """It is waited for, a little longer than it should take."""
    one = start()
    one._server.shutdown_timeout = 0.2
    with Talk(one.address) as talk:
        talk.send(post(marshal.call("slow", (1.0,))))
        time.sleep(0.1)
        one.stop()


def test_stopping_closes_every_connection(start: Start) -> None:
    """A client sees the end, and nobody listens any more."""
    one = start()
    with Talk(one.address) as idle, Talk(one.address) as kept:
        assert value_of(kept.ask(post(HEALTHY))) == "OK"
        one.stop()

        assert (idle.rest(), kept.rest()) == (b"", b"")
    with pytest.raises(ConnectionRefusedError):
        Talk(one.address)


def test_stopping_twice_and_before_starting_is_fine() -> None:
    """Whoever cleans up need not know how far things had come."""
    one = _new()
    one.stop()
    one.start()
    one.stop()
    one.stop()


def test_a_port_is_free_again_after_stopping(start: Start) -> None:
    """At once, also after connections."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    one = start(port=port)
    with Talk(one.address) as talk:
        assert value_of(talk.ask(post(HEALTHY))) == "OK"
        one.stop()
    again = start(port=port)

    with Talk(again.address) as talk:
        assert value_of(talk.ask(post(HEALTHY))) == "OK"


def test_a_taken_port_is_told(shared: Endpoint) -> None:
    """Naming the address; and stopping what never started does no harm."""
    host, port = shared.address
    one = _new(port=port)
    with pytest.raises(AlreadyRunning, match=f"{host} port {port}"):
        one.start()
    one.stop()

    with Talk(shared.address) as talk:
        assert value_of(talk.ask(post(HEALTHY))) == "OK"


def test_an_address_of_others_is_an_os_error() -> None:
    """That is no rival process, so it must not be taken for one."""
    one = _new(host="192.0.2.1")
    with pytest.raises(OSError, match=r"192\.0\.2\.1"):
        one.start()


def test_connections_leave_nothing_open(start: Start) -> None:
    """After good, refused and broken-off requests the process has as many files open as before."""
    one = start()
    with Talk(one.address) as talk:
        assert value_of(talk.ask(post(HEALTHY))) == "OK"
    gc.collect()
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(10):
        for data in (post(HEALTHY, "Connection: close"), b"nonsense\r\n\r\n", post(HEALTHY)[:-3], b""):
            with Talk(one.address) as talk:
                talk.send(data)
                talk.sock.shutdown(socket.SHUT_WR)
                talk.rest()
    until = time.monotonic() + PATIENCE
    while (now := len(os.listdir("/proc/self/fd"))) > before and time.monotonic() < until:
        time.sleep(0.05)

    assert now <= before
