"""Servers for an agent to hand in to, made of the standard library alone, so that they share no code with it."""

from __future__ import annotations

import io
import re
import socket
import ssl
import subprocess
import threading
import time
import xmlrpc.client
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from socketserver import ThreadingMixIn
from typing import Any, cast
from xmlrpc.server import SimpleXMLRPCRequestHandler, SimpleXMLRPCServer

from tests.support.ports import free_port

WAIT_SECONDS = 30.0


def identity(directory: Path) -> tuple[ssl.SSLContext, Path]:
    """How to serve https on 127.0.0.1, and the certificate that callers must trust for it."""
    key, certificate = directory / "key.pem", directory / "certificate.pem"
    options = "-x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=monitor"
    names = ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(certificate)]
    subprocess.run(["openssl", "req", *options.split(), *names], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    return context, certificate


@dataclass(frozen=True)
class Handed:
    """One result as it arrived."""

    method: str
    ticket: int | str
    content: Any
    when: xmlrpc.client.DateTime


class _Handler(SimpleXMLRPCRequestHandler):
    rpc_paths = ("/xmlrpc/", "/RPC2")

    def do_POST(self) -> None:  # noqa: N802 - http.server's name
        body = self.rfile.read(int(self.headers["content-length"]))
        found = re.search(rb"<methodName>([^<]*)</methodName>", body)
        method = found[1].decode() if found else ""
        monitor = cast(_Server, self.server).monitor
        monitor.called.append(method)
        spoil = monitor.spoilt.get(method)
        if spoil is None:
            self.rfile = io.BufferedReader(io.BytesIO(body))  # type: ignore[arg-type]
            super().do_POST()
        else:
            self.close_connection = True
            spoil(self.connection)

    def is_rpc_path_valid(self) -> bool:
        return cast(_Server, self.server).monitor.any_path or super().is_rpc_path_valid()

    def log_message(self, *_: object) -> None:
        pass


class _Server(ThreadingMixIn, SimpleXMLRPCServer):
    daemon_threads = True
    allow_reuse_address = True
    monitor: Monitor

    def handle_error(self, _request: object, _address: object) -> None:
        """Callers that are killed, or give up, are what these servers are for."""


class Monitor:
    """Takes results; plain (the original dialect) or extended (names `monagent`, takes multicalls)."""

    def __init__(self, *, extended: bool, tls: ssl.SSLContext | None = None) -> None:
        self.port = free_port()
        self.handed: list[Handed] = []
        self.multicalls = 0
        self.refuse: Callable[[int | str], bool] = lambda _ticket: False
        self.packages: dict[str, bytes] = {}
        self.next_url = ""
        self.asked: list[str] = []
        self.called: list[str] = []
        self.healthy: Callable[[], Any] = lambda: "OK"
        self.on_taken: Callable[[], None] = lambda: None
        self.spoilt: dict[str, Callable[[socket.socket], None]] = {}
        self.any_path = False
        self._tls = tls
        self._extended = extended
        self._server: _Server | None = None

    @property
    def url(self) -> str:
        """Where it takes results."""
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self.port}/xmlrpc/"

    def start(self) -> None:
        """Listen; also again after `stop()`, on the same port."""
        server = _Server(("127.0.0.1", self.port), _Handler, allow_none=True, logRequests=False)
        server.monitor = self
        if self._tls:
            server.socket = self._tls.wrap_socket(server.socket, server_side=True)
        server.register_function(cast(Callable[..., Any], self._store_probe_data), "cmd_store_probe_data")
        server.register_function(cast(Callable[..., Any], self._sensor_code), "cmd_get_sensor_code")
        server.register_function(cast(Callable[..., Any], self._new_url), "cmd_get_new_monitor_url")
        server.register_function(cast(Callable[..., Any], self._healthcheck), "healthcheck")
        if self._extended:
            server.register_function(cast(Callable[..., Any], self._store_command_result), "cmd_store_command_result")
            server.register_function(lambda: {"monagent": {"specVersion": 1}}, "system.getCapabilities")
            server.register_function(cast(Callable[..., Any], self._multicall), "system.multicall")
        self._server = server
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def stop(self) -> None:
        """Go away."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None

    def tickets(self) -> list[int | str]:
        """The tickets that results came for, in order of arrival."""
        return [one.ticket for one in list(self.handed)]

    def results(self) -> dict[int | str, Handed]:
        """The one result of each ticket; one that came again, after a crash, must be the same."""
        kept: dict[int | str, Handed] = {}
        for one in list(self.handed):
            assert kept.setdefault(one.ticket, one) == one, f"two results for {one.ticket!r}"
        return kept

    def wait_for(self, count: int, seconds: float = WAIT_SECONDS) -> list[Handed]:
        """Wait until that many results have come."""
        until = time.monotonic() + seconds
        while len(self.handed) < count:
            assert time.monotonic() < until, f"{len(self.handed)} of {count} results came within {seconds} s"
            time.sleep(0.005)
        return list(self.handed)

    def wait_for_ticket(self, ticket: int | str, seconds: float = WAIT_SECONDS) -> Handed:
        """Wait for the result of one ticket."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            for one in list(self.handed):
                if one.ticket == ticket and type(one.ticket) is type(ticket):
                    return one
            time.sleep(0.005)
        raise AssertionError(f"no result for {ticket!r} within {seconds} s; there are {self.tickets()}")

    def _store_probe_data(self, ticket: int | str, probe: list[Any], when: xmlrpc.client.DateTime) -> str:
        return self._take(Handed("cmd_store_probe_data", ticket, probe, when))

    def _store_command_result(
        self, ticket: int | str, command: str, outcome: dict[str, Any], when: xmlrpc.client.DateTime
    ) -> str:
        return self._take(Handed("cmd_store_command_result", ticket, (command, outcome), when))

    def _sensor_code(self, sensor: str) -> xmlrpc.client.Binary:
        if sensor not in self.packages:
            raise xmlrpc.client.Fault(-32602, "no such package")
        return xmlrpc.client.Binary(self.packages[sensor])

    def _healthcheck(self) -> Any:
        return self.healthy()

    def _new_url(self, host_name: str) -> str:
        self.asked.append(host_name)
        return self.next_url

    def _take(self, handed: Handed) -> str:
        if self.refuse(handed.ticket):
            raise xmlrpc.client.Fault(-32602, "not a ticket of mine")
        self.handed.append(handed)
        self.on_taken()
        return "OK"

    def _multicall(self, calls: list[dict[str, Any]]) -> list[Any]:
        self.multicalls += 1
        methods: dict[str, Callable[..., str]] = {
            "cmd_store_probe_data": self._store_probe_data,
            "cmd_store_command_result": self._store_command_result,
        }
        answers: list[Any] = []
        for call in calls:
            try:
                answers.append([methods[call["methodName"]](*call["params"])])
            except xmlrpc.client.Fault as fault:
                answers.append({"faultCode": fault.faultCode, "faultString": fault.faultString})
        return answers
