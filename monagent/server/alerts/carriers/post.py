"""POST once to a URL that somebody else runs: one deadline for everything, the answer capped.

No redirect is followed, no proxy is looked up, no connection is kept, certificates are verified.
"""

from __future__ import annotations

import http.client
import io
import socket
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import SplitResult, urlsplit

import monagent
from monagent.errors import Refused, Unavailable
from monagent.mail.text import one_line
from monagent.rpc.deadline import Deadline, DeadlineFile
from monagent.rpc.tls import verification_sentence

ANSWER_LIMIT = 64 * 1024
"""Bytes of an answer, head and body."""
ADDRESSES = 4
"""That are tried, where a name has many."""
EXAMPLE = "https://chat.example.org/hooks/monagent"


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back: the status, and the first line of what was said."""

    status: int
    said: str


def checked_url(url: str) -> SplitResult:
    """The parts of a URL that can be posted to.

    Raises:
        Refused: it is none; says why, without what may be secret in it.
    """
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise Refused(f"the webhook's URL is none (example: {EXAMPLE})") from None
    if parts.scheme not in ("http", "https") or not parts.hostname or port == 0:
        raise Refused(f"the webhook's URL must begin with http:// or https:// and a host (example: {EXAMPLE})")
    if parts.username is not None or parts.password is not None:
        raise Refused("the webhook's URL must hold no name and password; it is signed instead")
    if not url.isascii() or not url.isprintable() or " " in url:
        raise Refused("the webhook's URL holds letters that must be written as %XX")
    return parts


def post(
    url: str, body: bytes, headers: Mapping[str, str], seconds: float, tls: ssl.SSLContext | None = None
) -> Answer:
    """Send, and hear the answer.

    Args:
        url: http or https.
        body: the content.
        headers: its type among them.
        seconds: for all of it.
        tls: how to verify an https server; the system's authorities when left out.

    Raises:
        Refused: the URL is none.
        Unavailable: there was no HTTP answer; it may have been taken all the same.
    """
    parts = checked_url(url)
    secure = parts.scheme == "https"
    context = (tls or ssl.create_default_context()) if secure else None
    connection = _Connection(parts.hostname or "", parts.port or (443 if secure else 80), context, Deadline(seconds))
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    fixed = {"User-Agent": f"monagent/{monagent.__version__}", "Accept-Encoding": "identity", "Connection": "close"}
    place = f"{parts.hostname} port {connection.port}"
    try:
        connection.request("POST", target, body, {**fixed, **headers})
        response = connection.getresponse()
        # The first bytes may say what is wrong; nobody needs the rest.
        said = response.read(1024) if response.status >= http.HTTPStatus.MULTIPLE_CHOICES else b""
        return Answer(response.status, one_line(said.decode("utf-8", "replace").partition("\n")[0], 120))
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise Unavailable(f"{place}: {_reason(error)}") from error
    finally:
        connection.close()


class _Connection(http.client.HTTPConnection):
    """A connection whose every step draws on one deadline."""

    def __init__(self, host: str, port: int, tls: ssl.SSLContext | None, deadline: Deadline) -> None:
        super().__init__(host, port)
        self._tls = tls
        self._deadline = deadline

    def connect(self) -> None:
        sock = self._reached()
        try:
            if self._tls is not None:
                sock.settimeout(self._deadline.left())
                sock = self._tls.wrap_socket(sock, server_hostname=self.host)
        except BaseException:
            sock.close()
            raise
        self.sock = _Wire(sock, self._deadline)

    def _reached(self) -> socket.socket:
        """A connection to the first address that takes one; each gets its share of the time."""
        found = socket.getaddrinfo(self.host, self.port, type=socket.SOCK_STREAM)[:ADDRESSES]
        trouble: OSError = OSError("it has no address")
        for number, (_, _, _, _, where) in enumerate(found):
            share = self._deadline.left() / (len(found) - number)
            try:
                return socket.create_connection((str(where[0]), int(where[1])), share)
            except OSError as error:
                trouble = error
        raise trouble


class _Wire:
    """What http.client takes for a socket."""

    def __init__(self, sock: socket.socket, deadline: Deadline) -> None:
        self._sock = sock
        self._deadline = deadline

    def sendall(self, data: bytes) -> None:
        self._sock.settimeout(self._deadline.left())
        self._sock.sendall(data)

    def makefile(self, _mode: str) -> io.BufferedReader:
        return io.BufferedReader(DeadlineFile(self._sock, self._deadline, ANSWER_LIMIT))

    def close(self) -> None:
        self._sock.close()


def _reason(error: BaseException) -> str:
    if isinstance(error, TimeoutError):
        return "timed out"
    if isinstance(error, ssl.SSLError):
        return f"TLS: {verification_sentence(error)}"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    said = one_line(error, 200)
    return f"{type(error).__name__}: {said}" if said else type(error).__name__
