"""Hand a mail to a mail server by SMTP (RFC 5321, 3207, 4954), and say what it answered for each recipient."""

from __future__ import annotations

import contextlib
import smtplib
import ssl
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from monagent.errors import ConfigError, Problem, Refused, Unavailable
from monagent.mail.settings import Server
from monagent.mail.text import one_line

VERDICT_SECONDS = 600.0
"""For the answer to a whole mail (RFC 5321, 4.5.3.2.6): whoever gives up earlier sends it twice."""
REPLY_LINES, LINE_LIMIT = 200, 8192
_TOO_LARGE = (552, 523)
"""RFC 1870 and 5248 (5.3.4); 552 is "mailbox full", too, when it answers a recipient."""
_LOGIN_PASSING = 454


@dataclass(frozen=True, slots=True)
class Reply:
    """What a server answered: a code of three digits, and a line of text."""

    code: int
    text: str

    @property
    def taken(self) -> bool:
        """It is the server's responsibility now."""
        return 200 <= self.code < 300

    @property
    def passing(self) -> bool:
        """Trying again can help."""
        return not self.taken and self.code < 500

    def __str__(self) -> str:
        return f"{self.code} {self.text}".strip()


class LoginRefused(Refused):
    """The server does not know us: nothing can be sent until somebody mends the configuration."""

    exit_code = 77


class MailTooLarge(Refused):
    """The server does not take a mail of that size."""


class Session:
    """A connection to one server. Used by one thread."""

    def __init__(self, server: Server, smtp: smtplib.SMTP) -> None:
        self.server = server
        self._smtp = smtp

    def send(self, sender: str, recipients: Sequence[str], data: bytes) -> Mapping[str, Reply]:
        """Send one mail; the answer for each recipient.

        Raises:
            Unavailable: the connection broke; the mail may have been taken all the same.
            MailTooLarge: it is.
        """
        with _translated(self.server):
            options = [f"size={len(data)}"] if self._smtp.has_extn("size") else []
            answer = _reply(self._smtp.mail(sender, options))
            if not answer.taken:
                self._reset()
                if answer.code in _TOO_LARGE:
                    raise MailTooLarge(str(answer))
                return dict.fromkeys(recipients, answer)
            replies = {address: _reply(self._smtp.rcpt(address)) for address in recipients}
            if any(reply.code == 421 for reply in replies.values()):
                raise Unavailable(f"{self.server} is closing the connection")
            if not any(reply.taken for reply in replies.values()):
                self._reset()
                return replies
            verdict = self._data(data)
            return {address: verdict if reply.taken else reply for address, reply in replies.items()}

    def _data(self, data: bytes) -> Reply:
        try:
            with _patience(self._smtp):
                answer = _reply(self._smtp.data(data))
        except smtplib.SMTPDataError as error:
            answer = Reply(error.smtp_code, _text(error.smtp_error))
        if answer.code == 421:
            raise Unavailable(f"{self.server} is closing the connection: {answer}")
        if not answer.taken:
            self._reset()
        if answer.code in _TOO_LARGE:
            raise MailTooLarge(str(answer))
        return answer

    def try_envelope(self, sender: str, recipients: Sequence[str]) -> list[tuple[str, Reply]]:
        """What the server would say to a mail, without sending one.

        Raises:
            Unavailable: the connection broke.
        """
        with _translated(self.server):
            found = [(f"sender {sender}", _reply(self._smtp.mail(sender)))]
            if found[0][1].taken:
                found += [(f"recipient {address}", _reply(self._smtp.rcpt(address))) for address in recipients]
            self._reset()
            return found

    def _reset(self) -> None:
        with contextlib.suppress(smtplib.SMTPServerDisconnected):
            self._smtp.rset()

    def close(self) -> None:
        """Say goodbye, or just go."""
        with contextlib.suppress(OSError, smtplib.SMTPException):
            self._smtp.quit()
        self._smtp.close()


def connect(server: Server, tell: Callable[[str], None] = lambda _line: None) -> Session:
    """Reach a server, and log in where we should.

    Args:
        server: which, and how.
        tell: hears of each step that went well.

    Raises:
        Unavailable: it cannot be reached, or not safely.
        LoginRefused: it does not take our name and password.
    """
    smtp: smtplib.SMTP | None = None
    try:
        with _translated(server):
            smtp = _open(server, tell)
            if server.user:
                _log_in(smtp, server)
                tell(f"logged in as {server.user}")
            return Session(server, smtp)
    except BaseException:
        if smtp is not None:
            smtp.close()
        raise


def _open(server: Server, tell: Callable[[str], None]) -> smtplib.SMTP:
    context = _context(server)
    smtp: _Smtp | _SmtpTls
    if server.security == "tls":
        smtp = _SmtpTls(timeout=server.timeout, local_hostname=server.ehlo, context=context)
    else:
        smtp = _Smtp(timeout=server.timeout, local_hostname=server.ehlo)
    try:
        smtp._host = server.host  # type: ignore[union-attr] # noqa: SLF001 - what certificates are checked against
        code, greeting = smtp.connect(server.host, server.port)
        if code != 220:
            raise Unavailable(f"{server} does not want us: {_reply((code, greeting))}")  # noqa: TRY301 - closed below
        assert smtp.sock is not None
        tell(f"connected to {smtp.sock.getpeername()[0]} port {server.port}: {_text(greeting)}")
        smtp.ehlo_or_helo_if_needed()
        if server.security == "starttls":
            smtp.starttls(context=context)
            if smtp.heard:  # somebody on the way put it there
                raise Unavailable(f"{server} said something between STARTTLS and TLS")  # noqa: TRY301 - closed below
            smtp.ehlo_or_helo_if_needed()
        if isinstance(smtp.sock, ssl.SSLSocket):
            tell(_peer(smtp.sock))
    except BaseException:
        smtp.close()
        raise
    return smtp


def _context(server: Server) -> ssl.SSLContext | None:
    if server.security == "none":
        return None
    try:
        return ssl.create_default_context(cafile=str(server.ca) if server.ca else None)
    except (OSError, ssl.SSLError) as error:
        raise Unavailable(f"[mail] ca {server.ca} cannot be used: {error}") from error


def check_ca(ca: Path) -> None:
    """Make sure that certificates can be verified.

    Raises:
        ConfigError: the file holds no certificate of an authority.
    """
    try:
        ssl.create_default_context(cafile=str(ca))
    except (OSError, ssl.SSLError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise ConfigError([Problem("client.cfg", None, "mail", "ca", f"{ca} cannot be used: {reason}")]) from error


def _peer(sock: ssl.SSLSocket) -> str:
    certificate = sock.getpeercert() or {}
    named: Any = certificate.get("subjectAltName", ())
    names = [str(value) for kind, value in named if kind in ("DNS", "IP Address")]
    return (
        f"{sock.version()}, certificate for {', '.join(names) or '?'}, valid until {certificate.get('notAfter', '?')}"
    )


def _log_in(smtp: smtplib.SMTP, server: Server) -> None:
    if not (server.user + server.password).isascii():
        raise LoginRefused("[mail] user and password must be ASCII: that is all that SMTP logins carry")
    try:
        smtp.login(server.user, server.password, initial_response_ok=True)
    except smtplib.SMTPAuthenticationError as error:
        reply = Reply(error.smtp_code, _text(error.smtp_error))
        if reply.passing:
            raise Unavailable(f"{server} cannot check our login now: {reply}") from error
        raise LoginRefused(f"{server} refuses the login of {server.user}: {reply}") from error
    except smtplib.SMTPNotSupportedError as error:
        raise LoginRefused(f"{server} offers no login over this connection ([mail] security, user)") from error


def _bounded_reply(smtp: Any) -> tuple[int, bytes]:
    """One reply, as smtplib reads it, but bounded in time and length."""
    try:
        code, said = _lines(smtp, time.monotonic() + smtp.timeout)
    except BaseException:
        smtp.close()
        raise
    smtp.sock.settimeout(smtp.timeout)
    return code, said


def _lines(smtp: Any, until: float) -> tuple[int, bytes]:
    found: list[bytes] = []
    while len(found) < REPLY_LINES:
        line = _line(smtp, until)
        if not line[:3].isdigit():
            raise smtplib.SMTPServerDisconnected("it does not speak SMTP")
        found.append(line[4:].strip(b" \t\r\n"))
        if line[3:4] != b"-":
            return int(line[:3]), b"\n".join(found)
    raise smtplib.SMTPServerDisconnected("its reply never ended")


def _line(smtp: Any, until: float) -> bytes:
    while b"\n" not in smtp.heard:
        if len(smtp.heard) > LINE_LIMIT:
            raise smtplib.SMTPServerDisconnected("it does not speak SMTP")
        left = until - time.monotonic()
        if left <= 0:
            raise TimeoutError("its reply never ended: timed out")
        smtp.sock.settimeout(left)
        data = smtp.sock.recv(4096)
        if not data:
            raise smtplib.SMTPServerDisconnected("it closed the connection")
        smtp.heard += data
    line, _, smtp.heard = smtp.heard.partition(b"\n")
    return bytes(line)


class _Smtp(smtplib.SMTP):
    """Plain, or with STARTTLS."""

    heard = b""

    def getreply(self) -> tuple[int, bytes]:
        return _bounded_reply(self)


class _SmtpTls(smtplib.SMTP_SSL):
    """TLS from the first byte."""

    heard = b""

    def getreply(self) -> tuple[int, bytes]:
        return _bounded_reply(self)


@contextlib.contextmanager
def _patience(smtp: Any) -> Iterator[None]:
    """The verdict on a whole mail is waited for longer than any other reply."""
    shortly, smtp.timeout = smtp.timeout, max(smtp.timeout, VERDICT_SECONDS)
    try:
        yield
    finally:
        smtp.timeout = shortly


@contextlib.contextmanager
def _translated(server: Server) -> Iterator[None]:
    try:
        yield
    except ssl.SSLCertVerificationError as error:
        raise Unavailable(f"{server}: its certificate is not to be trusted: {error.verify_message}") from error
    except smtplib.SMTPNotSupportedError as error:
        raise Unavailable(f"{server}: {one_line(error, 200)}") from error
    except smtplib.SMTPResponseException as error:
        raise Unavailable(f"{server}: {error.smtp_code} {_text(error.smtp_error)}") from error
    except (OSError, smtplib.SMTPException, ValueError, EOFError) as error:
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        if "WRONG_VERSION_NUMBER" in str(error):
            reason = "it does not speak TLS from the start; is it security = starttls, or another port?"
        raise Unavailable(f"{server}: {one_line(reason, 200)}") from error


def _reply(answer: tuple[int, bytes]) -> Reply:
    return Reply(answer[0], _text(answer[1]))


def _text(said: bytes | str) -> str:
    return one_line(said.decode("utf-8", "replace") if isinstance(said, bytes) else said, 300)
