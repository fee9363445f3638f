"""The client against servers that are good, slow, broken and hostile."""

from __future__ import annotations

import gc
import os
import socket
import stat
import threading
import time
import xmlrpc.server
from collections.abc import Callable, Iterator

import pytest

from monagent.errors import Fault, MonagentError, TicketClash, Unavailable
from monagent.models import Value
from monagent.rpc import marshal
from monagent.rpc.client import Client
from monagent.rpc.unmarshal import Limits

from .hostile import PATIENCE, HostileServer, Script, Wire, always, answer, elapsed, good, saying

SMALL = Limits(size=20_000, values=100)
Serve = Callable[..., HostileServer]


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Starts servers that follow scripts."""
    made: list[HostileServer] = []

    def make(*scripts: Script) -> HostileServer:
        made.append(HostileServer(*scripts))
        return made[-1]

    yield make
    for server in made:
        server.stop()


@pytest.fixture
def connect() -> Iterator[Callable[..., Client]]:
    """Makes clients that are closed at the end."""
    made: list[Client] = []

    def make(url: str, timeout: float = 5.0, limits: Limits = SMALL) -> Client:
        made.append(Client(url, timeout=timeout, limits=limits))
        return made[-1]

    yield make
    for client in made:
        client.close()


Connect = Callable[..., Client]


def away(client: Client, match: str | None = None, method: str = "m", *params: Value) -> float:
    """Make a call that finds nobody; the seconds it took."""
    started = time.monotonic()
    with pytest.raises(Unavailable, match=match):
        client.call(method, *params)
    return elapsed(started)


# -- good servers -------------------------------------------------------------------------------------------------


def test_a_call_gets_its_value(serve: Serve, connect: Connect) -> None:
    """Request and answer are XML-RPC; nothing that only browsers or proxies need is said."""
    server = serve(always(good(["é", 1])))
    value = connect(server.url).call("m", "x", 5)
    head, _, body = server.requests[0].partition(b"\r\n\r\n")
    lines = head.lower().split(b"\r\n")

    assert value == ["é", 1]
    assert lines[0] == b"post /xmlrpc/ http/1.1"
    assert b"content-type: text/xml" in lines
    assert b"accept-encoding: identity" in lines
    assert b"host: " + server.url.split("/")[2].encode() in lines
    assert not [
        line for line in lines if line.startswith((b"origin", b"authorization", b"cookie", b"transfer-encoding"))
    ]
    assert body == marshal.call("m", ["x", 5])


@pytest.mark.parametrize(
    ("path", "target"), [("", "/RPC2"), ("/", "/"), ("/a/b?c=d%20e", "/a/b?c=d%20e"), ("?c", "/RPC2?c")]
)
def test_the_url_says_where_to_post(serve: Serve, connect: Connect, path: str, target: str) -> None:
    """Path and query are used as they stand; without a path it is /RPC2."""
    server = serve(always(good()))
    connect(server.url.removesuffix("/xmlrpc/") + path).call("m")

    assert server.requests[0].split(b" ")[1] == target.encode()


def test_the_connection_is_kept(serve: Serve, connect: Connect) -> None:
    """Many calls, one connection."""
    server = serve(always(good()))
    client = connect(server.url)

    assert [client.call("m", number) for number in range(5)] == ["OK"] * 5
    assert server.connections == 1


def test_a_closed_client_connects_again(serve: Serve, connect: Connect) -> None:
    """Closing is not for ever."""
    server = serve(always(good()))
    client = connect(server.url)
    client.call("m")
    client.close()

    assert client.call("m") == "OK"
    assert server.connections == 2


def test_a_fault_is_raised_and_the_connection_stays(serve: Serve, connect: Connect) -> None:
    """A fault is an answer, not an outage."""
    server = serve(saying(answer(marshal.fault(TicketClash("used"))), good()))
    client = connect(server.url)
    with pytest.raises(Fault, match=r"^used$") as caught:
        client.call("m")

    assert not isinstance(caught.value, Unavailable)
    assert caught.value.code == -32001
    assert client.call("m") == "OK"
    assert server.connections == 1


@pytest.mark.parametrize(
    ("head", "body"),
    [
        (b"HTTP/1.0 200 OK\r\n\r\n", marshal.response("OK")),
        (b"HTTP/1.0 200 OK\r\nContent-Length: %d\r\n\r\n" % len(marshal.response("OK")), marshal.response("OK")),
        (b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n", marshal.response("OK")),
        (b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n" % len(marshal.response("OK")), marshal.response("OK")),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nConnection: close\r\n\r\n", marshal.response("OK")),
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
            b"5\r\n" + marshal.response("OK")[:5] + b"\r\n%x;x=y\r\n" % (len(marshal.response("OK")) - 5) + marshal.response("OK")[5:]
            + b"\r\n0\r\nX: y\r\n\r\n",
        ),
    ],
    ids=["1.0", "1.0 with a length", "closing", "closing with a length", "100 first", "chunked"],
)  # fmt: skip
def test_every_way_to_end_an_answer_is_understood(serve: Serve, connect: Connect, head: bytes, body: bytes) -> None:
    """By length, by chunks and by closing, also when the body comes later than the head."""

    def script(wire: Wire) -> None:
        while wire.request():
            wire.send(head)
            wire.pause(0.05)
            wire.send(body)
            if b"chunked" not in head:
                return

    client = connect(serve(script).url)

    assert [client.call("m"), client.call("m")] == ["OK", "OK"]


def test_a_server_of_the_standard_library_is_understood(connect: Connect) -> None:
    """Plain HTTP/1.0, head and body apart, an answer of some size."""
    server = xmlrpc.server.SimpleXMLRPCServer(("127.0.0.1", 0), logRequests=False)
    server.register_function(lambda text: text * 2, "double")
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    client = connect(f"http://127.0.0.1:{server.server_address[1]}/RPC2", limits=Limits(size=10**6))
    try:
        answers = [client.call("double", "x" * 50_000), client.call("double", "é")]
        with pytest.raises(Fault, match="not supported"):
            client.call("unknown")
    finally:
        server.shutdown()
        thread.join(PATIENCE)
        server.server_close()

    assert answers == ["x" * 100_000, "éé"]


# -- slow servers -------------------------------------------------------------------------------------------------


def _silent(wire: Wire) -> None:
    wire.request()
    wire.pause(PATIENCE)


def _deaf(wire: Wire) -> None:
    wire.pause(PATIENCE)


def _dripping_all(wire: Wire) -> None:
    wire.request()
    wire.drip(good())


def _dripping_head(wire: Wire) -> None:
    wire.request()
    wire.drip(b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 100)


def _dripping_body(wire: Wire) -> None:
    wire.request()
    whole = good()
    wire.send(whole[:-200])
    wire.drip(whole[-200:])


def _dripping_chunks(wire: Wire) -> None:
    wire.request()
    wire.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    wire.drip(b"1\r\nx\r\n" * 100)


def _dripping_to_the_end(wire: Wire) -> None:
    wire.request()
    wire.send(b"HTTP/1.0 200 OK\r\n\r\n")
    wire.drip(b"x" * 100)


def _continuing(wire: Wire) -> None:
    wire.request()
    while not wire._server.stopping.wait(0.05):
        wire.send(b"HTTP/1.1 100 Continue\r\n\r\n")


@pytest.mark.parametrize(
    "script",
    [
        _silent, _deaf, _dripping_all, _dripping_head, _dripping_body, _dripping_chunks, _dripping_to_the_end, _continuing,
        saying(b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\nhalf") , saying(b"HTTP/1.1 200 OK\r\n"),
    ],
)  # fmt: skip
def test_the_deadline_holds_against_slow_servers(serve: Serve, connect: Connect, script: Script) -> None:
    """Each byte comes in good time; the call as a whole does not, and is given up."""

    def staying(wire: Wire) -> None:
        script(wire)
        wire.pause(PATIENCE)

    took = away(connect(serve(staying).url, timeout=0.5), "^timed out$")

    assert 0.4 < took < 2


def test_the_deadline_holds_for_a_request_that_is_not_taken(serve: Serve, connect: Connect) -> None:
    """A server that stops reading cannot hold the sender."""
    took = away(connect(serve(_deaf).url, timeout=0.5), "^timed out$", "m", "x" * 20_000_000)

    assert took < 2


def test_the_deadline_starts_anew_with_each_call(serve: Serve, connect: Connect) -> None:
    """A kept connection may live longer than one call."""

    def slowly(wire: Wire) -> None:
        while wire.request():
            wire.pause(0.3)
            wire.send(good())

    client = connect(serve(slowly).url, timeout=0.6)

    assert [client.call("m") for _ in range(4)] == ["OK"] * 4


def test_after_a_time_out_a_late_answer_is_not_taken_for_the_next(serve: Serve, connect: Connect) -> None:
    """The connection is given up with the call."""

    def late(wire: Wire) -> None:
        wire.request()
        wire.pause(0.5)
        wire.send(good("late"))
        wire.pause(0.3)

    client = connect(serve(late, always(good("right"))).url, timeout=0.3)
    away(client, "timed out")
    time.sleep(0.3)

    assert client.call("m") == "right"


def test_the_deadline_holds_for_call_and_resend_together(serve: Serve, connect: Connect) -> None:
    """A kept connection that breaks late, and then a slow answer: still one call, one deadline."""

    def breaking(wire: Wire) -> None:
        wire.request()
        wire.send(good())
        wire.request()
        wire.pause(0.8)
        wire.reset()

    client = connect(serve(breaking, _dripping_all).url, timeout=1)
    client.call("m")

    assert away(client) < 1.4


# -- broken and hostile servers -----------------------------------------------------------------------------------


def test_nobody_there_is_told(connect: Connect) -> None:
    """A refused connection is an outage."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]

    away(connect(f"http://127.0.0.1:{port}/"), "^connection refused$")


@pytest.mark.parametrize("host", ["a" * 64, "a..b", "xn--" + "a" * 70])
def test_an_impossible_name_is_an_outage(connect: Connect, host: str) -> None:
    """A URL passes the configuration's check before its host name meets the rules of DNS."""
    away(connect(f"http://{host}:9/"))


XML = marshal.response("OK")


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (answer(XML, status="500 Internal Server Error"), "HTTP 500"),
        (answer(XML, status="503 Service Unavailable"), "HTTP 503"),
        (answer(XML, status="404 Not Found"), "HTTP 404"),
        (answer(XML, status="201 Created"), "HTTP 201"),
        (answer(b"", status="204 No Content"), "HTTP 204"),
        (answer(XML, "Location: /", status="401 Unauthorized"), "HTTP 401"),
        (answer(XML, "Content-Encoding: gzip"), "content encoding"),
        (answer(XML, "Content-Encoding: br"), "content encoding"),
        (answer(b"\x1f\x8b\x08\x00" * 10), "not XML-RPC"),
        (answer(b""), "not XML-RPC"),
        (answer(b"<html><body>Welcome</body></html>"), "not XML-RPC"),
        (answer(b"OK"), "not XML-RPC"),
        (answer(b"<!DOCTYPE a>" + XML), "not XML-RPC"),
        (answer(XML.replace(b"OK", b"\xff")), "not XML-RPC"),
        (answer(marshal.call("m", ())), "not XML-RPC"),
        (answer(marshal.response(["x"] * 200)), "over a limit"),
        (answer(b"x" * 20_001), "too large"),
        (answer(marshal.fault(Fault("x" * 30_000))), "too large"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n" + XML[:-20], None),
        (b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (len(XML) - 9) + XML, "not XML-RPC"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n" + XML, "not XML-RPC"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + XML, None),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nff\r\nshort", None),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-5\r\nshort", None),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n" + XML, None),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0x5_0\r\n" + XML, None),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"f" * 5000 + b"\r\n" + XML, None),
        (b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 200 + b"\r\n", None),
        (b"HTTP/1.1 200 OK\r\nX: " + b"y" * 70_000 + b"\r\n\r\n", None),
        (b"HTTP/1.1 " + b"2" * 70_000 + b"\r\n\r\n", None),
        (b"HTTP/9.9 200 OK\r\n\r\n", None),
        (b"HTTP/1.1 20x OK\r\n\r\n", None),
        (b"HTTP/1.1 99999 OK\r\n\r\n", None),
        (b"SSH-2.0-OpenSSH\r\n", None),
        (b"\x15\x03\x01\x00\x02\x02\x50", None),
        (b"\0" * 100, None),
        (b"", None),
    ],
)
def test_what_is_no_answer_is_an_outage(serve: Serve, connect: Connect, data: bytes, reason: str | None) -> None:
    """Whatever a server does, the caller gets one kind of error, and the next call starts afresh."""

    def once(wire: Wire) -> None:
        wire.request()
        wire.send(data)

    server = serve(once, always(good()))
    client = connect(server.url)
    away(client, reason)

    assert client.call("m") == "OK"
    assert server.connections == 2


@pytest.mark.parametrize(
    "status", ["301 Moved Permanently", "302 Found", "307 Temporary Redirect", "308 Permanent Redirect"]
)
def test_no_redirect_is_followed(serve: Serve, connect: Connect, status: str) -> None:
    """A server cannot send an agent elsewhere in passing."""
    other = serve(always(good()))
    server = serve(always(answer(b"", f"Location: {other.url}", status=status)))
    away(connect(server.url), "HTTP 30")

    assert other.connections == 0


def test_no_proxy_is_asked(serve: Serve, connect: Connect, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the environment says about proxies does not concern an agent."""
    proxy = serve(always(good("proxy")))
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, proxy.url)

    assert connect(serve(always(good("server"))).url).call("m") == "server"
    assert proxy.connections == 0


@pytest.mark.parametrize(
    "head",
    [
        b"HTTP/1.1 200 OK\r\n\r\n",
        b"HTTP/1.0 200 OK\r\nContent-Length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"f" * 12 + b"\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n",
        b"HTTP/1.1 200 OK\r\nX: ",
        b"HTTP/1.1 ",
    ],
    ids=[
        "no length",
        "negative length",
        "huge length",
        "huge chunk",
        "negative chunk",
        "endless header",
        "endless status",
    ],
)
def test_an_endless_answer_is_cut_short(serve: Serve, connect: Connect, head: bytes) -> None:
    """Little more than the limit is ever read, so that no server can fill the memory."""

    def endless(wire: Wire) -> None:
        wire.request()
        wire.send(head)
        wire.flood(b"x" * 65536, 64 * 1024 * 1024)

    server = serve(endless)
    away(connect(server.url))

    assert server.sent < 32 * 1024 * 1024


def test_an_answer_of_exactly_the_limit_is_read(serve: Serve, connect: Connect) -> None:
    """The limit itself is allowed."""
    body = XML.ljust(SMALL.size)

    assert connect(serve(always(answer(body))).url).call("m") == "OK"


def test_a_large_fault_within_the_limit_is_a_fault(serve: Serve, connect: Connect) -> None:
    """It is an answer, however long-winded."""
    with pytest.raises(Fault) as caught:
        connect(serve(always(answer(marshal.fault(Fault("x" * 15_000, 1))))).url).call("m")

    assert len(caught.value.message) == 15_000


def test_errors_leave_no_socket_open(serve: Serve, connect: Connect) -> None:
    """After each kind of failure the process has as many files open as before."""
    server = serve(always(b"HTTP/1.0 500 No\r\n\r\n"), always(answer(b"x")), saying(), always(b"junk\r\n"))
    client = connect(server.url, timeout=0.5)

    def failed() -> int:
        with pytest.raises(MonagentError):
            client.call("m")
        gc.collect()
        return len([name for name in os.listdir("/proc/self/fd") if _is_client_socket(name, server)])

    assert [failed() for _ in range(6)] == [0] * 6


def _is_client_socket(name: str, server: HostileServer) -> bool:
    try:
        if not stat.S_ISSOCK(os.fstat(int(name)).st_mode):
            return False
        with socket.socket(fileno=os.dup(int(name))) as sock:
            return bool(sock.getpeername()[1] == int(server.url.split(":")[2].split("/")[0]))
    except (OSError, IndexError, TypeError):
        return False


# -- kept connections that were closed ----------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["closed", "reset", "closed after the request", "reset after the request"])
def test_a_closed_kept_connection_costs_one_silent_resend(serve: Serve, connect: Connect, how: str) -> None:
    """The caller notices nothing."""

    def once(wire: Wire) -> None:
        wire.request()
        wire.send(good("first"))
        if "after" in how:
            wire.request()
        if "reset" in how:
            wire.reset()

    server = serve(once, always(good("second")))
    client = connect(server.url)
    first = client.call("m")
    time.sleep(0.1)

    assert [first, client.call("m")] == ["first", "second"]
    assert server.connections == 2


def test_a_call_is_resent_only_once(serve: Serve, connect: Connect) -> None:
    """A server that hangs up again is away."""

    def hangs_up(wire: Wire) -> None:
        wire.request()

    server = serve(saying(good()), hangs_up)
    client = connect(server.url)
    client.call("m")
    away(client)

    assert server.connections == 2


def test_a_call_on_a_new_connection_is_not_resent(serve: Serve, connect: Connect) -> None:
    """It may have been carried out; only the caller knows whether it may be repeated."""

    def hangs_up(wire: Wire) -> None:
        wire.request()

    server = serve(hangs_up)
    away(connect(server.url))

    assert server.connections == 1


def test_a_time_out_on_a_kept_connection_is_not_resent(serve: Serve, connect: Connect) -> None:
    """The server has the call already."""

    def once(wire: Wire) -> None:
        wire.request()
        wire.send(good())
        wire.request()
        wire.pause(PATIENCE)

    server = serve(once)
    client = connect(server.url, timeout=0.5)
    client.call("m")
    away(client, "timed out")

    assert server.connections == 1


@pytest.mark.parametrize("how", ["closed", "reset", "talked out of turn"])
def test_after_a_connection_has_ended_the_next_one_is_fresh(serve: Serve, connect: Connect, how: str) -> None:
    """Whoever wants to know whether the next call may meet another program can ask before making it."""

    def once(wire: Wire) -> None:
        wire.request()
        wire.send(good())
        wire.pause(0.05)
        if how == "reset":
            wire.reset()
        if how == "talked out of turn":
            wire.send(good("not asked for"))
            wire.pause(PATIENCE)

    client = connect(serve(once, always(good("second"))).url)
    before = client.fresh()
    client.call("m")
    time.sleep(0.2)

    assert (before, client.fresh()) == (True, True)
    assert client.call("m") == "second"


def test_a_kept_connection_is_not_fresh(serve: Serve, connect: Connect) -> None:
    """Asking leaves it as it is."""
    server = serve(always(good()))
    client = connect(server.url)
    client.call("m")

    assert [client.fresh(), client.fresh()] == [False, False]
    assert client.call("m") == "OK"
    assert server.connections == 1


def test_a_failed_or_closed_connection_is_fresh(serve: Serve, connect: Connect) -> None:
    """The next call opens a new one."""
    client = connect(serve(always(answer(b"no"))).url)
    away(client)

    assert client.fresh()


# -- multicall ----------------------------------------------------------------------------------------------------

CALLS: list[tuple[str, list[Value]]] = [("a", []), ("b", [1, "x"])]


def test_a_multicall_is_one_exchange(serve: Serve, connect: Connect) -> None:
    """Each call has its value or its fault, in order."""
    server = serve(always(good([["one"], marshal.fault_struct(TicketClash("no"))])))
    first, second = connect(server.url).multicall(CALLS)

    assert first == "one"
    assert isinstance(second, Fault)
    assert (second.code, second.message) == (-32001, "no")
    assert server.requests[0].endswith(
        marshal.call("system.multicall", [[{"methodName": "a", "params": []}, {"methodName": "b", "params": [1, "x"]}]])
    )


def test_a_value_that_looks_like_a_fault_is_a_value(serve: Serve, connect: Connect) -> None:
    """The array of one around it tells."""
    struct: Value = {"faultCode": 1, "faultString": "x"}

    assert connect(serve(always(good([[struct], [[]]]))).url).multicall(CALLS) == [struct, []]


@pytest.mark.parametrize(
    "answers",
    [
        "OK", None, {}, [], [["a"]], [["a"], ["b"], ["c"]], [["a"], []], [["a"], ["b", "c"]], [["a"], "b"], [["a"], None],
        [["a"], {}], [["a"], {"faultCode": 1}], [["a"], {"faultCode": "1", "faultString": "x"}],
    ],
)  # fmt: skip
def test_answers_that_do_not_match_their_calls_are_an_outage(serve: Serve, connect: Connect, answers: Value) -> None:
    """Nothing is taken for delivered by guessing."""
    with pytest.raises(Unavailable, match=r"system\.multicall"):
        connect(serve(always(good(answers))).url).multicall(CALLS)


def test_a_fault_for_the_whole_multicall_is_raised(serve: Serve, connect: Connect) -> None:
    """A server without multicall says so once."""
    with pytest.raises(Fault, match="no such method"):
        connect(serve(always(answer(marshal.fault(Fault("no such method", -32601))))).url).multicall(CALLS)
