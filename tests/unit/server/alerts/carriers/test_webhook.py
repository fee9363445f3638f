"""Webhooks: signed, batched, and what follows from an answer."""

from __future__ import annotations

import hashlib
import hmac
import socket
import threading
import time
from pathlib import Path

import pytest

from monagent.errors import Refused, Unavailable
from monagent.server.alerts.carriers.parcels import Note, Parcel, Progress
from monagent.server.alerts.carriers.post import checked_url, post
from monagent.server.alerts.carriers.webhook import WebhookChannel, verdict_of
from tests.support.ports import free_port
from tests.unit.server.alerts.carriers.receiver import Receiver
from tests.unit.server.alerts.carriers.rows import SECRET, content, secret_file

NOW = 1_800_000_000.0


def _parcel(url: str, path: str, count: int = 1, refused: float | None = None) -> Parcel:
    notes = (
        Note(n + 1, None, "problem", content(secret_file=path, value=float("nan")), 1795350600.5) for n in range(count)
    )
    return Parcel("b" * 32, "ops", "webhook", url, 9, tuple(notes), Progress(refused=refused))


def test_a_receiver_can_make_sure_who_sent_it(receiver: Receiver, tmp_path: Path) -> None:
    """By the recipe of the documentation; the secret's file is not told."""
    parcel = _parcel(receiver.url + "/hook?team=ops", secret_file(tmp_path), count=2)
    verdict = WebhookChannel().send(parcel)

    assert verdict.outcome == "sent"
    (heard,) = receiver.heard
    timestamp = heard.headers["X-Monagent-Timestamp"]
    wanted = "sha256=" + hmac.new(SECRET.encode(), timestamp.encode() + b"." + heard.body, hashlib.sha256).hexdigest()
    assert hmac.compare_digest(wanted, heard.headers["X-Monagent-Signature"])
    assert abs(time.time() - int(timestamp)) < 60
    assert heard.path == "/hook?team=ops"
    assert heard.content["id"] == "b" * 32
    first, second = heard.content["events"]
    assert (first["id"], second["id"]) == (f"{'b' * 32}-1", f"{'b' * 32}-2")
    assert (first["host"], first["state"], first["value"], first["at"]) == (
        "web1",
        "critical",
        None,
        "2026-11-22T12:30:00.500Z",
    )
    assert "secret_file" not in first


@pytest.mark.parametrize(
    ("status", "minutes", "outcome"),
    [(200, 99, "sent"), (204, 99, "sent"), (400, 59, "later"), (400, 60, "failed"), (404, 60, "failed"),
     (408, 99, "later"), (429, 99, "later"), (302, 99, "later"), (500, 99, "later"), (503, 99, "later")],
)  # fmt: skip
def test_what_follows_from_an_answer(
    receiver: Receiver, tmp_path: Path, status: int, minutes: int, outcome: str
) -> None:
    """Only what says that it never will is believed, after it has said so for an hour."""
    receiver.headers = {"Location": receiver.url + "/elsewhere"}
    receiver.reply = lambda _heard: (status, b"say\x1b[31m why\nand more" if status >= 300 else b"")

    parcel = _parcel(receiver.url, secret_file(tmp_path), refused=NOW - 60.0 * minutes)
    verdict = WebhookChannel(lambda: NOW).send(parcel)

    assert verdict.outcome == outcome
    assert len(receiver.heard) == 1
    if status >= 300:
        assert verdict.trouble.startswith(f"the receiver answered HTTP {status}: say\N{REPLACEMENT CHARACTER}[31m why")


def test_a_refusal_counts_from_the_first_one_and_may_be_of_one_event(receiver: Receiver, tmp_path: Path) -> None:
    """However long nobody could be reached before; in the end each of many events has a try by itself."""
    receiver.reply = lambda _heard: (404, b"")
    path = secret_file(tmp_path)

    first = WebhookChannel(lambda: NOW).send(_parcel(receiver.url, path))
    last = WebhookChannel(lambda: NOW).send(_parcel(receiver.url, path, count=2, refused=NOW - 3600.0))

    assert (first.outcome, first.progress, first.apart) == ("later", Progress(refused=NOW), False)
    assert (last.outcome, last.apart) == ("later", True)


def test_a_secret_that_others_can_read_is_not_used(receiver: Receiver, tmp_path: Path) -> None:
    """It waits until somebody mends the file, and says how."""
    path = secret_file(tmp_path)
    Path(path).chmod(0o644)

    verdict = WebhookChannel().send(_parcel(receiver.url, path))

    assert (verdict.outcome, receiver.heard) == ("later", [])
    assert f"chmod 600 {path}" in verdict.trouble


def test_nobody_there_is_unavailable(tmp_path: Path) -> None:
    """And tells of the host and port alone: paths are secrets."""
    with pytest.raises(Unavailable, match=r"^127\.0\.0\.1 port \d+: connection refused$"):
        WebhookChannel().send(_parcel(f"http://127.0.0.1:{free_port()}/token", secret_file(tmp_path)))


@pytest.mark.parametrize(
    "url",
    ["ftp://a/b", "file:///etc/passwd", "http:///x", "http://a:99999/", "http://u:p@a/", "http://a/x y", "http://a/ä",
     "http://a/\r\nX: y", "", "http://[::1"],
)  # fmt: skip
def test_a_url_that_cannot_be_posted_to_is_refused(url: str) -> None:
    """Without repeating it: it may hold a password."""
    with pytest.raises(Refused) as caught:
        checked_url(url)
    assert "u:p" not in str(caught.value)


def test_a_receiver_that_drips_is_cut_off() -> None:
    """One deadline for all of it, however much it says in between."""
    with _saying(b"HTTP/1.1 200 OK\r\n", drip=b"X: y\r\n") as url:
        began = time.monotonic()
        with pytest.raises(Unavailable, match="timed out"):
            post(url, b"{}", {}, 0.3)
    assert time.monotonic() - began < 3.0


def test_a_receiver_that_floods_is_cut_off() -> None:
    """64 KiB are enough to say no."""
    with _saying(b"HTTP/1.1 100 Continue\r\n\r\n" * 10_000) as url, pytest.raises(Unavailable):
        post(url, b"{}", {}, 5.0)


def test_no_proxy_of_the_environment_is_used(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is signed goes to whom it is meant for."""
    for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{free_port()}")
    assert post(receiver.url, b"{}", {}, 5.0).status == 200


def test_a_plain_answer_counts_as_taken() -> None:
    """Whatever its body holds."""
    with _saying(b"HTTP/1.1 201 Created\r\nContent-Length: 5\r\n\r\nhello") as url:
        assert verdict_of(post(url, b"{}", {}, 5.0), None, NOW).outcome == "sent"


class _saying:  # noqa: N801 - reads as a sentence
    """A server that says the same to whoever connects, and then drips."""

    def __init__(self, said: bytes, drip: bytes = b"") -> None:
        self._said, self._drip = said, drip
        self._listener = socket.create_server(("127.0.0.1", free_port()))
        self._ended = threading.Event()

    def __enter__(self) -> str:
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()
        return f"http://127.0.0.1:{self._listener.getsockname()[1]}/"

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join(5)
        self._listener.close()

    def _serve(self) -> None:
        peer, _ = self._listener.accept()
        with peer:
            try:
                peer.recv(65536)
                peer.sendall(self._said)
                while self._drip and not self._ended.wait(0.05):
                    peer.sendall(self._drip)
            except OSError:
                pass
            self._ended.wait(5)
