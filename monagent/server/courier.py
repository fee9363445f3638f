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

from monagent.errors import (
    BadArguments,
    Busy,
    Fault,
    InternalFault,
    InvalidRequest,
    NotWellFormed,
    TicketClash,
    TooLarge,
)
from monagent.models import Value
from monagent.protocol import MULTICALL, OK
from monagent.rpc import unmarshal
from monagent.rpc.dispatch import CALL_LIMIT
from monagent.server.connection import Away, Connection, Unsendable
from monagent.server.names import Names
from monagent.server.records import Command, Host

log = logging.getLogger(__name__)

CONNECTIONS = 2_000
"""Kept at most; the one that was idle for longest goes first."""
IDLE_SECONDS = 70.0
"""Agents close what was idle for a little longer."""
EXCHANGES, DOUBTFUL = 4_000, 200
"""At the same time, with hosts that answered last time or were never asked, and with the others: they wait for each other."""
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
        self,
        done: Callable[[list[Sent]], None],
        names: Names,
        tls: ssl.SSLContext | None = None,
        exchanges: int = EXCHANGES,
    ) -> None:
        """
        Args:
            done: is told what became of the commands of each exchange.
            names: where hosts are.
            tls: how to verify agents that speak https; the system's authorities when left out.
            exchanges: at the same time.
        """
        self._done = done
        self._tls = tls
        self._names = names
        self._free = asyncio.Semaphore(exchanges)
        self._free_for_doubtful = asyncio.Semaphore(DOUBTFUL)
        self._doubtful: set[int] = set()
        self._under_way: set[str] = set()
        self._waiting: dict[int, deque[Command]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._connections: OrderedDict[int, tuple[Host, Connection]] = OrderedDict()
        self._plain: dict[int, float] = {}

    @property
    def busy(self) -> int:
        """Hosts that something is being sent to."""
        return len(self._waiting)

    def send(self, host: Host, commands: Sequence[Command]) -> None:
        """Send commands to a host, after those that wait for it already. One that is under way is not sent again."""
        commands = [one for one in commands if one.ticket not in self._under_way]
        waiting = self._waiting.get(host.id)
        room = WAITING if waiting is None else max(WAITING - len(waiting), 0)
        self._under_way.update(one.ticket for one in commands[:room])
        if commands[room:]:
            trouble = "too much waits for this host already"
            self._done([Sent(one, host.id, trouble=trouble) for one in commands[room:]])
        if waiting is not None:
            waiting.extend(commands[:room])
        elif commands:
            self._waiting[host.id] = deque(commands[:room])
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
        batch: list[Command] = []
        try:
            while waiting:
                batch = [waiting.popleft() for _ in range(min(len(waiting), CALL_LIMIT))]
                trouble = await self._deliver(host, batch)
                if trouble:
                    # Who does not answer is not asked for the rest, one time-out after another.
                    self._settle([Sent(one, host.id, trouble=trouble) for one in waiting])
                    waiting.clear()
        except Exception:
            log.exception("sending to a host failed host=%s", host.name)
            left = [one for one in (*batch, *waiting) if one.ticket in self._under_way]
            self._settle([Sent(one, host.id, trouble="a bug of the server; its log tells more") for one in left])
        finally:
            self._under_way.difference_update(one.ticket for one in (*batch, *waiting))
            del self._waiting[host.id]

    def _settle(self, sent: list[Sent]) -> None:
        """Tell what became of commands."""
        self._under_way.difference_update(one.command.ticket for one in sent)
        for one in sent:
            (self._doubtful.add if one.trouble else self._doubtful.discard)(one.host_id)
        self._done(sent)

    async def _deliver(self, host: Host, batch: Sequence[Command]) -> str | None:
        """Send a batch, in one exchange or in several; why there was no answer, if there was none."""
        if len(batch) > 1 and self._plain.get(host.id, 0.0) < time.monotonic():
            try:
                async with self._place(host):
                    self._settle(await self._together(host, batch))
                return None
            except _Plain:
                self._plain[host.id] = time.monotonic() + PLAIN_SECONDS
            except Unsendable:
                pass  # one of them; the others are sent
            except TooLarge:
                half = len(batch) // 2
                return await self._deliver(host, batch[:half]) or await self._deliver(host, batch[half:])
            except Away as away:
                self._settle([Sent(one, host.id, away.sent, trouble=str(away)) for one in batch])
                return str(away)
        for number, command in enumerate(batch):
            async with self._place(host):
                sent = await self._single(host, command)
            self._settle([sent])
            if sent.trouble:
                self._settle([Sent(one, host.id, trouble=sent.trouble) for one in batch[number + 1 :]])
                return sent.trouble
        return None

    def _place(self, host: Host) -> asyncio.Semaphore:
        """One of the places for exchanges; it is given back between the calls to a host."""
        return self._free_for_doubtful if host.id in self._doubtful else self._free

    async def _single(self, host: Host, command: Command) -> Sent:
        connection = self._connection(host)
        refusal = None
        try:
            answer = await connection.call(command.method, [command.ticket, *command.arguments])
            refusal = None if answer == OK else _STRANGE
        except Fault as fault:
            refusal = _told(fault)
        except (TooLarge, Unsendable) as error:
            refusal = str(error)
        except Away as away:
            return Sent(command, host.id, away.sent, trouble=str(away))
        return Sent(command, host.id, connection.sent, time.time(), refusal=refusal)

    async def _together(self, host: Host, batch: Sequence[Command]) -> list[Sent]:
        """
        Raises:
            Away: there was no answer.
            TooLarge: the agent takes no request of that size.
            Unsendable: one of them cannot be carried by XML-RPC.
            _Plain: it does not know multicalls.
        """
        connection = self._connection(host)
        entries: list[Value] = [{"methodName": one.method, "params": [one.ticket, *one.arguments]} for one in batch]
        try:
            answers = await connection.call(MULTICALL, [entries])
        except Fault as fault:
            if fault.code not in _OWN_FAULTS:
                log.info("no multicalls host=%s code=%d reason=%s", host.name, fault.code, fault.message)
                raise _Plain from fault
            now = time.time()
            return [Sent(one, host.id, connection.sent, now, refusal=_told(fault)) for one in batch]
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
        if host.tls and self._tls is None:
            self._tls = ssl.create_default_context()
        connection = known[1] if known else Connection(host, self._names, self._tls if host.tls else None)
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


class _Plain(Exception):
    """An agent does not know multicalls."""


_OWN_FAULTS = {kind.code for kind in (NotWellFormed, InvalidRequest, BadArguments, TicketClash, Busy, InternalFault)}
"""Of an agent that knows multicalls, and would not have this one. Others have numbers of their own for what they do not know."""
_STRANGE = "its answer is not OK"


def _refusal(answer: Value) -> str | None:
    if isinstance(answer, list):
        return None if answer == [OK] else _STRANGE
    try:
        return _told(unmarshal.fault_from(answer))
    except InvalidRequest:
        return _STRANGE


def _told(fault: Fault) -> str:
    text = "".join(letter if letter.isprintable() else " " for letter in fault.message[:500])
    return f"fault {fault.code}: {text}"
