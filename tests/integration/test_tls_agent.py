"""An agent behind TLS: who gets in, who does not, and that nobody who dawdles at the door keeps others waiting."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
import time
from pathlib import Path

import pytest

from tests.conftest import StartAgent
from tests.integration.served import ECHO, HttpAnswer, post, read_answer, wait_until
from tests.support.agent import AgentProcess, write_sensor
from tests.support.authority import Authority, Pair, self_signed
from tests.support.monitor import Monitor

HEALTHY = post(b"<methodCall><methodName>healthcheck</methodName></methodCall>")
SECONDS = 10.0
GOOD_SECONDS = 1.0
"""In which a good caller is served, whatever others do."""


class Site:
    """An agent with mutual TLS, the authority behind it, and a server that may command."""

    def __init__(self, directory: Path, agent: AgentProcess) -> None:
        self.agent = agent
        self.ca = Authority(directory)
        self.stranger = Authority(directory, "other")
        self.own = self.ca.issue("localhost", "127.0.0.1")
        self.monitor = self.ca.issue("monitor.example.org")

    def security(self, peers: str = "monitor.example.org") -> str:
        """The section."""
        own = f"certificate = {self.own.certificate}\nkey = {self.own.key}\n"
        return f"[security]\n{own}client_ca = {self.ca.file}\npeers = {peers}\n"

    def context(self, pair: Pair | None, version: ssl.TLSVersion | None = None) -> ssl.SSLContext:
        """A caller's, with that certificate."""
        context = ssl.create_default_context(cafile=str(self.ca.file))
        if pair:
            context.load_cert_chain(pair.certificate, pair.key)
        if version:
            context.minimum_version = context.maximum_version = version
        return context

    def connect(self, pair: Pair | None, version: ssl.TLSVersion | None = None) -> ssl.SSLSocket:
        """A connection after its handshake; with TLS 1.3 the agent may refuse the certificate only afterwards."""
        plain = socket.create_connection(("127.0.0.1", self.agent.port), SECONDS)
        try:
            return self.context(pair, version).wrap_socket(plain, server_hostname="localhost")
        except BaseException:
            plain.close()
            raise

    def ask(self, pair: Pair | None, request: bytes = HEALTHY, version: ssl.TLSVersion | None = None) -> HttpAnswer:
        """The answer to a request over a connection of its own."""
        with self.connect(pair, version) as connection:
            connection.sendall(request)
            return read_answer(connection)

    def expect_good_service(self) -> None:
        """The server is served at once."""
        started = time.monotonic()
        assert self.ask(self.monitor).status == 200
        assert time.monotonic() - started < GOOD_SECONDS

    def expect_refusal(self, pair: Pair | None, said: str) -> None:
        """No request is answered, and the log says why."""
        before = len(self.agent.log.read_text())
        with pytest.raises((OSError, IndexError)):
            self.ask(pair)
        wait_until(lambda: said in self.agent.log.read_text()[before:], f"the log says {said!r}", 5)


@pytest.fixture
def site(tmp_path: Path, monitor: Monitor, make_agent: StartAgent) -> Site:
    """A running one."""
    agent = make_agent(monitor.url)
    site = Site(tmp_path, agent)
    agent.config.write_text(agent.config.read_text() + site.security())
    write_sensor(agent.directory, "echo", ECHO)
    agent.start()
    return site


def test_the_server_is_served_by_each_version_that_is_safe(site: Site, monitor: Monitor) -> None:
    """A command is carried out, and the audit line has the name of the certificate."""
    for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
        assert site.ask(site.monitor, version=version).status == 200
    values = "".join(f"<param><value>{value}</value></param>" for value in ("t1", "echo", "5"))
    call = f"<methodCall><methodName>cmd_submit_reading</methodName><params>{values}</params></methodCall>"
    assert b"OK" in site.ask(site.monitor, post(call.encode())).body

    assert monitor.wait_for_ticket("t1").content[:2] == [0, "5"]
    assert "command=cmd_submit_reading ticket=t1 peer=127.0.0.1 certificate=monitor.example.org verdict=accepted" in (
        site.agent.log.read_text()
    )


def test_nobody_else_gets_in(site: Site, tmp_path: Path) -> None:
    """No certificate, one of another authority, one that is over or not yet good, one of its own making."""
    site.expect_refusal(None, "it showed no certificate")
    site.expect_refusal(site.stranger.issue("monitor.example.org"), "not known here")
    site.expect_refusal(site.ca.expired("monitor.example.org"), "expired")
    site.expect_refusal(site.ca.not_yet_valid("monitor.example.org"), "not valid yet")
    site.expect_refusal(self_signed(tmp_path, "monitor.example.org"), "signed by itself")
    site.expect_good_service()


def test_a_name_that_may_not_command_is_told_so(site: Site) -> None:
    """403, however good its certificate is."""
    answer = site.ask(site.ca.issue("web2.example.org"))

    assert (answer.status, answer.headers["connection"]) == (403, "close")
    assert "certificate refused peer=127.0.0.1 names='web2.example.org'" in site.agent.log.read_text()


@pytest.mark.parametrize(
    "data", [HEALTHY, b"GET / HTTP/1.1\r\n\r\n", b"\x80\x2e\x01\x00\x02", bytes(1000), b"\x16\x03\x01"]
)
def test_what_is_no_tls_gets_no_answer_in_http(site: Site, data: bytes) -> None:
    """And costs nobody anything."""
    with socket.create_connection(("127.0.0.1", site.agent.port), SECONDS) as connection:
        connection.sendall(data)
        connection.shutdown(socket.SHUT_WR)
        received = b""
        with contextlib.suppress(ConnectionResetError):
            while piece := connection.recv(65536):
                received += piece
    site.expect_good_service()

    assert b"HTTP/" not in received


def test_old_versions_are_not_spoken(site: Site) -> None:
    """TLS 1.2 is the least."""
    context = site.context(site.monitor)
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
    context.set_ciphers("ALL:@SECLEVEL=0")
    with (
        socket.create_connection(("127.0.0.1", site.agent.port), SECONDS) as plain,
        pytest.raises((ssl.SSLError, OSError)),
    ):
        context.wrap_socket(plain, server_hostname="localhost")


@pytest.mark.parametrize("count", [12, 290])
@pytest.mark.parametrize("bytes_sent", [0, 1, 100])
def test_half_handshakes_keep_nobody_waiting(site: Site, count: int, bytes_sent: int) -> None:
    """Callers that stop in the middle of their hello."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = site.context(None).wrap_bio(incoming, outgoing, server_hostname="localhost")
    with contextlib.suppress(ssl.SSLWantReadError):
        client.do_handshake()
    hello = outgoing.read()[:bytes_sent]
    with contextlib.ExitStack() as stack:
        for _ in range(count):
            connection = stack.enter_context(socket.create_connection(("127.0.0.1", site.agent.port), SECONDS))
            connection.sendall(hello)
        for _ in range(10):
            site.expect_good_service()


def test_idle_connections_after_their_handshake_keep_nobody_waiting(site: Site) -> None:
    """Thirty that say nothing, and thirty that stop within a request."""
    with contextlib.ExitStack() as stack:
        for number in range(60):
            connection = stack.enter_context(site.connect(site.monitor))
            connection.sendall(HEALTHY[: number % 2 * 30])
        for _ in range(10):
            site.expect_good_service()


def test_a_new_certificate_is_shown_after_a_hangup_and_connections_go_on(site: Site) -> None:
    """Nobody is cut off, and files that are wrong change nothing."""
    renewed = site.ca.issue("localhost", "127.0.0.1")
    with site.connect(site.monitor) as old:
        first = old.getpeercert(binary_form=True)
        old.sendall(HEALTHY)
        assert read_answer(old).status == 200

        site.own.key.write_bytes(renewed.key.read_bytes())
        assert "does not belong to the certificate" in site.agent.reload()
        site.expect_good_service()

        site.own.certificate.write_bytes(renewed.certificate.read_bytes())
        assert "settings loaded again" in site.agent.reload()
        old.sendall(HEALTHY)
        assert read_answer(old).status == 200
        with site.connect(site.monitor) as new:
            assert new.getpeercert(binary_form=True) != first


def test_a_name_that_was_struck_off_is_refused_from_its_next_request_on(site: Site) -> None:
    """Also on a connection that it has already."""
    with site.connect(site.monitor) as connection:
        connection.sendall(HEALTHY)
        assert read_answer(connection).status == 200
        site.agent.edit("peers = monitor.example.org", "peers = other.example.org")
        assert "settings loaded again" in site.agent.reload()
        connection.sendall(HEALTHY)
        assert read_answer(connection).status == 403


def test_a_name_that_was_struck_off_is_refused_although_its_requests_come_without_a_break(site: Site) -> None:
    """One request right behind the other never lets go of its thread."""
    with site.connect(site.monitor) as connection:
        reloaded = threading.Thread(target=lambda: (time.sleep(0.5), site.agent.reload()))
        site.agent.edit("peers = monitor.example.org", "peers = other.example.org")
        reloaded.start()
        status, until = 200, time.monotonic() + 10
        while status == 200 and time.monotonic() < until:
            connection.sendall(HEALTHY)
            status = read_answer(connection).status
        reloaded.join()

    assert status == 403


def test_a_key_that_others_can_read_stops_a_start_and_a_reload(site: Site) -> None:
    """With the line, and the command that mends it."""
    path = site.own.key
    path.chmod(0o644)
    said = site.agent.reload()
    assert "the old settings stay" in said
    assert f"chmod 600 {path}" in said
    site.expect_good_service()
    checked = site.agent.command("check-config")
    site.agent.stop()
    site.agent.launch()

    assert site.agent.wait() == 78
    assert checked.returncode == 78
    assert f"[security] key: {path}" in checked.stderr
