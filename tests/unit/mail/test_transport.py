"""A mail server that has gone bad: whatever it answers, we end in time and say what was wrong."""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from monagent.errors import Unavailable
from monagent.mail import transport
from monagent.mail.settings import Server
from monagent.mail.transport import connect
from tests.support.authority import Authority


@contextmanager
def listener(behave: Callable[[socket.socket], None]) -> Iterator[Server]:
    """A server that does that with its one caller."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            connection, _ = listening.accept()
            with connection, suppress(OSError):
                behave(connection)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield Server("127.0.0.1", listening.getsockname()[1], timeout=0.5)
        thread.join(5)


def drip(connection: socket.socket) -> None:
    """A byte now and then, without end."""
    for _ in range(100):
        connection.sendall(b"2")
        time.sleep(0.05)


def endless(connection: socket.socket) -> None:
    """Lines that go on and on."""
    while True:
        connection.sendall(b"220-more\r\n" * 100)


BAD: dict[str, tuple[Callable[[socket.socket], None], str]] = {
    "nothing": (lambda _connection: time.sleep(1), "timed out"),
    "the end": (lambda _connection: None, "closed the connection"),
    "a byte now and then": (drip, "timed out"),
    "lines without end": (endless, "never ended"),
    "a line without end": (lambda connection: connection.sendall(b"2" * 20_000), "does not speak SMTP"),
    "something else": (lambda connection: connection.sendall(b"HTTP/1.1 200 OK\r\n"), "does not speak SMTP"),
    "a refusal": (lambda connection: connection.sendall(b"554 go away\r\n"), "554 go away"),
    "bytes": (lambda connection: connection.sendall(b"\xff\x00\xfe\r\n"), "does not speak SMTP"),
}


@pytest.mark.parametrize("bad", BAD)
def test_a_bad_server_is_away(bad: str) -> None:
    """Within the time-out, and with a reason."""
    behave, words = BAD[bad]
    started = time.monotonic()
    with listener(behave) as server, pytest.raises(Unavailable, match=words) as away:
        connect(server)

    assert time.monotonic() - started < 5
    assert str(away.value).isprintable()
    assert f"127.0.0.1 port {server.port}" in str(away.value)


def test_a_server_without_starttls_gets_nothing() -> None:
    """What was to be protected is not sent in the clear."""
    heard: list[bytes] = []

    def behave(connection: socket.socket) -> None:
        connection.sendall(b"220 hi\r\n")
        heard.append(connection.recv(1000))
        connection.sendall(b"250 mail.example.org\r\n")
        heard.append(connection.recv(1000))

    with listener(behave) as server, pytest.raises(Unavailable, match="STARTTLS"):
        connect(Server(server.host, server.port, "starttls", "me", "secret", timeout=1))

    assert b"secret" not in b"".join(heard)


def test_what_is_said_before_tls_begins_counts_for_nothing(tmp_path: Path) -> None:
    """Somebody between us and the server may have put it there."""
    pair = Authority(tmp_path).issue("127.0.0.1")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(pair.certificate, pair.key)

    def behave(connection: socket.socket) -> None:
        connection.sendall(b"220 hi\r\n")
        connection.recv(1000)
        connection.sendall(b"250-mail.example.org\r\n250 STARTTLS\r\n")
        connection.recv(1000)
        connection.sendall(b"220 go\r\n250 injected\r\n")
        with context.wrap_socket(connection, server_side=True) as protected:
            protected.recv(1000)

    with listener(behave) as server, pytest.raises(Unavailable, match="between STARTTLS and TLS"):
        connect(Server(server.host, server.port, "starttls", ca=tmp_path / "ca.pem", timeout=2))


def test_a_password_never_shows() -> None:
    """Not in what a record prints."""
    assert "secret" not in repr(Server("x", 25, user="me", password="secret"))


def test_the_verdict_on_a_mail_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Longer than for any other answer: whoever gives up earlier sends it twice."""
    monkeypatch.setattr(transport, "VERDICT_SECONDS", 10.0)

    def behave(connection: socket.socket) -> None:
        connection.sendall(b"220 hi\r\n")
        file = connection.makefile("rb")
        for line in file:
            if line.startswith(b"DATA"):
                connection.sendall(b"354 go\r\n")
                while file.readline() not in (b".\r\n", b""):
                    pass
                time.sleep(1.2)
            connection.sendall(b"250 ok\r\n")

    with listener(behave) as server:
        session = connect(server)
        replies = session.send("a@b.c", ["d@e.f"], b"x: y\r\n\r\nz\r\n")
        session.close()

    assert replies["d@e.f"].taken
