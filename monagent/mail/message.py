"""Put a mail together as the standards say: RFC 5322 and 2045 to 2047, 2231, 2369, 3834.

multipart/mixed(
    alternative(text, related(HTML, pictures)),
    attachments)
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from email import charset, policy
from email.encoders import encode_base64
from email.header import Header
from email.mime.application import MIMEApplication
from email.mime.base import MIMEBase
from email.mime.image import MIMEImage
from email.mime.multipart import MIMEMultipart
from email.mime.text import MIMEText
from email.utils import formatdate

from monagent.addresses import shown
from monagent.mail.render import Rendered
from monagent.mail.text import one_line
from monagent.mail.views import Attachment, Picture

_WIRE = policy.compat32.clone(linesep="\r\n", max_line_length=78)
_PLAIN = re.compile(r"[ -~]*")
_ID_PART = re.compile(r"[^A-Za-z0-9.-]+")
_LONGEST = "X-Monagent-Template"
"""A header's first line has its name in front; this leaves room for any of ours."""
REFERENCES = 20
"""The newest; a header must not grow without end."""


@dataclass(frozen=True, slots=True)
class Envelope:
    """Who a mail is from and for, and what it belongs to.

    Attributes:
        sender: name and address.
        recipients: addresses.
        host: this host's name.
        report: the name of the `[mail:REPORT]` section.
        message_id: with its angle brackets; the same however often it is sent.
        references: message ids of what it follows, the oldest first.
        made: seconds since the epoch.
        marks: further `X-Monagent-` headers.
    """

    sender: tuple[str, str]
    recipients: Sequence[str]
    host: str
    report: str
    message_id: str
    references: Sequence[str]
    made: float
    marks: Mapping[str, str]


def new_message_id(address: str) -> str:
    """An id that no other mail has."""
    return f"<{secrets.token_hex(16)}.monagent@{address.rpartition('@')[2] or 'localhost'}>"


def build(
    envelope: Envelope, rendered: Rendered, pictures: Sequence[Picture], attachments: Sequence[Attachment]
) -> bytes:
    """The whole mail, as it is sent, with CR LF at the ends of lines."""
    body = MIMEMultipart("alternative")
    body.attach(_text(rendered.text, "plain"))
    html: MIMEBase = _text(rendered.html, "html")
    if pictures:
        related = MIMEMultipart("related", type="text/html")
        related.attach(html)
        for picture in pictures:
            related.attach(_picture(picture))
        html = related
    body.attach(html)
    mail = MIMEMultipart("mixed")
    mail.attach(body)
    for attachment in attachments:
        mail.attach(_attachment(attachment))
    for name, value in _headers(envelope, rendered.subject):
        mail[name] = value  # type: ignore[assignment] # a Header is fine, too
    return mail.as_bytes(policy=_WIRE)


def _headers(envelope: Envelope, subject: str) -> list[tuple[str, str | Header]]:
    host = one_line(envelope.host, 100)
    list_id = f"{_ID_PART.sub('-', envelope.report)}.{_ID_PART.sub('-', host) or 'localhost'}.monagent"
    headers: list[tuple[str, str | Header]] = [
        ("From", shown(*envelope.sender)),
        ("To", ",\r\n ".join(envelope.recipients)),
        ("Subject", header_text(subject)),
        ("Date", formatdate(envelope.made, localtime=True)),
        ("Message-ID", envelope.message_id),
    ]
    if envelope.references:
        kept = [envelope.references[0], *envelope.references[1:][-REFERENCES:]]
        headers += [("In-Reply-To", kept[-1]), ("References", "\r\n ".join(kept))]
    headers += [
        ("Auto-Submitted", "auto-generated"),
        ("X-Auto-Response-Suppress", "All"),
        ("List-Id", f"<{list_id}>"),
        ("X-Monagent-Host", header_text(host)),
        ("X-Monagent-Report", header_text(envelope.report)),
    ]
    return headers + [
        (f"X-Monagent-{name}", header_text(one_line(value, 200))) for name, value in envelope.marks.items()
    ]


def header_text(value: str) -> str | Header:
    """Text for a header. What could be taken for an encoded word is encoded itself, and so says only what it says."""
    line = one_line(value, 1000)
    if _PLAIN.fullmatch(line) and "=?" not in line and max(map(len, line.split(" ") or [""])) < 70:
        return Header(line, "us-ascii", maxlinelen=76, header_name=_LONGEST) if len(line) > 60 else line
    return Header(line, "utf-8", maxlinelen=75, header_name=_LONGEST)


def _text(text: str, kind: str) -> MIMEText:
    """Quoted-printable where most of it is ASCII, base64 where it is not."""
    encoding = charset.Charset("utf-8")
    foreign = sum(letter > "~" for letter in text)
    encoding.body_encoding = charset.QP if foreign * 6 < len(text) else charset.BASE64
    return MIMEText(text, kind, encoding)  # type: ignore[arg-type]


def _picture(picture: Picture) -> MIMEImage:
    part = MIMEImage(picture.data, "png", name=f"{picture.cid}.png")
    part["Content-ID"] = f"<{picture.cid}>"
    part.add_header("Content-Disposition", "inline", filename=f"{picture.cid}.png")
    return part


def _attachment(attachment: Attachment) -> MIMEBase:
    if attachment.name.endswith(".csv"):
        part = MIMEBase("text", "csv", charset="utf-8")
        part.set_payload(attachment.data)
        encode_base64(part)
    else:
        part = MIMEApplication(attachment.data)
    name = attachment.name
    part.add_header("Content-Disposition", "attachment", filename=name if name.isascii() else ("utf-8", "", name))
    return part
