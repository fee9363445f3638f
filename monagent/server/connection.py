"""One connection to an agent, in an event loop: a deadline for each call, answers capped and read strictly."""

from __future__ import annotations

import asyncio
import os
import ssl
import time
from collections.abc import Sequence
from http import HTTPStatus
from urllib.parse import urlsplit

import h11

from monagent.errors import InvalidRequest, NotWellFormed, TooLarge, Unavailable
from monagent.models import Value
from monagent.rpc import marshal, unmarshal
from monagent.rpc.tls import verification_sentence
from monagent.server.names import Names
from monagent.server.records import Host

EXCHANGE_SECONDS = 10.0
CONNECT_SECONDS = 5.0
ADDRESSES = 4
"""Of a host with several, so many are tried."""


class Away(Unavailable):
    """An exchange came to nothing; `sent` tells when the request left, if it did."""

    def __init__(self, message: str, sent: float | None) -> None:
        super().__init__(message)
        self.sent = sent


class Unsendable(Exception):
    """What XML-RPC cannot carry."""


class Connection:
    """One connection to an agent."""

    def __init__(self, host: Host, names: Names, tls: ssl.SSLContext | None) -> None:
        self._host = host
        self._names = names
        self._tls = tls
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        self._state = h11.Connection(h11.CLIENT)
        self._calls = 0
        self.used = time.monotonic()
        self.sent: float | None = None
        """When the last request left, if it did."""

    async def call(self, method: str, params: Sequence[Value]) -> Value:
        """Make one call.

        Raises:
            Fault: the agent's answer.
            Unsendable: XML-RPC cannot carry that.
            TooLarge: the agent takes no request of that size.
            Away: there was no answer.
        """
        try:
            body = marshal.call(method, params)
        except (TypeError, OverflowError, RecursionError) as error:
            raise Unsendable(f"it cannot be sent: {error}") from error
        self.sent = None
        try:
            if self._streams is None:
                async with asyncio.timeout(CONNECT_SECONDS):
                    await self._open()
            async with asyncio.timeout(EXCHANGE_SECONDS):
                return await self._exchange(body)
        except TimeoutError:
            raise Away("it took too long to answer", self.sent) from None
        except OSError as error:
            raise Away(_reason(error), self.sent) from error
        finally:
            self.used = time.monotonic()

    def close(self) -> None:
        """Hang up."""
        if self._streams is not None:
            self._streams[1].transport.abort()
            self._streams = None

    async def _exchange(self, body: bytes, *, again: bool = False) -> Value:
        kept = self._calls > 0 and not again
        self._calls += 1
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
            return await self._exchange(body, again=True)
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
                ("Host", urlsplit(self._host.agent_url).netloc),
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
                if event.status_code == HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
                    raise TooLarge("the request was too large for the agent")
                if event.status_code != HTTPStatus.OK:
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
        addresses = self._names.known(host.address)
        if addresses is None:
            addresses = await asyncio.shield(asyncio.wrap_future(self._names.asked(host.address)))
        failed: OSError = OSError("its name leads nowhere")
        for address in sorted(addresses)[:ADDRESSES]:
            try:
                self._streams = await asyncio.open_connection(
                    address, host.port, ssl=self._tls, server_hostname=host.address if self._tls else None
                )
            except OSError as error:
                failed = error
            else:
                self._calls = 0
                return self._streams
        raise failed


def _reason(error: BaseException) -> str:
    if isinstance(error, ssl.SSLError):
        return f"TLS: {verification_sentence(error)}"
    if isinstance(error, OSError) and error.errno and error.errno > 0:
        # asyncio says "Connect call failed" of everything.
        return os.strerror(error.errno).lower()
    said = "".join(letter if letter.isprintable() else "?" for letter in str(error)[:200])
    return said or type(error).__name__
