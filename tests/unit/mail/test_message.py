"""The mail as it is sent: well formed, and nothing in it but what was meant."""

from __future__ import annotations

import base64
import email
import email.header
import email.policy
import re
from email.message import EmailMessage, Message

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monagent.mail.message import Envelope, build, new_message_id
from monagent.mail.png import Canvas
from monagent.mail.render import Rendered
from monagent.mail.settings import incidents_of
from monagent.mail.views import Attachment, Picture

ANYTHING = st.text(st.characters(exclude_categories=()), max_size=200)
ENCODED = [
    "=?utf-8?q?x=0ABcc:_y?=",
    "=?utf-8?b?DQpCY2M6IGE=?=",
    "a =?us-ascii?q?b?= c",
    "a\r\nBcc: evil@example.org\r\n\r\nbody",
]
NAMES = {
    "From", "To", "Subject", "Date", "Message-ID", "In-Reply-To", "References", "Auto-Submitted", "X-Auto-Response-Suppress",
    "List-Id", "X-Monagent-Host", "X-Monagent-Report", "X-Monagent-State", "Content-Type", "MIME-Version",
}  # fmt: skip


def built(
    subject: str = "s", text: str = "t\n", html: str = "<p>h</p>", host: str = "web1", state: str = "ok", **more: object
) -> bytes:
    """A mail with all of its parts."""
    envelope = Envelope(
        ("Monitoring Köln", "mon@b.c"), ("a@b.c", "d@e.f"), host, "ops", new_message_id("mon@b.c"), ("<1@b.c>", "<2@b.c>"), 1795305600.0, {"State": state}
    )  # fmt: skip
    picture = Picture("plot0", Canvas(2, 2, (0, 0, 0)).encode(), 2, 2, "alt")
    attachments = [Attachment("页面.csv", "\ufeffä,b\r\n".encode()), Attachment("a b.csv", b"1\r\n")]
    return build(envelope, Rendered(subject, text, html), [picture], attachments)


def parsed(data: bytes) -> EmailMessage:
    """As a modern mail program reads it."""
    found = email.message_from_bytes(data, policy=email.policy.default)
    assert isinstance(found, EmailMessage)
    return found


def subject_of(data: bytes) -> str:
    """As an old mail program reads it: by RFC 2047 alone."""
    raw: Message = email.message_from_bytes(data)
    parts = email.header.decode_header(raw["subject"])
    return "".join(part.decode(charset or "ascii") if isinstance(part, bytes) else part for part, charset in parts)


def test_the_parts_are_where_mail_programs_look_for_them() -> None:
    """mixed(alternative(text, related(HTML, pictures)), attachments)."""
    mail = parsed(built(text="grün\n", html='<img src="cid:plot0">'))
    body, *files = mail.iter_parts()
    text, related = body.iter_parts()
    html, picture = related.iter_parts()

    assert mail.get_content_type() == "multipart/mixed"
    assert (body.get_content_type(), related.get_content_type()) == ("multipart/alternative", "multipart/related")
    assert (text.get_content().strip(), html.get_content().strip()) == ("grün", '<img src="cid:plot0">')
    assert (picture["content-id"], picture.get_content_type(), picture.get_content_disposition()) == (
        "<plot0>",
        "image/png",
        "inline",
    )
    assert [one.get_filename() for one in files] == ["页面.csv", "a b.csv"]
    assert files[0].get_content() == "\ufeffä,b\r\n"
    assert not list(mail.defects)


def test_the_headers_say_what_it_is() -> None:
    """A robot wrote it; nobody's absence note answers; it follows what came before."""
    data = built("磁盘 is 严重")
    mail = parsed(data)

    assert (mail["subject"], subject_of(data)) == ("磁盘 is 严重",) * 2
    assert mail["from"].addresses[0].display_name == "Monitoring Köln"
    assert [one.addr_spec for one in mail["to"].addresses] == ["a@b.c", "d@e.f"]
    assert (mail["auto-submitted"], mail["list-id"], mail["in-reply-to"]) == (
        "auto-generated",
        "<ops.web1.monagent>",
        "<2@b.c>",
    )
    assert mail["references"].split() == ["<1@b.c>", "<2@b.c>"]
    assert re.fullmatch(r"<[0-9a-f]{32}\.monagent@b\.c>", mail["message-id"])
    assert (mail["x-monagent-host"], mail["x-monagent-report"], mail["x-monagent-state"]) == ("web1", "ops", "ok")


def is_safe(data: bytes) -> None:
    """Only ASCII in lines that servers take, only headers that we know, no address that was not given."""
    assert data.isascii()
    lines = data.split(b"\r\n")
    assert all(b"\n" not in line and b"\r" not in line and len(line) <= 998 for line in lines)
    head = data.split(b"\r\n\r\n")[0].decode()
    assert {line.split(":")[0] for line in head.split("\r\n") if not line[0].isspace()} <= NAMES
    assert max(map(len, head.split("\r\n"))) <= 120
    for policy in (email.policy.default, email.policy.compat32, email.policy.SMTP):
        mail = email.message_from_bytes(data, policy=policy)
        assert set(mail.keys()) <= NAMES
        again = email.message_from_bytes(mail.as_bytes(), policy=policy)
        assert set(again.keys()) <= NAMES  # what a program that writes it anew makes of it
        assert again["bcc"] is None


@pytest.mark.parametrize("text", ENCODED)
def test_an_encoded_word_in_what_is_shown_stays_text(text: str) -> None:
    """It is encoded itself, and so says what it says."""
    data = built(text, host=text, state=text)
    is_safe(data)
    shown = re.sub(r"[\r\n]+", " ", text).strip()

    assert " ".join(subject_of(data).split()) == " ".join(shown.split())


@given(ANYTHING)
def test_no_text_makes_a_header(text: str) -> None:
    """Whatever it is."""
    is_safe(built(text, host=text, state=text))


@given(ANYTHING)
def test_text_arrives_as_it_was(text: str) -> None:
    """But for what cannot be sent."""
    wanted = text.encode("utf-8", "replace").decode()
    mail = parsed(built(text=wanted))
    part = mail.get_body(("plain",))
    assert part is not None
    payload = part.get_payload(decode=True)
    assert isinstance(payload, bytes)

    assert payload.decode().splitlines() == wanted.splitlines()


def test_other_scripts_are_base64_and_latin_is_readable() -> None:
    """For those who look at the source."""
    assert base64.b64encode("磁盘".encode()) in built(text="磁盘")
    assert b"Gr=C3=B6=C3=9Fe of all disks of this host" in built(text="Größe of all disks of this host\n")


def test_the_incidents_of_a_context_are_those_that_it_names() -> None:
    """Its own and its alerts', each once; what has a wrong type is judged elsewhere."""
    alerts = [{"incident": "b"}, {"incident": "a"}, {"incident": 5}, {}, "x"]

    assert incidents_of({"incident": "a", "alerts": alerts}) == ["a", "b"]
    assert incidents_of({"incident": 5, "alerts": "x"}) == []
