"""Take the server's connections at the addresses of all agents, and answer as each of them would."""

from __future__ import annotations

import contextlib
import socket

from benchmarks.fleet import framing, wire
from benchmarks.fleet.agents import Agent
from benchmarks.fleet.crowd import Nature
from benchmarks.fleet.loop import READ, Loop
from benchmarks.fleet.tally import Tally

_CHUNK = 256 * 1024
_BACKLOG = 4096
_AT_ONCE = 64
_ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: text/xml; charset=utf-8\r\nContent-Length: %d\r\n%b\r\n%b"
_NO = b"HTTP/1.1 %b\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


class Reception:
    """The listening socket. One for all: which address was called tells whose connection it is."""

    def __init__(
        self, loop: Loop, port: int, agents: dict[str, Agent], mute: frozenset[str], slowness: float, tally: Tally
    ) -> None:
        """
        Args:
            loop: that waits for everything.
            port: of all agents.
            agents: those that answer, by their addresses.
            mute: addresses of those that take connections and never say a word.
            slowness: seconds until a slow one answers.
            tally: where to count.

        Raises:
            OSError: the port is taken.
        """
        self._loop = loop
        self._agents = agents
        self._mute = mute
        self._slowness = slowness
        self._tally = tally
        self._socket = socket.create_server(("0.0.0.0", port), backlog=_BACKLOG)
        self._socket.settimeout(0)
        loop.watch(self._socket.fileno(), READ, self._accept)

    def close(self) -> None:
        """Listen no more."""
        self._loop.forget(self._socket.fileno())
        self._socket.close()

    def _accept(self) -> None:
        for _ in range(_AT_ONCE):
            try:
                connection, _peer = self._socket.accept()
            except BlockingIOError:
                return
            except OSError as error:  # the caller has gone already; or there are no descriptors left
                self._tally.troubles[f"accepting: {error.strerror}"] += 1
                return
            connection.settimeout(0)
            self._greet(connection)

    def _greet(self, connection: socket.socket) -> None:
        address = connection.getsockname()[0]
        agent = self._agents.get(address)
        if agent is not None:
            slowness = self._slowness if agent.member.nature is Nature.SLOW else 0.0
            Caller(self._loop, connection, agent, slowness, self._tally).read()
        elif address in self._mute:
            _Ignored(self._loop, connection)
        else:
            connection.close()


class Caller:
    """A connection from the server to one agent."""

    __slots__ = ("_agent", "_data", "_loop", "_slowness", "_socket", "_tally")

    def __init__(self, loop: Loop, connection: socket.socket, agent: Agent, slowness: float, tally: Tally) -> None:
        self._loop = loop
        self._socket: socket.socket | None = connection
        self._agent = agent
        self._slowness = slowness
        self._tally = tally
        self._data = b""
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        loop.watch(connection.fileno(), READ, self.read)

    def read(self) -> None:
        """There may be something to read."""
        if self._socket is None:
            return
        try:
            data = self._socket.recv(_CHUNK)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._close()
            return
        self._data += data
        self._go_on()

    def _go_on(self) -> None:
        while self._data and self._socket is not None:
            try:
                request = framing.message(self._data)
            except framing.Malformed:
                self._refuse(b"400 Bad Request")
                return
            if request is None:
                return
            self._data = request.rest
            self._take(request)

    def _take(self, request: framing.Message) -> None:
        if not request.start.startswith(b"POST "):
            self._refuse(b"405 Method Not Allowed")
        elif self._slowness:
            self._loop.later(self._slowness, lambda: self._answer(request))
        else:
            self._answer(request)

    def _answer(self, request: framing.Message) -> None:
        """Do what is asked, even when whoever asked has gone: an agent has it in its journal by then."""
        try:
            commands, together = wire.commands(request.body)
        except wire.NotUnderstood:
            self._refuse(b"400 Bad Request")
            return
        agent = self._agent
        body = wire.response([agent.answer(command) for command in commands], together=together)
        self._send(_ANSWER % (len(body), b"Connection: close\r\n" * request.last, body))
        if request.last:
            self._close()

    def _refuse(self, status: bytes) -> None:
        self._tally.nonsense += 1
        self._send(_NO % status)
        self._close()

    def _send(self, data: bytes) -> None:
        if self._socket is None:
            return
        try:
            sent = self._socket.send(data)
        except OSError:
            sent = 0
        if sent < len(data):  # an answer is small: who has no room for it does not read
            self._close()

    def _close(self) -> None:
        if self._socket is not None:
            self._loop.forget(self._socket.fileno())
            self._socket.close()
            self._socket = None


class _Ignored:
    """A connection to an agent that never answers: kept until the other side has had enough."""

    def __init__(self, loop: Loop, connection: socket.socket) -> None:
        self._loop = loop
        self._socket = connection
        loop.watch(connection.fileno(), READ, self._read)

    def _read(self) -> None:
        with contextlib.suppress(OSError):
            if self._socket.recv(_CHUNK):
                return
        self._loop.forget(self._socket.fileno())
        self._socket.close()
