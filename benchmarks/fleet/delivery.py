"""Hand one agent's results to the server, oldest first, as the real agent's relay does."""

from __future__ import annotations

import errno
import os
import random
import socket
import time
from collections import deque
from dataclasses import dataclass
from enum import Enum

from benchmarks.fleet import framing, wire
from benchmarks.fleet.loop import READ, WRITE, Loop
from benchmarks.fleet.results import Result
from benchmarks.fleet.tally import Tally

BATCH = 100
EXCHANGE_SECONDS = 30.0
ASK_AGAIN_SECONDS = 60.0
"""How long a server of the original dialect that keeps no connection is taken for the same one."""
FIRST_PAUSE, LAST_PAUSE = 1.0, 10.0
"""An agent that hears from its server never waits for longer than the latter."""
REFUSED_PAUSES = (1.0, 3.0, 9.0, 27.0)
_CHUNK = 64 * 1024
_BIND_ADDRESS_NO_PORT = 24


class _State(Enum):
    CLOSED = "closed"
    CONNECTING = "connecting"
    ASKING = "asking what the server speaks"
    IDLE = "idle"
    WAITING = "waiting for an answer"
    PAUSING = "pausing"


@dataclass(frozen=True, slots=True)
class Target:
    """The server: its address, and the head of every request to it."""

    address: tuple[str, int]
    head: bytes


class Link:
    """One agent's connection to the server, opened from the agent's own address and kept."""

    __slots__ = (
        "_answered", "_ask_again", "_began", "_data", "_extended", "_known", "_loop", "_out", "_pause", "_queue", "_sending",
        "_socket", "_source", "_state", "_tally", "_target", "_writing",
    )  # fmt: skip

    def __init__(self, loop: Loop, source: str, target: Target, tally: Tally) -> None:
        self._loop = loop
        self._source = source
        self._target = target
        self._tally = tally
        self._state = _State.CLOSED
        self._socket: socket.socket | None = None
        self._queue: deque[Result] = deque()
        self._sending: list[Result] = []
        self._data = self._out = b""
        self._extended = self._known = self._answered = self._writing = False
        self._pause = self._began = self._ask_again = 0.0

    @property
    def waiting(self) -> int:
        """Results that the server has not answered yet."""
        return len(self._queue) + len(self._sending)

    def hand_in(self, result: Result) -> None:
        """Deliver it as soon as those before it are answered."""
        self._queue.append(result)
        self._turn()

    def overdue(self, now: float) -> None:
        """Give an exchange up that takes too long."""
        busy = self._state in (_State.CONNECTING, _State.ASKING, _State.WAITING)
        if busy and now - self._began > EXCHANGE_SECONDS:
            self._away("timed out")

    def close(self) -> None:
        """Hang up."""
        if self._socket is not None:
            self._loop.forget(self._socket.fileno())
            self._socket.close()
            self._socket = None
        self._data = self._out = b""
        self._state = _State.CLOSED

    # -- one turn after another -------------------------------------------------------------------------------------

    def _turn(self) -> None:
        if not (self._queue or self._sending):
            return
        if self._state is _State.IDLE:
            self._began = time.monotonic()
            self._send_batch()
        elif self._state is _State.CLOSED:
            self._began = time.monotonic()
            # Behind a new connection there may be another program; one that keeps none is not asked each time.
            self._known = not self._extended and self._began < self._ask_again
            self._connect()

    def _connect(self) -> None:
        one = socket.socket()
        try:
            one.settimeout(0)
            one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            one.setsockopt(socket.IPPROTO_IP, _BIND_ADDRESS_NO_PORT, 1)
            one.bind((self._source, 0))
            code = one.connect_ex(self._target.address)
        except OSError as error:
            code = error.errno or errno.EIO
        if code not in (0, errno.EINPROGRESS):
            one.close()
            self._away(os.strerror(code))
            return
        self._socket, self._state = one, _State.CONNECTING
        self._answered, self._writing = False, True
        self._tally.connected += 1
        self._loop.watch(one.fileno(), WRITE, self._ready)

    def _ready(self) -> None:
        if self._state is _State.CONNECTING:
            self._connected()
        elif self._out:
            self._push()
        else:
            self._read()

    def _connected(self) -> None:
        assert self._socket is not None
        code = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if code:
            self._away(os.strerror(code))
            return
        if self._known:
            self._send_batch()
            return
        self._state = _State.ASKING
        self._ask_again = time.monotonic() + ASK_AGAIN_SECONDS
        self._post(wire.GET_CAPABILITIES)

    def _send_batch(self) -> None:
        if not self._sending:
            self._sending = self._next_batch()
        if not self._sending:
            self._state = _State.IDLE
            return
        self._state = _State.WAITING
        self._post(wire.request([result.call(extended=self._extended) for result in self._sending]))

    def _next_batch(self) -> list[Result]:
        most = BATCH if self._extended else 1
        batch: list[Result] = []
        while self._queue and len(batch) < most:
            result = self._queue.popleft()
            if self._extended or result.content is None:
                batch.append(result)
            else:
                self._tally.closed += 1
        return batch

    def _post(self, body: bytes) -> None:
        self._out = self._target.head % (len(body), body)
        self._push()

    def _push(self) -> None:
        assert self._socket is not None
        try:
            sent = self._socket.send(self._out)
        except BlockingIOError:
            sent = 0
        except OSError:
            self._lost()
            return
        self._out = self._out[sent:]
        if self._writing != bool(self._out):
            self._writing = not self._writing
            self._loop.change(self._socket.fileno(), WRITE if self._writing else READ)

    # -- answers ------------------------------------------------------------------------------------------------------

    def _read(self) -> None:
        assert self._socket is not None
        try:
            data = self._socket.recv(_CHUNK)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if self._state is _State.IDLE:
            self.close()  # the end, or something that nobody asked for
            return
        self._data += data
        try:
            answer = framing.message(self._data, ended=not data)
        except framing.Malformed as error:
            self._away(f"the server answered {error}")
            return
        if answer is not None:
            self._data = answer.rest
            self._take(answer)
        elif not data:
            self._lost()

    def _lost(self) -> None:
        """The server has hung up; on a kept connection that is its right, and tried again at once."""
        if self._answered and self._state is _State.WAITING:
            self.close()
            self._connect()
        else:
            self._away("hung up")

    def _take(self, answer: framing.Message) -> None:
        if b" 200 " not in answer.start:
            self._away(f"HTTP {answer.start[9:12].decode('ascii', 'replace')}")
            return
        self._pause = 0.0
        asked = self._state is _State.ASKING
        if asked:
            self._extended, self._known = wire.is_extended(answer.body), True
        elif not self._settle(answer.body):
            return
        self._state, self._answered = _State.IDLE, True
        if answer.last:
            self.close()
        self._go_on(asked=asked)

    def _go_on(self, *, asked: bool) -> None:
        if not asked:
            self._turn()
        elif self._socket is None:
            self._connect()
        else:
            self._send_batch()

    def _settle(self, body: bytes) -> bool:
        try:
            verdicts = wire.verdicts(body, len(self._sending))
        except wire.NotUnderstood as error:
            self._away(f"the server gave {error}")
            return False
        now, tally = time.monotonic(), self._tally
        results, self._sending = self._sending, []
        for result, refusal in zip(results, verdicts, strict=True):
            if refusal:
                self._refused(result, refusal)
            else:
                tally.handed_in(now - self._began, now - result.since)
        return True

    def _refused(self, result: Result, refusal: str) -> None:
        tally = self._tally
        tally.refused[refusal[:200]] += 1
        if result.refusals >= len(REFUSED_PAUSES):
            tally.rejected += 1
            return
        self._loop.later(REFUSED_PAUSES[result.refusals], lambda: self.hand_in(result))
        result.refusals += 1

    def _away(self, why: str) -> None:
        self._tally.troubles[why] += 1
        self.close()
        self._state = _State.PAUSING
        self._pause = min(max(self._pause * 2, FIRST_PAUSE), LAST_PAUSE)
        self._loop.later(self._pause * random.uniform(0.7, 1.0), self._resume)

    def _resume(self) -> None:
        if self._state is _State.PAUSING:
            self._state = _State.CLOSED
            self._turn()
