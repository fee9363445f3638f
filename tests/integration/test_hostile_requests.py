"""Some three hundred requests that nobody means well with: each is refused in order, and leaves nothing behind."""

from __future__ import annotations

import contextlib
import os
import socket
import time
import xmlrpc.client
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.integration.hostile_requests import CLOSED, HEALTHY, Hostile, call, hostile_requests
from tests.integration.served import ECHO, HttpAnswer, exchange, post, read_answer, wait_until
from tests.support.agent import AgentProcess, write_sensor
from tests.support.monitor import Monitor

REQUESTS = hostile_requests()
ANSWER_SECONDS = 5.0
"""In which every request must have its answer; but for those that wait for more, most have it within milliseconds."""
GOOD_SECONDS = 1.0
"""For a good caller, whatever others do."""
MEMORY = 24 * 1024 * 1024
TELLING = (b"Traceback", b"/monagent/", b".py", b"python", b"cherrypy", b"cheroot", b"Error(", b"errno", b"sensors/")
"""What no answer may hold: it would tell who we are, and where."""


class Watched:
    """An agent with a canary beside its sensors, and what it holds at rest."""

    def __init__(self, directory: Path, server_url: str) -> None:
        self.agent = AgentProcess(directory / "agent", server_url)
        self.sung = directory / "sung"
        self._write_canaries()
        self.agent.start()
        # Connections are taken a moment before the last of its threads has been started.
        wait_until(lambda: " listens on " in self.agent.log.read_text(), "all of it is there", 10)
        for _ in range(20):
            self.expect_good_service()
        self.memory = self._memory()
        self.threads = self._threads()
        self.files = self.files_now()

    def _write_canaries(self) -> None:
        """Programs that sing when they are run; no command may ever reach one."""
        here, song = self.agent.directory, f"#!/bin/sh\ntouch '{self.sung}'\necho 1\n"
        write_sensor(here, "echo", ECHO)
        for place in ("canary", "sensors_backup/canary", "sensors/.hidden", "sensors/echo/inner"):
            program = here / place / "check"
            program.parent.mkdir(parents=True, exist_ok=True)
            program.write_text(song)
            program.chmod(0o755)

    def expect_good_service(self) -> None:
        """Somebody who means well is served at once."""
        started = time.monotonic()
        assert exchange(self.agent.port, post(HEALTHY)).status == 200
        assert time.monotonic() - started < GOOD_SECONDS

    def expect_rest(self) -> None:
        """Nothing stays of all that: no thread, no descriptor, no memory."""
        wait_until(lambda: self.files_now() <= self.files, f"no more than {self.files} descriptors", 5)
        assert self._threads() <= self.threads
        assert self._memory() < self.memory + MEMORY

    def _memory(self) -> int:
        lines = Path(f"/proc/{self.agent.pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmRSS:"))

    def _threads(self) -> int:
        return len(os.listdir(f"/proc/{self.agent.pid}/task"))

    def files_now(self) -> int:
        return len(os.listdir(f"/proc/{self.agent.pid}/fd"))


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    """One for all requests."""
    monitor = Monitor(extended=True)
    monitor.start()
    one = None
    try:
        one = Watched(tmp_path_factory.mktemp("watched"), monitor.url)
        yield one
    finally:
        if one:
            one.agent.kill()
        monitor.stop()


def answer_to(port: int, hostile: Hostile) -> HttpAnswer | None:
    """What comes back; None when the connection ends without a word."""
    with socket.create_connection(("127.0.0.1", port), ANSWER_SECONDS) as connection:
        with contextlib.suppress(ConnectionError):  # refused before all of it was sent
            connection.sendall(hostile.data)
            if hostile.hang_up:
                connection.shutdown(socket.SHUT_WR)
        if hostile.status == CLOSED:
            assert connection.recv(65536) == b""
            return None
        answer = read_answer(connection) if not hostile.data.startswith(b"HEAD") else _bodiless(connection)
        if answer.status != 200:
            assert _rest(connection) == b"", "something behind a refused request was answered"
        return answer


def _bodiless(connection: socket.socket) -> HttpAnswer:
    lines = _rest(connection).split(b"\r\n")
    return HttpAnswer(int(lines[0].split()[1]), {"connection": "close"}, lines[-1])


def _rest(connection: socket.socket) -> bytes:
    parts = []
    with contextlib.suppress(ConnectionResetError):
        while data := connection.recv(65536):
            parts.append(data)
    return b"".join(parts)


@pytest.mark.parametrize("hostile", REQUESTS, ids=lambda hostile: hostile.name[:60])
def test_a_hostile_request_is_refused_in_order(watched: Watched, hostile: Hostile) -> None:
    """In bounded time, with the one answer that is meant for it, and others are served at once."""
    started = time.monotonic()
    answer = answer_to(watched.agent.port, hostile)
    assert time.monotonic() - started < ANSWER_SECONDS

    if hostile.status == CLOSED:
        assert answer is None
    else:
        assert answer is not None
        assert answer.status == hostile.status, answer
        assert "server" not in answer.headers
        assert not [word for word in TELLING if word.lower() in answer.body.lower()]
        if answer.status != 200:
            assert answer.headers["connection"] == "close"
            assert len(answer.body) < 100
        else:
            assert len(answer.body) < 1000
            with pytest.raises(xmlrpc.client.Fault) as caught:
                xmlrpc.client.loads(answer.body)
            assert caught.value.faultCode in hostile.faults, caught.value
    watched.expect_good_service()


def test_there_are_enough_of_them() -> None:
    """Each is another one."""
    assert len({request.name for request in REQUESTS}) == len(REQUESTS) >= 300


def test_after_all_of_them_nothing_is_left_and_no_canary_sang(watched: Watched) -> None:
    """All at once, again and again, on connections that stay open and that do not."""
    with contextlib.ExitStack() as stack:
        for hostile in (request for request in REQUESTS if len(request.data) < 1_000_000):
            connection = stack.enter_context(
                socket.create_connection(("127.0.0.1", watched.agent.port), ANSWER_SECONDS)
            )
            with contextlib.suppress(ConnectionError):
                connection.sendall(hostile.data)
        watched.expect_good_service()

    watched.expect_rest()
    assert not watched.sung.exists()


@pytest.mark.parametrize(
    "argument",
    [
        "$(touch {})",
        "`touch {}`",
        "; touch {}",
        "| touch {}",
        "&& touch {}",
        "\n touch {}",
        "--help; touch {}",
        "' ; touch {} '",
    ],
)
def test_arguments_are_words_and_nothing_else(watched: Watched, argument: str) -> None:
    """No shell ever sees them: they arrive at the sensor as they are."""
    proxy = watched.agent.proxy()
    word = argument.format(watched.sung)
    with contextlib.suppress(xmlrpc.client.Fault):
        assert proxy.cmd_submit_reading(f"word-{hash(argument)}", "echo", [word]) == "OK"
    with contextlib.suppress(xmlrpc.client.Fault):  # one that holds an open quote
        assert proxy.cmd_submit_reading(f"text-{hash(argument)}", "echo", word) == "OK"
    with contextlib.closing(proxy("transport")):
        pass
    wait_until(lambda: not _waiting(watched.agent), "both were run")

    assert not watched.sung.exists()


def _waiting(agent: AgentProcess) -> bool:
    listed = agent.command("spool", "list", "--json")
    return '"accepted"' in listed.stdout


Send = Callable[[socket.socket], None]


def _quiet(_connection: socket.socket) -> None:
    """Say nothing."""


def _half_a_head(connection: socket.socket) -> None:
    connection.sendall(b"POST /xmlrpc/ HTTP/1.1\r\nHost: x\r\nX: ")


def _half_a_body(connection: socket.socket) -> None:
    connection.sendall(post(HEALTHY)[:-10])


def _read_nothing(connection: socket.socket) -> None:
    """Ask for far more than fits into all buffers, and take none of it."""
    one = _struct(methodName="system.listMethods", params="<array><data/></array>")
    calls = "".join(f"<value>{one}</value>" for _ in range(100))
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1024)
    connection.setblocking(False)
    with contextlib.suppress(BlockingIOError, ConnectionError):
        for _ in range(60):
            connection.sendall(post(call("system.multicall", f"<array><data>{calls}</data></array>")))


def _struct(**members: str) -> str:
    pairs = (f"<member><name>{name}</name><value>{value}</value></member>" for name, value in members.items())
    return f"<struct>{''.join(pairs)}</struct>"


def _served_once(connection: socket.socket) -> None:
    connection.sendall(post(HEALTHY))
    assert read_answer(connection).status == 200


@pytest.mark.parametrize("count", [12, 290])
@pytest.mark.parametrize("say", [_quiet, _half_a_head, _half_a_body, _served_once, _read_nothing])
def test_slow_and_idle_callers_keep_nobody_waiting(watched: Watched, say: Send, count: int) -> None:
    """Whatever they have begun: a good caller is served in under a second throughout."""
    with contextlib.ExitStack() as stack:
        for _ in range(count):
            connection = stack.enter_context(
                socket.create_connection(("127.0.0.1", watched.agent.port), ANSWER_SECONDS)
            )
            say(connection)
        for _ in range(10):
            watched.expect_good_service()
    watched.expect_rest()


def test_a_flood_of_connections_pushes_out_its_own(watched: Watched) -> None:
    """Three times as many as there may be from one address; another caller from there is still served."""
    with contextlib.ExitStack() as stack:
        for number in range(900):
            stack.enter_context(socket.create_connection(("127.0.0.1", watched.agent.port), ANSWER_SECONDS))
            if number % 50 == 0:
                watched.expect_good_service()
        watched.expect_good_service()
        assert watched.files_now() < watched.files + 400  # what it holds while they are there
    watched.expect_rest()
