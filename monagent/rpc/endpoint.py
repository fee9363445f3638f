"""Listen for HTTP: our own reception of requests, cheroot's threads, CherryPy's tree behind them."""

from __future__ import annotations

import io
import logging
import re
import socket
import ssl
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from cheroot import wsgi

from monagent.errors import AlreadyRunning, Busy, Fault, HttpRefusal
from monagent.rpc import marshal
from monagent.rpc.access import Gate
from monagent.rpc.exchange import Exchange, Gateway, busy_answer, refusal_answer
from monagent.rpc.inbox import Inbox
from monagent.rpc.reception import Reception, Room, Visitor
from monagent.rpc.tls import Peers

log = logging.getLogger(__name__)

Tls = tuple[ssl.SSLContext | None, Peers]

_BEAT_SECONDS = 5.0

PLAIN: Tls = (None, Peers(()))

BACKLOG = 512
_BUSY = Busy("too many requests wait already; try again later")


class _Server(wsgi.Server):
    """cheroot's server: its socket and its threads. Connections are ours, see `reception`."""

    _connections: Reception
    adopted: Sequence[socket.socket] = ()
    port = 0

    def bind_unix_socket(self, bind_addr: str) -> None:  # noqa: ARG002 - cheroot's signature
        """Called in place of binding an address, when there is a socket already."""
        self.socket = self.adopted[0]

    def put_conn(self, exchange: Exchange) -> None:
        self._connections.put(exchange.visitor)

    def _serve_unservicable(self) -> None:
        """A thread of cheroot's for connections that its queue had no room for, which come to the reception here."""

    def error_log(self, msg: str = "", level: int = 20, traceback: bool = False) -> None:  # noqa: FBT002 - cheroot's signature
        log.log(logging.DEBUG if level < logging.ERROR else level, "%s", msg, exc_info=traceback)


class _Probe:
    """What a thread takes from its queue to show that it is there."""

    rfile = io.BytesIO()

    def __init__(self) -> None:
        self.done = threading.Event()

    def communicate(self) -> bool:
        self.done.set()
        return False

    def close(self) -> None:
        pass


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
        listeners: Sequence[socket.socket] = (),
        on_calm: Callable[[], None] = lambda: None,
        room: Room = Room(),  # noqa: B008 - frozen
        busy: Fault | HttpRefusal = _BUSY,
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
            listeners: sockets that are bound already, instead of host and port.
            on_calm: called when a flood of connections has gone.
            room: for connections.
            busy: what is answered when too many requests wait already.
        """
        self._room = room
        self._busy = busy
        self._server = _Server((host, port), application, numthreads=threads, max=threads, request_queue_size=BACKLOG)
        self._server.gateway = Gateway
        if listeners:
            self._server.adopted, self._server.bind_addr = listeners, "adopted"
        self._gate = gate
        self._on_calm = on_calm
        self._thread: threading.Thread | None = None
        self._waiting = 0  # bytes
        self._lock = threading.Lock()
        self.tls = tls
        """May be replaced at any time: new connections go by it, those that are there go on."""

    @property
    def address(self) -> tuple[str, int]:
        """Host and port that are listened on; with port 0 in the settings, the one that was free.

        Of several listeners it is the first that has a port; of a Unix socket alone its path and 0.
        """
        if not self._server.adopted:
            host, port = self._server.bind_addr[:2]
            return str(host), int(port)
        names = [one.getsockname() for one in self._server.adopted]
        return next((name[:2] for name in names if isinstance(name, tuple)), (str(names[0]), 0))

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
        self._server._connections.close()  # noqa: SLF001 - cheroot's own, and with it a descriptor
        self._reception = self._server._connections = Reception(  # noqa: SLF001 - the one seam that cheroot has for this
            self._server.adopted or [self._server.socket],
            _Rules(self._gate),
            self._serve,
            refusal_answer,
            self._busy_answer,
            lambda: self.tls,
            self._on_calm,
            self._room,
        )
        self._server.port = self.address[1]
        self._thread = threading.Thread(target=self._server.serve, name="endpoint")
        self._thread.start()

    def pause(self) -> None:
        """With sockets that others keep open, leave new connections to our successor."""
        if self._server.adopted:
            self._reception.pause()

    @property
    def connections(self) -> int:
        """That are open and wait."""
        return self._reception.waiting

    @property
    def refused(self) -> dict[str, int]:
        """Requests and connections that came to nothing, by HTTP status or by reason."""
        return self._reception.refused.copy()

    @property
    def sent_away(self) -> list[tuple[float, str, str]]:
        """Who was not let in lately: when (seconds since the epoch), the address, and why."""
        return list(self._reception.sent_away)

    def ailing(self, seconds: float) -> str:
        """Ask for a sign of life; what is wrong when there is none within so many seconds."""
        probe = _Probe()
        self._server.requests.put(probe)
        if not probe.done.wait(seconds):
            return f"no thread has taken a request for {seconds:.0f} s"
        silent = time.monotonic() - self._reception.beat
        return (
            f"connections have not been looked after for {silent:.0f} s" if silent > max(seconds, _BEAT_SECONDS) else ""
        )

    def stop(self) -> None:
        """Close the listeners and all connections; requests being answered get a few seconds."""
        self._server.stop()
        for one in self._server.adopted:
            one.close()
        if self._thread:
            self._thread.join()

    def _serve(self, visitor: Visitor) -> bool:
        """Let a whole request wait for a thread, if not too much waits already. Any thread may call it."""
        size, queue = visitor.inbox.size, self._server.requests
        with self._lock:
            if queue.qsize >= self._room.requests or (
                self._waiting + size > self._room.request_bytes and not queue.idle
            ):
                return False
            self._waiting += size
        queue.put(Exchange(self._server, visitor, self._reception, lambda: self._begin(size)))
        return True

    def _busy_answer(self) -> bytes:
        busy = self._busy
        return busy_answer(marshal.fault(busy)) if isinstance(busy, Fault) else refusal_answer(busy, True)  # noqa: FBT003

    def _begin(self, size: int) -> None:
        with self._lock:
            self._waiting -= size


def _listening_error(error: OSError, host: str, port: int) -> OSError:
    """The error with its number, which cheroot has put into its text alone."""
    match = re.search(r"\[Errno (-?[0-9]+)\] ([^)]*)", str(error))
    number, reason = (int(match[1]), match[2]) if match else (error.errno or 0, str(error))
    return OSError(number, f"cannot listen on {host} port {port}: {reason}")
