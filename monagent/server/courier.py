"""Carry commands to agents: many exchanges at once in one thread, so that who is dead or slow keeps nobody waiting.

Each host has one exchange at a time, over a connection that is kept. An agent that does not know `system.multicall`
gets single calls.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from monagent.errors import Fault, InvalidRequest
from monagent.models import Value
from monagent.protocol import MULTICALL
from monagent.rpc import unmarshal
from monagent.rpc.dispatch import CALL_LIMIT
from monagent.server.connection import Away, Connection
from monagent.server.records import Command, Host

log = logging.getLogger(__name__)

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
