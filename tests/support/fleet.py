"""Two hundred light agents in one process: each has an address of its own, and speaks the wire in both directions.

They listen at one port of many loopback addresses, and call back from the address at which they were called; so a server
cannot tell them from agents on as many machines. A few threads do their work.
"""

from __future__ import annotations

import http.client
import queue
import threading
import time
import traceback
import xmlrpc.client
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from socketserver import ThreadingMixIn
from typing import Any, cast
from xmlrpc.server import SimpleXMLRPCDispatcher, SimpleXMLRPCRequestHandler, SimpleXMLRPCServer

from monagent.server.repository.examining import examine

WORKERS = 8
_WAIT = 10.0


@dataclass
class LightAgent:
    """What one of them has, and how it fares with a new server.

    Attributes:
        fate: on a move: `moves`; `cut off`, its new server cannot be reached; `returns`, nothing is taken there.
    """

    name: str
    address: str
    server: str
    installed: bytes
    fate: str = "moves"
    backups: list[bytes] = field(default_factory=list)
    told: list[str] = field(default_factory=list)


class _From(xmlrpc.client.Transport):
    """Calls from one address."""

    def __init__(self, address: str) -> None:
        super().__init__()
        self._address = address

    def make_connection(self, host: Any) -> http.client.HTTPConnection:
        return http.client.HTTPConnection(str(host), timeout=_WAIT, source_address=(self._address, 0))


class _Handler(SimpleXMLRPCRequestHandler):
    rpc_paths = ("/xmlrpc/",)

    def do_POST(self) -> None:  # noqa: N802 - http.server's name
        address = self.connection.getsockname()[0]
        body = self.rfile.read(int(self.headers["content-length"]))
        answer = cast(_Server, self.server).fleet.answer(address, body)
        self.send_response(200)
        self.send_header("Content-Type", "text/xml")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_: object) -> None:
        pass


class _Server(ThreadingMixIn, SimpleXMLRPCServer):
    daemon_threads = True
    request_queue_size = 500
    fleet: LightFleet

    def handle_error(self, _request: object, _address: object) -> None:
        self.fleet.errors.append(traceback.format_exc())


class LightFleet:
    """The agents, their one listener, and the threads that do their work."""

    def __init__(self, agents: Iterable[LightAgent], is_bad: Callable[[bytes], bool]) -> None:
        """
        Args:
            agents: each with a loopback address of its own.
            is_bad: whether a version's checks fail.
        """
        self.agents = {agent.address: agent for agent in agents}
        self._is_bad = is_bad
        self._digests: dict[bytes, str] = {}
        self._work: queue.Queue[Callable[[], None] | None] = queue.Queue()
        self.errors: list[str] = []
        self._server = _Server(("0.0.0.0", 0), _Handler, logRequests=False)
        self._server.fleet = self
        self.port = int(self._server.server_address[1])
        self._threads = [threading.Thread(target=self._run, daemon=True) for _ in range(WORKERS)]
        self._threads.append(
            threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        )

    def start(self) -> None:
        """Listen and work."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Go away."""
        self._server.shutdown()
        self._server.server_close()
        for _ in range(WORKERS):
            self._work.put(None)

    # -- commands ---------------------------------------------------------------------------------------------------

    def answer(self, address: str, body: bytes) -> bytes:
        """To one request at one address."""
        agent = self.agents[address]
        calls = SimpleXMLRPCDispatcher(allow_none=True)
        calls.register_multicall_functions()
        calls.register_instance(_Commands(self, agent))
        return bytes(calls._marshaled_dispatch(body))  # type: ignore[arg-type]

    def accept(self, agent: LightAgent, method: str, params: tuple[Any, ...]) -> str:
        """Take a command; it is done later."""
        agent.told.append(method)
        self._work.put(lambda: self._do(agent, method, *params))
        return "OK"

    def _run(self) -> None:
        while (work := self._work.get()) is not None:
            try:
                work()
            except Exception as error:  # noqa: BLE001 - the top of a thread; the test looks at them
                self.errors.append(repr(error))

    def _do(self, agent: LightAgent, method: str, ticket: str, *arguments: Any) -> None:
        if method == "cmd_submit_reading":
            reading = [1, "nan"] if self._is_bad(agent.installed) else [0, "1"]
            self._call(agent, agent.server, "cmd_store_probe_data", ticket, reading, _now())
            return
        outcome = {
            "cmd_update_sensor_code": self._update,
            "cmd_restore_sensor_code": self._restore,
            "cmd_list_sensors": self._list,
            "cmd_update_config": self._move,
        }[method](agent, *arguments)
        try:
            self._call(
                agent, agent.server, "cmd_store_command_result", ticket, method.removeprefix("cmd_"), outcome, _now()
            )
        except xmlrpc.client.Fault:
            if agent.fate == "returns":
                self._return(agent, ticket, outcome)

    def _call(self, agent: LightAgent, server: str, method: str, *params: Any) -> Any:
        with xmlrpc.client.ServerProxy(server, transport=_From(agent.address), allow_none=True) as proxy:
            return getattr(proxy, method)(*params)

    def _outcome(self, agent: LightAgent, message: str) -> dict[str, Any]:
        if agent.installed not in self._digests:
            self._digests[agent.installed] = examine(agent.installed).digest
        return {"status": "ok", "message": message, "version": "", "digest": self._digests[agent.installed]}

    def _update(self, agent: LightAgent, sensor: str) -> dict[str, Any]:
        package = self._call(agent, agent.server, "cmd_get_sensor_code", sensor).data
        agent.backups.append(agent.installed)
        agent.installed = package
        return self._outcome(agent, f"{sensor} is installed")

    def _restore(self, agent: LightAgent, sensor: str) -> dict[str, Any]:
        agent.installed, former = agent.backups.pop(), agent.installed
        agent.backups.append(former)
        return self._outcome(agent, f"{sensor} is put back")

    def _list(self, agent: LightAgent) -> dict[str, Any]:
        here = self._outcome(agent, "")
        installed = {"version": "", "digest": here["digest"], "changed": False}
        return {"status": "ok", "message": "1 sensors", "sensors": {"disk": "help"}, "installed": {"disk": installed}}

    def _move(self, agent: LightAgent) -> dict[str, Any]:
        old = agent.server
        new = self._call(agent, old, "cmd_get_new_monitor_url", agent.name)
        if agent.fate == "cut off":
            message = f"still with {old}: {new} was not moved to: its healthcheck failed: no route to host"
            return {"status": "error", "message": message, "url": old, "previous": old}
        assert self._call(agent, new, "healthcheck") == "OK"
        agent.server = new
        return {"status": "ok", "message": f"moved from {old} to {new}", "url": new, "previous": old}

    def _return(self, agent: LightAgent, ticket: str, moved: dict[str, Any]) -> None:
        """The end of a probation in which the new server took nothing."""
        agent.server = moved["previous"]
        message = f"went back to {agent.server}: {moved['url']} took no result for 600 s"
        outcome = moved | {"status": "error", "message": message}
        self._call(agent, agent.server, "cmd_store_command_result", ticket, "update_config", outcome, _now())


class _Commands:
    """The methods of one agent."""

    def __init__(self, fleet: LightFleet, agent: LightAgent) -> None:
        self._fleet = fleet
        self._agent = agent

    def _dispatch(self, method: str, params: tuple[Any, ...]) -> str:
        return self._fleet.accept(self._agent, method, params)


def _now() -> xmlrpc.client.DateTime:
    return xmlrpc.client.DateTime(datetime.fromtimestamp(time.time(), UTC))
