"""Call an XML-RPC server: one kept connection, a deadline for each call, answers capped and read strictly.

No redirects are followed, no compression is asked for or accepted, no proxy is looked up.
"""

from __future__ import annotations

import http.client
import io
import select
import socket
import ssl
from collections.abc import Sequence
from urllib.parse import urlsplit

from monagent.errors import Fault, InvalidRequest, NotWellFormed, TooLarge, Unavailable
from monagent.models import Value
from monagent.protocol import MULTICALL
from monagent.rpc import marshal, unmarshal
from monagent.rpc.deadline import Deadline, DeadlineFile
from monagent.rpc.tls import verification_sentence

_HEAD_LIMIT = 128 * 1024
"""Bytes of an answer beside its body: the head, and the marks between chunks."""
_HEADERS = {"Content-Type": "text/xml", "User-Agent": "monagent", "Accept-Encoding": "identity"}


class Client:
    """A connection to one server, opened when it is needed and kept. Not for use by several threads at once."""

    def __init__(
        self,
        url: str,
        *,
        timeout: float = 30.0,
        tls: ssl.SSLContext | None = None,
        limits: unmarshal.Limits = unmarshal.ANSWER_LIMITS,
    ) -> None:
        """
        Args:
            url: http or https, already checked (`settings.py` does).
            timeout: seconds that one call may take in all, connecting included.
            tls: how to verify the server of an https URL; the system's authorities when left out.
            limits: caps on an answer.
        """
        parts = urlsplit(url)
        self.url = url
        self._target = (parts.path or "/RPC2") + (f"?{parts.query}" if parts.query else "")
        self._timeout = timeout
        self._limits = limits
        secure = parts.scheme == "https"
        self._connection = _Connection(
            parts.hostname or "",
            parts.port or (443 if secure else 80),
            (tls or ssl.create_default_context()) if secure else None,
            limits.size + _HEAD_LIMIT,
        )

    def call(self, method: str, *params: Value) -> Value:
        """Make one call.

        Raises:
            Fault: the server answered with a fault.
            Unavailable: there was no XML-RPC answer. The call may or may not have been carried out.
        """
        answer = self._exchange(marshal.call(method, params))
        try:
            return unmarshal.response(answer, self._limits)
        except (NotWellFormed, InvalidRequest) as error:
            self.close()
            raise Unavailable(f"the answer is not XML-RPC: {error}") from error

    def multicall(self, calls: Sequence[tuple[str, Sequence[Value]]]) -> list[Value | Fault]:
        """Make several calls in one exchange.

        Returns:
            The value or the fault of each, in order.

        Raises:
            Fault: the server refused the multicall as a whole.
            Unavailable: as `call()` does; also when the answers do not match the calls.
        """
        entries: list[Value] = [{"methodName": method, "params": list(params)} for method, params in calls]
        answers = self.call(MULTICALL, entries)
        if not isinstance(answers, list) or len(answers) != len(calls):
            raise Unavailable("the answer to system.multicall does not match its calls")
        return [_entry(answer) for answer in answers]

    def close(self) -> None:
        """Close the connection; the next call opens a new one."""
        self._connection.close()

    def fresh(self) -> bool:
        """Whether the next call opens a new connection, perhaps to another program than the last one.

        A kept connection that the server has closed meanwhile is noticed here.
        """
        if self._connection.is_stale():
            self._connection.close()
        return self._connection.sock is None

    def _exchange(self, body: bytes) -> bytes:
        """Send and receive, within one deadline for everything."""
        kept = self._connection.sock is not None
        self._connection.deadline.arm(self._timeout)
        try:
            try:
                return self._once(body)
            except (http.client.RemoteDisconnected, ConnectionResetError, BrokenPipeError, ssl.SSLEOFError):
                # A kept connection may have been closed since; the receiver knows a repeat by its ticket.
                if not kept:
                    raise
                return self._once(body)
        # ValueError: a name or a length that makes no sense.
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise Unavailable(_reason(error)) from error

    def _once(self, body: bytes) -> bytes:
        connection = self._connection
        try:
            connection.request("POST", self._target, body, _HEADERS)
            response = connection.getresponse()
            return _checked(response, response.read(self._limits.size + 1), self._limits)
        except BaseException:
            connection.close()
            raise


def _checked(response: http.client.HTTPResponse, answer: bytes, limits: unmarshal.Limits) -> bytes:
    if response.status == http.HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
        raise TooLarge("the request was too large for the server")
    if response.status != http.HTTPStatus.OK:
        raise Unavailable(f"the server answered HTTP {response.status}")
    if response.headers.get("Content-Encoding", "identity") != "identity":
        raise Unavailable("the server answered with a content encoding that was not asked for")
    if len(answer) > limits.size:
        raise Unavailable("the server's answer is too large")
    return answer


class _Connection(http.client.HTTPConnection):
    """A connection whose every step draws on one deadline."""

    def __init__(self, host: str, port: int, tls: ssl.SSLContext | None, limit: int) -> None:
        super().__init__(host, port)
        self._tls = tls
        self._limit = limit
        self.deadline = Deadline()

    def is_stale(self) -> bool:
        """Whether there is something to read although nothing was asked: the end, or nonsense."""
        if self.sock is None:
            return False
        poller = select.poll()
        poller.register(self.sock.fileno(), select.POLLIN)
        return bool(poller.poll(0))

    def connect(self) -> None:
        sock = socket.create_connection((self.host, self.port), self.deadline.left())
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self._tls is not None:
            sock.settimeout(self.deadline.left())
            sock = self._tls.wrap_socket(sock, server_hostname=self.host)
        self.sock = _Wire(sock, self.deadline, self._limit)


class _Wire:
    """What http.client takes for a socket: it sends, gives a file to read from, and closes."""

    def __init__(self, sock: socket.socket, deadline: Deadline, limit: int) -> None:
        self._sock = sock
        self._deadline = deadline
        self._limit = limit

    def sendall(self, data: bytes) -> None:
        self._sock.settimeout(self._deadline.left())
        try:
            self._sock.sendall(data)
        except (ConnectionError, ssl.SSLEOFError):
            self._hear_why()
            raise

    def _hear_why(self) -> None:
        """Whoever refuses our certificate says so and hangs up, often while we are sending already."""
        if isinstance(self._sock, ssl.SSLSocket):
            self._sock.settimeout(self._deadline.left())
            self._sock.recv(1)

    def fileno(self) -> int:
        return self._sock.fileno()

    def makefile(self, _mode: str) -> io.BufferedReader:
        return io.BufferedReader(DeadlineFile(self._sock, self._deadline, self._limit))

    def close(self) -> None:
        self._sock.close()


def _entry(answer: Value) -> Value | Fault:
    if isinstance(answer, list) and len(answer) == 1:
        return answer[0]
    try:
        return unmarshal.fault_from(answer)
    except InvalidRequest as error:
        raise Unavailable("the answer to system.multicall is malformed") from error


def _reason(error: BaseException) -> str:
    if isinstance(error, TimeoutError):
        return "timed out"
    if isinstance(error, ssl.SSLError):
        return f"TLS: {verification_sentence(error)}"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    # Some of them quote what the other side sent.
    said = "".join(letter if letter.isprintable() else "?" for letter in str(error)[:200])
    return f"{type(error).__name__}: {said}" if said else type(error).__name__
