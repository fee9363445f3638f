"""What is not XML-RPC, or comes from the wrong place, gets a short HTTP answer."""

from __future__ import annotations

import socket
import threading
import time

import pytest

from tests.conftest import StartAgent
from tests.integration.served import ECHO, HttpAnswer, Served, exchange, post, read_answer
from tests.support.agent import write_sensor
from tests.support.monitor import Monitor

HEALTHY = b"<methodCall><methodName>healthcheck</methodName></methodCall>"


def refused(answer: HttpAnswer, status: int) -> None:
    """A refusal is short, fixed and plain."""
    assert answer.status == status
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    assert answer.headers["connection"] == "close"
    assert len(answer.body) < 100
    assert "server" not in answer.headers


@pytest.mark.parametrize("path", ["/xmlrpc/", "/xmlrpc", "/RPC2"])
@pytest.mark.parametrize("kind", ["text/xml", "application/xml", "text/xml; charset=utf-8", "TEXT/XML"])
def test_a_call_is_answered_200_with_xml(extended: Served, path: str, kind: str) -> None:
    """At each of its paths and for each type of XML."""
    answer = exchange(extended.agent.port, post(HEALTHY, f"Content-Type: {kind}", path=path))

    assert answer.status == 200
    assert answer.headers["content-type"] == "text/xml; charset=utf-8"
    assert b"<string>OK</string>" in answer.body
    assert "server" not in answer.headers


def test_a_fault_is_answered_200_too(extended: Served) -> None:
    """It is an answer of the protocol, not of HTTP."""
    answer = exchange(extended.agent.port, post(b"nonsense"))

    assert (answer.status, answer.headers["content-type"]) == (200, "text/xml; charset=utf-8")
    assert b"-32700" in answer.body


@pytest.mark.parametrize("verb", ["GET", "PUT", "DELETE", "OPTIONS", "TRACE", "PATCH"])
def test_other_verbs_are_told_which_one_is_allowed(extended: Served, verb: str) -> None:
    """405 with Allow."""
    answer = exchange(extended.agent.port, f"{verb} /xmlrpc/ HTTP/1.1\r\nHost: x\r\n\r\n".encode())

    refused(answer, 405)
    assert answer.headers["allow"] == "POST"


@pytest.mark.parametrize("path", ["/status", "/xmlrpc/cmd_status", "/index.html", "/..", "/xmlrpc/../etc", "/RPC2/"])
def test_other_paths_hold_nothing(extended: Served, path: str) -> None:
    """404."""
    refused(exchange(extended.agent.port, post(HEALTHY, path=path)), 404)


@pytest.mark.parametrize(
    "kind",
    [
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "application/json",
        "text/xmlx",
    ],
)
def test_what_is_not_declared_as_xml_is_not_read(extended: Served, kind: str) -> None:
    """415: these are the types that a web page may send anywhere."""
    refused(exchange(extended.agent.port, post(HEALTHY, f"Content-Type: {kind}")), 415)


def test_a_call_without_a_type_is_not_read(extended: Served) -> None:
    """415."""
    head = f"POST /xmlrpc/ HTTP/1.1\r\nHost: x\r\nContent-Length: {len(HEALTHY)}\r\n\r\n"

    refused(exchange(extended.agent.port, head.encode() + HEALTHY), 415)


def test_a_compressed_call_is_not_read(extended: Served) -> None:
    """415."""
    refused(exchange(extended.agent.port, post(HEALTHY, "Content-Encoding: gzip")), 415)


@pytest.mark.parametrize("header", ["Origin: http://evil.example", "Origin: null", "Sec-Fetch-Site: cross-site"])
def test_a_web_page_cannot_command_an_agent(extended: Served, header: str) -> None:
    """What browsers add by themselves is refused: 403."""
    refused(exchange(extended.agent.port, post(HEALTHY, header)), 403)


def test_a_call_needs_a_length(extended: Served) -> None:
    """411, also for chunks."""
    head = "POST /xmlrpc/ HTTP/1.1\r\nHost: x\r\nContent-Type: text/xml\r\n"

    refused(exchange(extended.agent.port, f"{head}\r\n".encode()), 411)
    refused(exchange(extended.agent.port, f"{head}Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n".encode()), 411)


def test_a_large_call_is_refused_before_it_is_read(extended: Served) -> None:
    """413 by its announced length alone; one at the limit is read."""
    head = "POST /xmlrpc/ HTTP/1.1\r\nHost: x\r\nContent-Type: text/xml\r\nContent-Length: "

    refused(exchange(extended.agent.port, f"{head}{256 * 1024 + 1}\r\n\r\n".encode()), 413)
    assert exchange(extended.agent.port, post(HEALTHY + b" " * (256 * 1024 - len(HEALTHY)))).status == 200


def test_a_caller_outside_the_allow_list_is_refused_before_its_body(monitor: Monitor, make_agent: StartAgent) -> None:
    """403 whatever it wants; a caller inside is served."""
    agent = make_agent(monitor.url, "[security]\nallow = 127.0.0.2 127.0.1.0/24")
    write_sensor(agent.directory, "echo", ECHO)
    agent.launch()
    _wait_for_port(agent.port)
    announced = b"POST /xmlrpc/ HTTP/1.1\r\nHost: x\r\nContent-Type: text/xml\r\nContent-Length: 1000\r\n\r\n"

    refused(exchange(agent.port, announced), 403)
    refused(exchange(agent.port, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"), 403)
    refused(exchange(agent.port, post(HEALTHY), source="127.0.0.3"), 403)
    assert exchange(agent.port, post(HEALTHY), source="127.0.0.2").status == 200
    assert exchange(agent.port, post(HEALTHY), source="127.0.1.77").status == 200


def test_a_slow_caller_is_cut_off(extended: Served) -> None:
    """408 within seconds, whether its head or its body drips; others are served meanwhile."""
    answers: dict[str, HttpAnswer] = {}

    def drip(name: str, start: bytes) -> None:
        with socket.create_connection(("127.0.0.1", extended.agent.port), 40) as connection:
            connection.sendall(start)
            stop = threading.Event()

            def more() -> None:
                while not stop.wait(1):
                    try:
                        connection.sendall(b"x")
                    except OSError:
                        return

            dripping = threading.Thread(target=more)
            dripping.start()
            try:
                answers[name] = read_answer(connection)
            finally:
                stop.set()
                dripping.join(10)

    head = b"POST /xmlrpc/ HTTP/1.1\r\nHost: x\r\nContent-Type: text/xml\r\nContent-Length: 1000\r\n\r\n"
    slow = [
        threading.Thread(target=drip, args=args)
        for args in (("head", b"POST /xmlrpc/ HTTP/1.1\r\nX: "), ("body", head))
    ]
    started = time.monotonic()
    for thread in slow:
        thread.start()
    assert exchange(extended.agent.port, post(HEALTHY)).status == 200
    for thread in slow:
        thread.join(60)

    assert time.monotonic() - started < 30
    refused(answers["head"], 408)
    refused(answers["body"], 408)


def test_a_connection_serves_many_calls(extended: Served) -> None:
    """One after the other, without a new connection."""
    with socket.create_connection(("127.0.0.1", extended.agent.port), 20) as connection:
        for _ in range(20):
            connection.sendall(post(HEALTHY))
            assert read_answer(connection).status == 200


@pytest.mark.parametrize(
    "head",
    [
        "POST /xmlrpc/ HTTP/1.1\r\nContent-Type: text/xml\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n",
        "POST /xmlrpc/ HTTP/1.1\r\nContent-Type: text/xml\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
        "POST /xmlrpc/ HTTP/1.1\r\nContent-Type: text/xml\r\nContent-Length: -1\r\n\r\n",
        "POST /xmlrpc/ HTTP/1.1\r\nContent-Type: text/xml\r\nContent-Length: +5\r\n\r\n",
        "POST /xmlrpc/ HTTP/1.1\r\nContent-Type: text/xml\r\nTransfer-Encoding : chunked\r\n\r\n",
        "nonsense\r\n\r\n",
    ],
    ids=["two lengths", "length and chunks", "negative length", "signed length", "blank in a name", "nonsense"],
)
def test_an_ambiguous_head_is_refused_and_nothing_behind_it_is_answered(extended: Served, head: str) -> None:
    """400, and the connection is over."""
    with socket.create_connection(("127.0.0.1", extended.agent.port), 20) as connection:
        connection.sendall(head.encode() + post(HEALTHY))
        connection.settimeout(20)
        received = b""
        while data := connection.recv(65536):
            received += data

    assert received.startswith(b"HTTP/1.1 400 ")
    assert received.count(b"HTTP/1.1") == 1


def _wait_for_port(port: int) -> None:
    until = time.monotonic() + 20
    while time.monotonic() < until:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            time.sleep(0.01)
        else:
            return
    raise AssertionError("the agent did not listen")
