"""Wait with every connection until it has sent a whole request. Only then it costs a thread.

One thread, which never waits for any single connection: it accepts, shakes hands (TLS), reads, refuses, and hands
whole requests to the threads that answer. Each connection has a deadline; idle ones make room for new ones.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import select
import socket
import ssl
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Protocol

from monagent.errors import HttpRefusal
from monagent.rpc.access import UNIX_PEER
from monagent.rpc.inbox import Inbox
from monagent.rpc.tls import Peers, names_of, verification_sentence

log = logging.getLogger(__name__)

REQUEST_SECONDS = 10.0
"""For one request, from its first byte to its last; for a handshake and the first byte of a connection, too."""
IDLE_SECONDS = 75.0
"""How long a connection may wait for its next request."""
STRANGER_SECONDS = 2.0
"""For whoever may not command anyway."""
ANSWER_SECONDS = 10.0
SLOWEST_ANSWER = 128 * 1024
"""For an answer to be taken; a large one (a sensor's package) gets more time, at so many bytes a second."""
LINGER_SECONDS = 0.25
LINGER_BYTES = 1024 * 1024
"""After a refusal the other side gets this long, and may send this much, so that the refusal reaches it."""

STRANGERS = 50
"""How many connections there may be from addresses that may not command."""


@dataclass(frozen=True, slots=True)
class Room:
    """What a listener has room for.

    Attributes:
        total: connections in all.
        per_peer: from one address.
        requests: whole ones that may wait for a thread; more are told that we are busy.
        request_bytes: of those, unless a thread is free. So large ones are not waited for longer.
    """

    total: int = 1000
    per_peer: int = 300
    requests: int = 200
    request_bytes: int = 1 << 20


_CHUNK = 16 * 1024
_CROWD = 16
_MANY = 100
_REMEMBERED = 20
_STRANGER = "not in [security] allow"
_PIECES = 32
_LEAVING_AT_ONCE = 8
"""Who was refused must not keep the others waiting."""
_TICK = 0.25
_READ, _WRITE = select.EPOLLIN, select.EPOLLOUT


class Visitor:
    """One connection while it is not being answered."""

    def __init__(self, sock: socket.socket, address: str, inbox: Inbox, *, stranger: bool) -> None:
        now = time.monotonic()
        self.socket = sock
        self.address = address
        self.inbox = inbox
        self.stranger = stranger
        self.deadline = now + (STRANGER_SECONDS if stranger else REQUEST_SECONDS)
        self.since = now
        self.answered = False
        self.handshaking = isinstance(sock, ssl.SSLSocket)
        self.leaving = 0
        """Once it was refused: how many bytes it may still send."""
        self.names: frozenset[str] = frozenset()
        self.outbox = bytearray()
        """What could not be sent at once."""
        self.farewell = False
        """Whether the connection ends with it."""

    def send(self, data: bytes) -> None:
        """Send what goes without waiting; the reception sends the rest, so that who takes nothing costs no thread.

        Raises:
            OSError: the connection is gone.
        """
        sent = 0
        if not self.outbox:
            with contextlib.suppress(BlockingIOError, ssl.SSLWantWriteError, ssl.SSLWantReadError):
                sent = self.socket.send(data)
        self.outbox += data[sent:]

    def close(self) -> None:
        """Close the connection."""
        with contextlib.suppress(OSError):
            self.socket.close()


class Rules(Protocol):
    """Who may come, see `Gate`."""

    def is_stranger(self, address: str) -> bool: ...
    def inbox(self, address: str) -> Inbox: ...


class Reception:
    """The waiting room. `put()` may be called from any thread, everything else happens in that of `run()`."""

    def __init__(
        self,
        listeners: Sequence[socket.socket],
        rules: Rules,
        serve: Callable[[Visitor], bool],
        refuse: Callable[[HttpRefusal, bool], bytes],
        busy: Callable[[], bytes],
        tls: Callable[[], tuple[ssl.SSLContext | None, Peers]],
        on_calm: Callable[[], None] = lambda: None,
        room: Room = Room(),
    ) -> None:
        """
        Args:
            listeners: bound, and listening.
            rules: who may come, and what may be asked.
            serve: hands a visitor with a whole request to a thread; False when too many wait already.
            refuse: makes the answer that says no; the flag is for one without a body.
            busy: makes the answer to a request that no thread has time for.
            tls: the context for new connections, None for plain ones, and whose certificates are taken.
            on_calm: called when a flood of connections has gone.
            room: for connections.
        """
        self._room = room
        self._listeners = {listener.fileno(): listener for listener in listeners}
        self._rules = rules
        self._serve = serve
        self._refuse = refuse
        self._busy = busy
        self._tls = tls
        self._on_calm = on_calm
        self._flooded = False
        self.refused: Counter[str] = Counter()
        """Requests and connections that came to nothing, by reason; read it from any thread."""
        self.sent_away: deque[tuple[float, str, str]] = deque(maxlen=_REMEMBERED)
        """Who was not let in lately: when (seconds since the epoch), the address, and why. The newest come last."""
        self._poller = select.epoll()
        self._waiting: dict[int, Visitor] = {}
        self._of_peer: Counter[str] = Counter()
        self._lock = threading.Lock()
        self._woken, self._wake = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self._stopping = False
        self._paused = False
        self.calm = threading.Event()
        """Not set while there is a crowd to look at. Every thread that answers then slows that down (they share one lock)."""
        self.calm.set()
        self._ended = threading.Event()
        self._ended.set()
        self._accept_again = 0.0
        self.beat = time.monotonic()
        """When it last looked around; it does so once a second, however little there is to do."""
        for descriptor, listener in self._listeners.items():
            listener.settimeout(0)
            self._poller.register(descriptor, _READ)
        self._poller.register(self._woken, _READ)

    # -- life ---------------------------------------------------------------------------------------------------

    def run(self, _interval: float = 0.0) -> None:
        """Until `stop()`."""
        self._ended.clear()
        try:
            self._receive()
        finally:
            self.calm.set()
            self._ended.set()

    def _receive(self) -> None:
        next_tick = 0.0
        while not self._stopping:
            events = self._poller.poll(_TICK if self._waiting else 1.0)
            if len(events) > _CROWD:
                self.calm.clear()
            leaving = 0
            for descriptor, event in events:
                visitor = self._waiting.get(descriptor)
                if descriptor in self._listeners:
                    self._accept(self._listeners[descriptor])
                elif visitor is not None:
                    leaving += bool(visitor.leaving)
                    if not visitor.leaving or leaving <= _LEAVING_AT_ONCE:
                        self._advance(visitor, event)
            self.calm.set()
            now = self.beat = time.monotonic()
            if now >= next_tick:
                next_tick = now + _TICK
                self._expire(now)

    def stop(self) -> None:
        """End `run()`, and wait for that."""
        self._stopping = True
        os.write(self._wake, b"\0")
        self._ended.wait(REQUEST_SECONDS)

    def close(self) -> None:
        """Close what waits; `run()` must have ended."""
        for visitor in list(self._waiting.values()):
            self._drop(visitor)
        self._poller.close()
        os.close(self._woken)
        os.close(self._wake)

    def turn_away(self, visitor: Visitor, refusal: HttpRefusal) -> None:
        """Refuse what a visitor sent behind a request that was answered. Any thread may call it."""
        self.refused[str(refusal.status.value)] += 1
        answer = self._refuse(refusal, visitor.inbox.bodiless)
        if visitor.outbox:
            visitor.outbox += answer
            visitor.farewell = True
            self.put(visitor)
        else:
            self._dismiss(visitor, answer)

    def put(self, visitor: Visitor) -> None:
        """Send the rest of an answer, if there is any, and go on with the next request."""
        self._expect_more(visitor)
        if self._stopping and not visitor.outbox:  # nobody would take what it sent behind
            visitor.close()
            return
        try:
            visitor.socket.settimeout(0)
            if visitor.outbox:
                visitor.deadline = time.monotonic() + ANSWER_SECONDS + len(visitor.outbox) / SLOWEST_ANSWER
                self._wait_for(visitor, _WRITE)
            elif visitor.inbox.is_whole():  # behind those who wait already
                if not self._serve(visitor):
                    self.refused["busy"] += 1
                    self._dismiss(visitor, self._busy())
            else:
                self._encourage(visitor)
                self._wait_for(visitor)
        except (OSError, ValueError):  # closed meanwhile, or by us: we are ending
            visitor.close()

    def _dismiss(self, visitor: Visitor, answer: bytes) -> None:
        """Say it, and listen for a moment, in a thread that is not ours."""
        try:
            visitor.socket.settimeout(0)
            visitor.socket.send(answer)
            visitor.socket.shutdown(socket.SHUT_WR)
            visitor.leaving = LINGER_BYTES
            visitor.deadline = time.monotonic() + LINGER_SECONDS
            self._wait_for(visitor)
        except (OSError, ValueError):
            visitor.close()

    def _expect_more(self, visitor: Visitor) -> None:
        now = time.monotonic()
        visitor.since = now
        visitor.answered = True
        visitor.deadline = now + (REQUEST_SECONDS if visitor.inbox.begun else IDLE_SECONDS)

    # -- coming in ----------------------------------------------------------------------------------------------

    @property
    def waiting(self) -> int:
        """Connections that are open and wait."""
        return len(self._waiting)

    def pause(self) -> None:
        """Take no further connections; they wait for whoever listens on our sockets next. Any thread may call it."""
        self._paused = True
        self._listen(0)

    def _listen(self, event: int) -> None:
        for descriptor in self._listeners:
            self._poller.modify(descriptor, event)

    def _accept(self, listener: socket.socket) -> None:
        for _ in range(64):  # and then the others have their turn
            try:
                sock, address, *_ = _accepted(listener)
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM):
                    log.error("no further connection can be taken now: %s", error.strerror)  # noqa: TRY400
                    self._make_room(lambda _visitor: True)
                    self._accept_again = time.monotonic() + _TICK
                    self._listen(0)
                return
            self._welcome(sock, address)

    def _welcome(self, sock: socket.socket, address: str) -> None:
        sock.settimeout(0)
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # a Unix socket has none
        stranger = self._rules.is_stranger(address)
        context, _ = self._tls()
        if stranger and context is not None:  # not worth a handshake
            self.refused["stranger"] += 1
            self._send_away(address, _STRANGER)
            sock.close()
            return
        if not self._has_room(address, stranger=stranger):
            self.refused["crowded"] += 1
            sock.close()
            return
        try:
            if context is not None:
                sock = context.wrap_socket(sock, server_side=True, do_handshake_on_connect=False)
            self._wait_for(Visitor(sock, address, self._rules.inbox(address), stranger=stranger))
        except (OSError, ValueError) as error:  # gone again already
            log.debug("connection from %s lost: %s", address, error)
            sock.close()

    def _has_room(self, address: str, *, stranger: bool) -> bool:
        """Make room where there is none, at the cost of who has waited longest without ever being answered."""
        if stranger:
            return sum(visitor.stranger for visitor in list(self._waiting.values())) < STRANGERS
        if len(self._waiting) >= self._room.total:
            return self._make_room(lambda _visitor: True)
        if self._of_peer[address] >= self._room.per_peer:
            return self._make_room(lambda visitor: visitor.address == address)
        return True

    def _make_room(self, among: Callable[[Visitor], bool]) -> bool:
        candidates = [visitor for visitor in list(self._waiting.values()) if among(visitor)]
        if not candidates:
            return False
        self._drop(min(candidates, key=lambda visitor: (visitor.answered, visitor.since)))
        return True

    # -- waiting ------------------------------------------------------------------------------------------------

    def _wait_for(self, visitor: Visitor, event: int = _READ) -> None:
        with self._lock:
            self._waiting[visitor.socket.fileno()] = visitor
            try:
                self._poller.register(visitor.socket.fileno(), event)
            except BaseException:
                del self._waiting[visitor.socket.fileno()]
                raise
            self._of_peer[visitor.address] += 1

    def _let_go(self, visitor: Visitor) -> None:
        with self._lock:
            descriptor = visitor.socket.fileno()
            if self._waiting.pop(descriptor, None) is not None:
                self._of_peer[visitor.address] -= 1
                if not self._of_peer[visitor.address]:
                    del self._of_peer[visitor.address]
                self._poller.unregister(descriptor)

    def _drop(self, visitor: Visitor) -> None:
        self._let_go(visitor)
        visitor.close()

    def _expire(self, now: float) -> None:
        if self._accept_again and now >= self._accept_again:
            self._accept_again = 0.0
            self._listen(0 if self._paused else _READ)
        if self._flooded and len(self._waiting) < _CROWD:
            self._flooded = False
            self._on_calm()
        self._flooded = self._flooded or len(self._waiting) > _MANY
        for visitor in list(self._waiting.values()):
            if now >= visitor.deadline:
                if visitor.inbox.begun and not visitor.leaving and not visitor.outbox:
                    self._turn_away(visitor, HttpRefusal(HTTPStatus.REQUEST_TIMEOUT))
                else:
                    self._drop(visitor)

    def _advance(self, visitor: Visitor, event: int) -> None:
        """Do what can be done without waiting."""
        try:
            if visitor.handshaking and not self._shake_hands(visitor):
                return
            if visitor.outbox:
                self._send_on(visitor)
            elif visitor.leaving:
                self._hear_out(visitor)
            else:
                self._read(visitor)
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError, BlockingIOError):
            return
        except HttpRefusal as refusal:
            self._turn_away(visitor, refusal)
        except (OSError, ValueError) as error:
            log.debug("connection from %s lost: %s (event %d)", visitor.address, error, event)
            self._drop(visitor)

    def _shake_hands(self, visitor: Visitor) -> bool:
        """Go on with the handshake; True when it is done and the visitor may come in."""
        sock = visitor.socket
        assert isinstance(sock, ssl.SSLSocket)
        try:
            sock.do_handshake()
        except ssl.SSLWantReadError:
            self._poller.modify(sock.fileno(), _READ)
            return False
        except ssl.SSLWantWriteError:
            self._poller.modify(sock.fileno(), _WRITE)
            return False
        except ssl.SSLError as error:
            self.refused["handshake"] += 1
            reason = verification_sentence(error)
            self.sent_away.append((time.time(), visitor.address, f"handshake: {reason}"))
            log.warning("handshake with %s failed: %s", visitor.address, reason)
            self._drop(visitor)
            return False
        self._poller.modify(sock.fileno(), _READ)
        visitor.handshaking = False
        visitor.names = names_of(sock.getpeercert())
        return True

    def check_names(self, visitor: Visitor) -> None:
        """Whose certificate it is; asked with every request, because the list may have become shorter.

        Raises:
            HttpRefusal: 403.
        """
        if isinstance(visitor.socket, ssl.SSLSocket) and not self._tls()[1].admits(visitor.names):
            shown = ", ".join(sorted(visitor.names))[:200]
            log.warning("certificate refused peer=%s names=%r: not among [security] peers", visitor.address, shown)
            self.sent_away.append((time.time(), visitor.address, f"certificate of {shown}: not among [security] peers"))
            raise HttpRefusal(HTTPStatus.FORBIDDEN)

    def _send_away(self, address: str, reason: str) -> None:
        self.sent_away.append((time.time(), address, reason))
        log.warning("caller refused peer=%s: %s", address, reason)

    def _read(self, visitor: Visitor) -> None:
        for _ in range(_PIECES):  # and then the others have their turn
            data = visitor.socket.recv(_CHUNK)
            if not data:
                if visitor.inbox.begun:
                    raise HttpRefusal(HTTPStatus.BAD_REQUEST)
                self._drop(visitor)
                return
            if visitor.stranger:
                self._send_away(visitor.address, _STRANGER)
                raise HttpRefusal(HTTPStatus.FORBIDDEN)
            self.check_names(visitor)
            begun = visitor.inbox.begun
            visitor.inbox.feed(data)
            if visitor.inbox.begun and not begun:  # empty lines do not count, so nobody stays by sending them
                visitor.deadline = time.monotonic() + REQUEST_SECONDS
            if visitor.inbox.is_whole():
                self._hand_over(visitor)
                return
            self._encourage(visitor)
            if len(data) < _CHUNK and not _pending(visitor.socket):
                return

    def _send_on(self, visitor: Visitor) -> None:
        """Go on with an answer, and with the visitor when all of it was taken."""
        del visitor.outbox[: visitor.socket.send(visitor.outbox)]
        if visitor.outbox:
            return
        self._poller.modify(visitor.socket.fileno(), _READ)
        if visitor.farewell:
            self._say_and_leave(visitor, b"")
            return
        self._expect_more(visitor)
        if visitor.inbox.is_whole():  # sent before its answer was taken
            self._hand_over(visitor)
        else:
            self._encourage(visitor)

    def _encourage(self, visitor: Visitor) -> None:
        """Some clients wait for this before they send a body."""
        head = visitor.inbox.head
        if head is not None and head.headers.get("expect") and head.version == (1, 1) and not visitor.inbox.encouraged:
            visitor.inbox.encouraged = True
            visitor.socket.send(b"HTTP/1.1 100 Continue\r\n\r\n")

    def _hand_over(self, visitor: Visitor) -> None:
        self._let_go(visitor)
        if not self._serve(visitor):
            self.refused["busy"] += 1
            self._wait_for(visitor)
            self._say_and_leave(visitor, self._busy())

    # -- turning away -------------------------------------------------------------------------------------------

    def _turn_away(self, visitor: Visitor, refusal: HttpRefusal) -> None:
        self.refused[str(refusal.status.value)] += 1
        self._say_and_leave(visitor, self._refuse(refusal, visitor.inbox.bodiless))

    def _say_and_leave(self, visitor: Visitor, answer: bytes) -> None:
        """Say it, and listen for a moment: closing over unread bytes sends a reset, which may overtake the answer."""
        try:
            if answer:
                visitor.socket.send(answer)
            visitor.socket.shutdown(socket.SHUT_WR)
        except (OSError, ValueError):
            self._drop(visitor)
            return
        visitor.leaving = LINGER_BYTES
        visitor.deadline = time.monotonic() + LINGER_SECONDS

    def _hear_out(self, visitor: Visitor) -> None:
        data = visitor.socket.recv(_CHUNK)
        visitor.leaving -= len(data)
        if not data or visitor.leaving <= 0:
            self._drop(visitor)


def _accepted(listener: socket.socket) -> tuple[socket.socket, str]:
    sock, address = listener.accept()
    return sock, str(address[0]) if listener.family != socket.AF_UNIX else UNIX_PEER


def _pending(sock: socket.socket) -> bool:
    return isinstance(sock, ssl.SSLSocket) and sock.pending() > 0
