"""What the integration tests say over a socket, and how they look at what came of it."""

from __future__ import annotations

import socket
import time
import xmlrpc.client
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from monagent.agent.spool import Spool, SpoolEntry
from tests.support.agent import AgentProcess
from tests.support.monitor import Monitor

ECHO = '#!/bin/sh\n[ "$1" = options ] && { echo "echo NUMBER"; exit 0; }\necho "$1"\n'
ANSWER_SECONDS = 20.0


@dataclass(frozen=True)
class Served:
    """A running agent and the server that it hands in to."""

    agent: AgentProcess
    monitor: Monitor

    def known(self, ticket: int | str) -> list[SpoolEntry]:
        """What the agent's journal holds of a ticket."""
        with Spool(self.agent.directory / "var") as spool:
            return spool.find(str(ticket))


@dataclass(frozen=True)
class HttpAnswer:
    """An HTTP answer, read to the end of the connection. Header names are lower-case."""

    status: int
    headers: dict[str, str]
    body: bytes


def exchange(port: int, request: bytes, source: str = "127.0.0.1", seconds: float = ANSWER_SECONDS) -> HttpAnswer:
    """Send these very bytes to a port on this host and read the one answer."""
    with socket.create_connection(("127.0.0.1", port), seconds, source_address=(source, 0)) as connection:
        connection.sendall(request)
        return read_answer(connection)


def read_answer(connection: socket.socket) -> HttpAnswer:
    """Read one answer of an announced length from a connection."""
    with connection.makefile("rb") as stream:
        status = int(stream.readline().split()[1])
        headers: dict[str, str] = {}
        while line := stream.readline().strip():
            name, _, value = line.decode("latin-1").partition(":")
            headers[name.lower()] = value.strip()
        return HttpAnswer(status, headers, stream.read(int(headers.get("content-length", "0"))))


def post(body: bytes, *headers: str, path: str = "/xmlrpc/") -> bytes:
    """The bytes of a POST; `headers` come on top of the plain ones."""
    lines = [f"POST {path} HTTP/1.1", "Host: agent", f"Content-Length: {len(body)}", *headers]
    if not any(header.lower().startswith("content-type:") for header in headers):
        lines.append("Content-Type: text/xml")
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def call(port: int, body: str | bytes) -> Any:
    """Post a hand-written document and give the value that it is answered with.

    Raises:
        xmlrpc.client.Fault: it is answered with a fault.
    """
    answer = exchange(port, post(body.encode() if isinstance(body, str) else body))
    assert answer.status == 200, answer
    return xmlrpc.client.loads(answer.body)[0][0]


def submission(*values: str) -> str:
    """The document of a `cmd_submit_reading` whose values are written out as given, types and all."""
    params = "".join(f"<param><value>{value}</value></param>" for value in values)
    return f"<methodCall><methodName>cmd_submit_reading</methodName><params>{params}</params></methodCall>"


def fault_of(refused: Callable[[], object]) -> xmlrpc.client.Fault:
    """The fault that a call must end in."""
    try:
        value = refused()
    except xmlrpc.client.Fault as fault:
        return fault
    raise AssertionError(f"a fault was expected, and this was answered: {value!r}")


def wait_until(is_so: Callable[[], object], what: str, seconds: float = 20.0) -> None:
    """Wait until a condition holds, and fail saying what did not come."""
    until = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < until, f"not within {seconds} s: {what}"
        time.sleep(0.01)
