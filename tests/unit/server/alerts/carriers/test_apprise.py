"""Notifications by the real Apprise, to an HTTP server of ours."""

from __future__ import annotations

import logging
import sys
from pathlib import Path

import pytest

from monagent.server.alerts.carriers.apprise import MISSING, AppriseChannel
from monagent.server.alerts.carriers.parcels import Note, Parcel
from tests.unit.server.alerts.carriers.receiver import Receiver
from tests.unit.server.alerts.carriers.rows import content

pytest.importorskip("apprise")
pytestmark = pytest.mark.filterwarnings(
    "ignore::DeprecationWarning", "ignore::PendingDeprecationWarning"
)  # of its imports


def _parcel(file: Path, count: int = 1) -> Parcel:
    notes = tuple(Note(n + 1, None, "problem", content(host=f"web{n}"), 1795350600.0) for n in range(count))
    return Parcel("b" * 32, "ops", "apprise", str(file), 1, notes)


def _file(directory: Path, text: str, mode: int = 0o600) -> Path:
    path = directory / "urls"
    path.write_text(text)
    path.chmod(mode)
    return path


def _url(receiver: Receiver) -> str:
    return receiver.url.replace("http://", "json://name:hush@") + "/hook"


def test_a_problem_is_told_to_each_service(
    receiver: Receiver, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """In one line and its message; the URLs are in no log."""
    caplog.set_level(logging.DEBUG)
    file = _file(tmp_path, f"# ours\n{_url(receiver)}\n\n{_url(receiver)}2\n")

    assert AppriseChannel().send(_parcel(file)).outcome == "sent"
    heard = sorted(receiver.heard, key=lambda one: one.path)
    assert [one.path for one in heard] == ["/hook", "/hook2"]
    assert heard[0].content["title"] == "CRITICAL: web1 root disk (2.8)".replace("web1", "web0")
    assert "1.1 GiB of 40 GiB are left" in heard[0].content["message"]
    assert heard[0].content["type"] == "failure"
    assert "hush" not in caplog.text


def test_many_are_told_at_once(receiver: Receiver, tmp_path: Path) -> None:
    """Twenty of them, and how many more there are."""
    AppriseChannel().send(_parcel(_file(tmp_path, _url(receiver)), 30))

    (heard,) = receiver.heard
    assert heard.content["title"] == "30 notifications"
    assert heard.content["message"].count("\n") == 20
    assert "and 10 more" in heard.content["message"]


def test_a_service_that_does_not_take_it_is_tried_again(receiver: Receiver, tmp_path: Path) -> None:
    """Without a word of its URL."""
    receiver.reply = lambda _heard: (500, b"")
    file = _file(tmp_path, _url(receiver))
    verdict = AppriseChannel().send(_parcel(file))

    assert (verdict.outcome, verdict.trouble) == ("later", f"a service of {file} did not take it")


@pytest.mark.parametrize(
    ("text", "mode", "trouble"),
    [
        ("json://a", 0o644, "can be read by others"),
        ("# nothing\n", 0o600, "holds no Apprise URL"),
        ("json://localhost\nnonsense://hush\n", 0o600, "line 2 of the file of Apprise URLs is none"),
    ],
)
def test_a_file_that_is_wrong_is_waited_for(tmp_path: Path, text: str, mode: int, trouble: str) -> None:
    """It says what is wrong, until somebody mends it."""
    verdict = AppriseChannel().send(_parcel(_file(tmp_path, text, mode)))

    assert verdict.outcome == "later"
    assert trouble in verdict.trouble
    assert "hush" not in verdict.trouble


def test_without_apprise_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The server runs without it."""
    monkeypatch.setitem(sys.modules, "apprise", None)
    verdict = AppriseChannel().send(_parcel(_file(tmp_path, "json://localhost")))

    assert (verdict.outcome, verdict.trouble) == ("later", MISSING)
