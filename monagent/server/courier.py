"""Carry commands to agents: many exchanges at once in one thread, so that who is dead or slow keeps nobody waiting.

Each host has one exchange at a time, over a connection that is kept. An agent that does not know `system.multicall`
gets single calls.
"""

from __future__ import annotations

import asyncio
import logging
import os
import ssl
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import h11

from monagent.errors import Fault, InvalidRequest, NotWellFormed, Unavailable
from monagent.models import Value
from monagent.protocol import MULTICALL
from monagent.rpc import marshal, unmarshal
from monagent.rpc.dispatch import CALL_LIMIT
from monagent.rpc.tls import verification_sentence
from monagent.server.records import Command, Host

log = logging.getLogger(__name__)

EXCHANGE_SECONDS = 10.0
CONNECTIONS = 2_000
"""Kept at most; the one that was idle for longest goes first."""
IDLE_SECONDS = 50.0
"""Agents close what was idle for a minute."""
EXCHANGES = 1_000
"""At the same time."""
WAITING = 1_000
"""Commands that may wait for one host."""
PLAIN_SECONDS = 3_600.0
"""After so long an agent that did not know multicalls is asked again."""


@dataclass(frozen=True, slots=True)
class Sent:
    """What became of one command; times are seconds since the epoch.

    Attributes:
        command: the one.
        host_id: whose it was.
        sent: when it left; None: it did not, for all we know.
        answered: when the agent answered it.
        refusal: why the agent would not have it.
        trouble: why there is no answer.
    """

    command: Command
    host_id: int
    sent: float | None = None
    answered: float | None = None
    refusal: str | None = None
    trouble: str | None = None


class Away(Unavailable):
    """An exchange came to nothing; `sent` tells when the request left, if it did."""

    def __init__(self, message: str, sent: float | None) -> None:
        super().__init__(message)
        self.sent = sent


class Connection:
    """One connection to an agent."""

    def __init__(self, host: Host, tls: ssl.SSLContext | bool) -> None:
        self._host = host
        self._tls = tls
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        self._state = h11.Connection(h11.CLIENT)
        self.used = time.monotonic()
        self.sent: float | None = None
        """When the last request left, if it did."""

    async def call(self, method: str, params: Sequence[Value]) -> Value:
        """Make one call.

        Raises:
            Fault: the agent's answer.
            Away: there was none.
        """
        body = marshal.call(method, params)
        try:
            async with asyncio.timeout(EXCHANGE_SECONDS):
                return await self._exchange(body)
        except TimeoutError:
            raise Away("it took too long to answer", self.sent) from None
        finally:
            self.used = time.monotonic()

    def close(self) -> None:
        """Hang up."""
        if self._streams is not None:
            self._streams[1].transport.abort()
            self._streams = None

    async def _exchange(self, body: bytes) -> Value:
        kept = self._streams is not None
        self.sent = None
        try:
            return unmarshal.response(await self._once(body))
        except (NotWellFormed, InvalidRequest) as error:
            raise Away(f"its answer is not XML-RPC: {error}", self.sent) from error
        except (OSError, EOFError, h11.ProtocolError, ValueError) as error:
            if not kept:
                raise Away(_reason(error), self.sent) from error
            # The agent may have closed a kept connection meanwhile; a ticket that comes twice is done once.
            self.close()
            return await self._exchange(body)
        finally:
            if (self._state.our_state, self._state.their_state) != (h11.DONE, h11.DONE):
                self.close()

    async def _once(self, body: bytes) -> bytes:
        reader, writer = self._streams or await self._open()
        self._state = state = h11.Connection(h11.CLIENT, max_incomplete_event_size=16_384)
        request = h11.Request(
            method="POST",
            target="/xmlrpc/",
            headers=[
                ("Host", f"{self._host.address}:{self._host.port}"),
                ("Content-Type", "text/xml"),
                ("User-Agent", "monagent-server"),
                ("Content-Length", str(len(body))),
            ],
        )
        data = state.send(request) or b""
        data += state.send(h11.Data(body)) or b""
        state.send(h11.EndOfMessage())
        writer.write(data)
        self.sent = time.time()
        await writer.drain()
        return await self._answer(reader, state)

    async def _answer(self, reader: asyncio.StreamReader, state: h11.Connection) -> bytes:
        pieces: list[bytes] = []
        size = 0
        while True:
            event = state.next_event()
            if event is h11.NEED_DATA:
                state.receive_data(await reader.read(65_536))
            elif isinstance(event, h11.Response):
                if event.status_code != 200:
                    raise EOFError(f"it answered HTTP {event.status_code}")
            elif isinstance(event, h11.Data):
                pieces.append(bytes(event.data))
                size += len(event.data)
                if size > unmarshal.ANSWER_LIMITS.size:
                    raise EOFError("its answer is too large")
            elif isinstance(event, h11.EndOfMessage):
                return b"".join(pieces)
            elif isinstance(event, h11.ConnectionClosed):
                raise EOFError("it hung up")

    async def _open(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        host = self._host
        self._streams = await asyncio.open_connection(host.address, host.port, ssl=self._tls if host.tls else None)
        return self._streams


class Courier:
    """Sends to many hosts at once. Everything here runs in one event loop."""

    def __init__(
        self, done: Callable[[list[Sent]], None], tls: ssl.SSLContext | None = None, exchanges: int = EXCHANGES
    ) -> None:
        """
        Args:
            done: is told what became of the commands of each exchange.
            tls: how to verify agents that speak https; the system's authorities when left out.
            exchanges: at the same time.
        """
        self._done = done
        self._tls = tls
        self._free = asyncio.Semaphore(exchanges)
        self._waiting: dict[int, deque[Command]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._connections: OrderedDict[int, tuple[Host, Connection]] = OrderedDict()
        self._plain: dict[int, float] = {}

    @property
    def busy(self) -> int:
        """Hosts that something is being sent to."""
        return len(self._waiting)

    def send(self, host: Host, commands: Sequence[Command]) -> None:
        """Send commands to a host, after those that wait for it already."""
        waiting = self._waiting.get(host.id)
        if waiting is not None:
            room = max(WAITING - len(waiting), 0)
            waiting.extend(commands[:room])
            if commands[room:]:
                self._done(
                    [Sent(one, host.id, trouble="too much waits for this host already") for one in commands[room:]]
                )
            return
        self._waiting[host.id] = deque(commands)
        task = asyncio.get_running_loop().create_task(self._serve(host))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def finish(self, seconds: float) -> None:
        """Wait for exchanges under way, then hang up."""
        if self._tasks:
            _, late = await asyncio.wait(self._tasks, timeout=seconds)
            for task in late:
                task.cancel()
            if late:
                await asyncio.wait(late)
        for _, connection in self._connections.values():
            connection.close()

    async def _serve(self, host: Host) -> None:
        waiting = self._waiting[host.id]
        try:
            while waiting:
                batch = [waiting.popleft() for _ in range(min(len(waiting), CALL_LIMIT))]
                async with self._free:
                    sent = await self._deliver(host, batch)
                if any(one.trouble for one in sent):
                    # Who does not answer is not asked for the rest, one time-out after another.
                    sent += [Sent(one, host.id, trouble=next(s.trouble for s in sent if s.trouble)) for one in waiting]
                    waiting.clear()
                self._done(sent)
        finally:
            del self._waiting[host.id]

    async def _deliver(self, host: Host, batch: Sequence[Command]) -> list[Sent]:
        if len(batch) > 1 and self._plain.get(host.id, 0.0) < time.monotonic():
            try:
                return await self._together(host, batch)
            except Fault as fault:
                log.info("no multicalls host=%s code=%d reason=%s", host.name, fault.code, fault.message)
                self._plain[host.id] = time.monotonic() + PLAIN_SECONDS
            except Away as away:
                return [Sent(one, host.id, away.sent, trouble=str(away)) for one in batch]
        sent: list[Sent] = []
        for number, command in enumerate(batch):
            sent.append(await self._single(host, command))
            if sent[-1].trouble:
                return sent + [Sent(one, host.id, trouble=sent[-1].trouble) for one in batch[number + 1 :]]
        return sent

    async def _single(self, host: Host, command: Command) -> Sent:
        connection = self._connection(host)
        try:
            await connection.call(command.method, [command.ticket, *command.arguments])
        except Fault as fault:
            return Sent(command, host.id, connection.sent, time.time(), refusal=_told(fault))
        except Away as away:
            return Sent(command, host.id, away.sent, trouble=str(away))
        return Sent(command, host.id, connection.sent, time.time())

    async def _together(self, host: Host, batch: Sequence[Command]) -> list[Sent]:
        connection = self._connection(host)
        entries: list[Value] = [{"methodName": one.method, "params": [one.ticket, *one.arguments]} for one in batch]
        answers = await connection.call(MULTICALL, [entries])
        now = time.time()
        if not isinstance(answers, list) or len(answers) != len(batch):
            raise Away("its answer to system.multicall does not match the calls", connection.sent)
        return [
            Sent(command, host.id, connection.sent, now, refusal=_refusal(answer))
            for command, answer in zip(batch, answers, strict=True)
        ]

    def _connection(self, host: Host) -> Connection:
        known = self._connections.pop(host.id, None)
        if known is not None and (known[0] != host or time.monotonic() - known[1].used > IDLE_SECONDS):
            known[1].close()
            known = None
        connection = known[1] if known else Connection(host, self._tls or True)
        self._connections[host.id] = (host, connection)
        self._shed()
        return connection

    def _shed(self) -> None:
        """Hang up on those that were not used for long, and on the oldest where there are too many."""
        while self._connections:
            oldest, (_, connection) = next(iter(self._connections.items()))
            if oldest in self._waiting or (
                len(self._connections) <= CONNECTIONS and time.monotonic() - connection.used < IDLE_SECONDS
            ):
                return
            del self._connections[oldest]
            connection.close()


def _refusal(answer: Value) -> str | None:
    if isinstance(answer, list) and len(answer) == 1:
        return None
    try:
        return _told(unmarshal.fault_from(answer))
    except InvalidRequest:
        return "its answer makes no sense"


def _told(fault: Fault) -> str:
    text = "".join(letter if letter.isprintable() else " " for letter in fault.message[:500])
    return f"fault {fault.code}: {text}"


def _reason(error: BaseException) -> str:
    if isinstance(error, ssl.SSLError):
        return f"TLS: {verification_sentence(error)}"
    if isinstance(error, OSError) and error.errno and error.errno > 0:
        # asyncio says "Connect call failed" of everything.
        return os.strerror(error.errno).lower()
    said = "".join(letter if letter.isprintable() else "?" for letter in str(error)[:200])
    return said or type(error).__name__
