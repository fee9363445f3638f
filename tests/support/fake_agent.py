"""Agents that take commands, made of the standard library alone: quick, slow, plain, refusing, or silent ones."""

from __future__ import annotations

import socket
import threading
import time
import xmlrpc.client
from socketserver import ThreadingMixIn
from typing import Any
from xmlrpc.server import SimpleXMLRPCRequestHandler, SimpleXMLRPCServer


class _Handler(SimpleXMLRPCRequestHandler):
    rpc_paths = ("/xmlrpc/",)
    protocol_version = "HTTP/1.1"
    timeout = 60

    def setup(self) -> None:
        super().setup()
        self.server.agent.connections += 1  # type: ignore[attr-defined]

    def log_message(self, *_: object) -> None:
        pass


class _Server(ThreadingMixIn, SimpleXMLRPCServer):
    daemon_threads = True
    agent: FakeAgent

    def handle_error(self, _request: object, _address: object) -> None:
        """Callers may hang up."""


class FakeAgent:
    """Listens on a free port of an address of its own."""

    def __init__(self, *, plain: bool = False, slow: float = 0.0, refuses: str = "") -> None:
        self.commands: list[tuple[str, list[Any]]] = []
        self.times: list[float] = []
        self.multicalls = 0
        self.connections = 0
        self._slow = slow
        self._refuses = refuses
        self._server = _Server(("127.0.0.1", 0), _Handler, allow_none=True, logRequests=False)
        self._server.agent = self
        self.port = int(self._server.server_address[1])
        self._server.register_instance(self)
        if not plain:
            self._server.register_function(self._multicall, "system.multicall")
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def stop(self) -> None:
        """Go away."""
        self._server.shutdown()
        self._server.server_close()

    def _dispatch(self, method: str, params: tuple[Any, ...]) -> str:
        if not method.startswith("cmd_"):
            raise xmlrpc.client.Fault(1, f"method {method} is not supported")
        time.sleep(self._slow)
        return self._take(method, list(params))

    def _take(self, method: str, params: list[Any]) -> str:
        if self._refuses and self._refuses in map(str, params):
            raise xmlrpc.client.Fault(-32602, "unknown sensor\x1b[31m"[:14])
        self.commands.append((method, params))
        self.times.append(time.time())
        return "OK"

    def _multicall(self, calls: list[dict[str, Any]]) -> list[Any]:
        self.multicalls += 1
        time.sleep(self._slow)
        answers: list[Any] = []
        for call in calls:
            try:
                answers.append([self._take(call["methodName"], call["params"])])
            except xmlrpc.client.Fault as fault:
                answers.append({"faultCode": fault.faultCode, "faultString": fault.faultString})
        return answers


class SilentAgent:
    """Takes connections, and never answers."""

    def __init__(self) -> None:
        self._socket = socket.create_server(("127.0.0.1", 0), backlog=100)
        self.port = int(self._socket.getsockname()[1])

    def stop(self) -> None:
        """Go away."""
        self._socket.close()
