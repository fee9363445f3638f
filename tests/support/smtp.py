"""A mail server on loopback that takes mail for real, and answers as a test wants it to."""

from __future__ import annotations

import email
import email.policy
import ssl
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from email.message import EmailMessage
from typing import Any, Self

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

from tests.support.ports import free_port

OK_REPLY = "250 taken"


@dataclass
class Arrived:
    """One mail that was taken."""

    sender: str
    recipients: list[str]
    data: bytes
    at: float = field(default_factory=time.time)

    @property
    def mail(self) -> EmailMessage:
        """As a mail program reads it."""
        parsed = email.message_from_bytes(self.data, policy=email.policy.default)
        assert isinstance(parsed, EmailMessage)
        return parsed


class MailServer:
    """Takes mail. What `replies` gives for a step ("MAIL", "RCPT", "DATA") is answered instead of OK."""

    def __init__(
        self,
        *,
        port: int = 0,
        tls: ssl.SSLContext | None = None,
        starttls: ssl.SSLContext | None = None,
        login: tuple[str, str] | None = None,
        size: int = 33_554_432,
    ) -> None:
        self.port = port or free_port()
        self.arrived: list[Arrived] = []
        self.replies: dict[str, Callable[[str], str | None]] = {}
        self.sessions = 0
        self.logins: list[bool] = []
        self._changed = threading.Condition()
        self._login = login
        options: dict[str, Any] = {"data_size_limit": size, "server_hostname": "mail.example.org"}
        if starttls:
            options |= {"tls_context": starttls, "require_starttls": True}
        if login:
            options |= {
                "authenticator": self._authenticate,
                "auth_required": bool(starttls),
                # What is encrypted from the first byte counts as TLS, too; aiosmtpd does not see it there.
                "auth_require_tls": bool(starttls),
            }
        self._controller = Controller(
            self, hostname="127.0.0.1", port=self.port, ssl_context=tls, ready_timeout=10.0, **options
        )

    def __enter__(self) -> Self:
        self._controller.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._controller.stop()
        self._controller.loop.close()

    # -- what aiosmtpd calls ------------------------------------------------------------------------------------

    async def handle_EHLO(  # noqa: N802
        self, _server: SMTP, session: Session, _envelope: Envelope, hostname: str, responses: list[str]
    ) -> list[str]:
        session.host_name = hostname
        self.sessions += 1
        return responses

    async def handle_MAIL(  # noqa: N802
        self, server: SMTP, _session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        reply = self._answer("MAIL", address)
        if reply is None:
            envelope.mail_from = address
            envelope.mail_options.extend(options)
        return self._said(server, reply)

    async def handle_RCPT(  # noqa: N802
        self, server: SMTP, _session: Session, envelope: Envelope, address: str, _options: list[str]
    ) -> str:
        reply = self._answer("RCPT", address)
        if reply is None:
            envelope.rcpt_tos.append(address)
        return self._said(server, reply)

    async def handle_DATA(self, server: SMTP, _session: Session, envelope: Envelope) -> str:  # noqa: N802
        content = envelope.content
        assert isinstance(content, bytes)
        assert envelope.mail_from is not None
        reply = self._answer("DATA", envelope.mail_from)
        if reply is None:
            with self._changed:
                self.arrived.append(Arrived(envelope.mail_from, list(envelope.rcpt_tos), content))
                self._changed.notify_all()
        return self._said(server, reply)

    def _answer(self, step: str, address: str) -> str | None:
        script = self.replies.get(step)
        return script(address) if script else None

    @staticmethod
    def _said(server: SMTP, reply: str | None) -> str:
        if reply and reply.startswith("421") and server.transport is not None:
            server.loop.call_later(0.05, server.transport.close)
        return reply or OK_REPLY

    def _authenticate(
        self, _server: SMTP, _session: Session, _envelope: Envelope, _mechanism: str, data: LoginPassword
    ) -> AuthResult:
        good = (data.login.decode(), data.password.decode()) == self._login
        self.logins.append(good)
        return AuthResult(success=good, handled=False)

    # -- what tests ask -----------------------------------------------------------------------------------------

    def wait(self, count: int, seconds: float = 20.0) -> list[Arrived]:
        """The mails, once there are so many."""
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.arrived) >= count, seconds), (
                f"{len(self.arrived)} mails of {count} came within {seconds} s"
            )
            return list(self.arrived)


def once(*replies: str) -> Callable[[str], str | None]:
    """These answers, one after the other, and then no more trouble."""
    left = list(replies)
    return lambda _address: left.pop(0) if left else None


def text_of(mail: EmailMessage) -> str:
    """The text part."""
    part = mail.get_body(("plain",))
    assert part is not None
    return str(part.get_content())


def html_of(mail: EmailMessage) -> str:
    """The HTML part."""
    part = mail.get_body(("html",))
    assert part is not None
    return str(part.get_content())
