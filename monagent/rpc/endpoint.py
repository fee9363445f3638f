"""Listen for HTTP: our own reception of requests, cheroot's threads, CherryPy's tree behind them."""

from __future__ import annotations

import logging
import re
import ssl
import threading
from collections.abc import Callable
from typing import Any

from cheroot import wsgi

from monagent.errors import AlreadyRunning, Busy
from monagent.rpc import marshal
from monagent.rpc.access import Gate
from monagent.rpc.exchange import Exchange, Gateway, busy_answer, refusal_answer
from monagent.rpc.inbox import Inbox
from monagent.rpc.reception import Reception, Visitor
from monagent.rpc.tls import Peers

log = logging.getLogger(__name__)

Tls = tuple[ssl.SSLContext | None, Peers]

PLAIN: Tls = (None, Peers(()))

BACKLOG = 512
WAITING_REQUESTS = 200
WAITING_BYTES = 1 << 20
"""Whole requests that may wait for a thread; more are told that we are busy. So large ones are not waited for longer."""
_BUSY = Busy("too many requests wait already; try again later")


class _Server(wsgi.Server):
    """cheroot's server: its socket and its threads. Connections are ours, see `reception`."""

    _connections: Reception

    def put_conn(self, exchange: Exchange) -> None:
        self._connections.put(exchange.visitor)

    def _serve_unservicable(self) -> None:
        """A thread of cheroot's for connections that its queue had no room for, which come to the reception here."""

    def error_log(self, msg: str = "", level: int = 20, traceback: bool = False) -> None:  # noqa: FBT002 - cheroot's signature
        log.log(logging.DEBUG if level < logging.ERROR else level, "%s", msg, exc_info=traceback)


class _Rules:
    """What the gate says, as the reception asks."""

    def __init__(self, gate: Gate) -> None:
        self._gate = gate

    def is_stranger(self, address: str) -> bool:
        return not self._gate.allow.admits(address)

    def inbox(self, address: str) -> Inbox:
        return Inbox(lambda head: self._gate.check(head, address))


class Endpoint:
    """One HTTP listener with its threads."""

    def __init__(
        self,
        host: str,
        port: int,
        application: Callable[..., Any],
        gate: Gate,
        threads: int = 8,
        tls: Tls = PLAIN,
    ) -> None:
        """
        Args:
            host: name or address to listen on.
            port: 0 takes a free one.
            application: WSGI.
            gate: who may ask for what.
            threads: that answer.
            tls: the context to serve TLS with, None for plain HTTP; and whose certificates are taken, among those
                that it verified.
        """
        self._server = _Server((host, port), application, numthreads=threads, max=threads, request_queue_size=BACKLOG)
        self._server.gateway = Gateway
        self._gate = gate
        self._thread: threading.Thread | None = None
        self._waiting = 0  # bytes
        self._lock = threading.Lock()
        self.tls = tls
        """May be replaced at any time: new connections go by it, those that are there go on."""

    @property
    def address(self) -> tuple[str, int]:
        """Host and port that are listened on; with port 0 in the settings, the one that was free."""
        host, port = self._server.bind_addr[:2]
        return str(host), int(port)

    def start(self) -> None:
        """Bind, listen and serve in threads of its own.

        Raises:
            AlreadyRunning: the port is taken.
            OSError: the address cannot be bound for another reason.
        """
        host, port = self.address
        try:
            self._server.prepare()
        except OSError as error:
            if "Address already in use" in str(error):
                raise AlreadyRunning(f"something else listens on {host} port {port} already") from error
            raise _listening_error(error, host, port) from error
        self._reception = self._server._connections = Reception(  # noqa: SLF001 - the one seam that cheroot has for this
            self._server.socket,
            _Rules(self._gate),
            self._serve,
            refusal_answer,
            lambda: busy_answer(marshal.fault(_BUSY)),
            lambda: self.tls,
        )
        self._thread = threading.Thread(target=self._server.serve, name="endpoint")
        self._thread.start()

    def stop(self) -> None:
        """Close the listener and all connections; requests being answered get a few seconds."""
        self._server.stop()
        if self._thread:
            self._thread.join()

    def _serve(self, visitor: Visitor) -> bool:
        """Let a whole request wait for a thread, if not too much waits already. Any thread may call it."""
        size, queue = visitor.inbox.size, self._server.requests
        with self._lock:
            if queue.qsize >= WAITING_REQUESTS or (self._waiting and self._waiting + size > WAITING_BYTES):
                return False
            self._waiting += size
        queue.put(Exchange(self._server, visitor, self._reception, lambda: self._begin(size)))
        return True

    def _begin(self, size: int) -> None:
        with self._lock:
            self._waiting -= size


def _listening_error(error: OSError, host: str, port: int) -> OSError:
    """The error with its number, which cheroot has put into its text alone."""
    match = re.search(r"\[Errno (-?[0-9]+)\] ([^)]*)", str(error))
    number, reason = (int(match[1]), match[2]) if match else (error.errno or 0, str(error))
    return OSError(number, f"cannot listen on {host} port {port}: {reason}")
