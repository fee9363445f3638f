"""Send commands to agents: the ticket is in the database before it leaves."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from monagent.errors import Fault, Unavailable
from monagent.models import Value
from monagent.protocol import SUBMIT_READING
from monagent.rpc.client import Client
from monagent.server.records import Host
from monagent.server.store import Store
from monagent.server.tickets import new_ticket

SECONDS = 10.0


class Dispatcher:
    """Sends to one agent at a time, over connections of its own."""

    def __init__(self, store: Store, connect: Callable[[str], Client] | None = None) -> None:
        self._store = store
        self._connect = connect or (lambda url: Client(url, timeout=SECONDS))

    def send(self, host: Host, method: str, arguments: Sequence[Value] = ()) -> str:
        """Send one command.

        Returns:
            Its ticket, acknowledged by the agent.

        Raises:
            Fault: the agent refused it.
            Unavailable: the agent did not answer. It may have taken the command all the same.
        """
        ticket = new_ticket()
        self._store.issue(host, method, [(ticket, _canonical(method, arguments))])
        client = self._connect(_url(host))
        try:
            client.call(method, ticket, *arguments)
        except Fault as fault:
            self._store.refused(ticket, f"fault {fault.code}: {fault.message}")
            raise Fault(f"the agent of {host.name} refused: {fault.message}", fault.code) from fault
        except Unavailable as error:
            raise Unavailable(f"the agent of {host.name} at {host.address} port {host.port}: {error}") from error
        finally:
            client.close()
        self._store.acknowledged(ticket)
        return ticket

    def send_checks(self, host: Host, checks: Sequence[tuple[str, list[str]]]) -> list[str | Fault]:
        """Send checks (sensor, arguments) to one host in one multicall.

        Returns:
            For each the ticket, or the fault that the agent answered.

        Raises:
            Unavailable: the agent did not answer.
        """
        tickets = [new_ticket() for _ in checks]
        commands: list[tuple[str, list[Any]]] = [
            (ticket, [sensor, arguments]) for ticket, (sensor, arguments) in zip(tickets, checks, strict=True)
        ]
        self._store.issue(host, SUBMIT_READING, commands)
        client = self._connect(_url(host))
        try:
            answers = client.multicall([(SUBMIT_READING, [ticket, *arguments]) for ticket, arguments in commands])
        finally:
            client.close()
        return [self._note(ticket, answer) for ticket, answer in zip(tickets, answers, strict=True)]

    def _note(self, ticket: str, answer: Value | Fault) -> str | Fault:
        if isinstance(answer, Fault):
            self._store.refused(ticket, f"fault {answer.code}: {answer.message}")
            return answer
        self._store.acknowledged(ticket)
        return ticket


def _canonical(method: str, arguments: Sequence[Value]) -> list[Any]:
    """The arguments as they are kept: a check always has its sensor and a list."""
    if method == SUBMIT_READING:
        return [arguments[0], list(arguments[1]) if len(arguments) > 1 else []]  # type: ignore[arg-type]
    return list(arguments)


def _url(host: Host) -> str:
    address = f"[{host.address}]" if ":" in host.address else host.address
    return f"http://{address}:{host.port}/xmlrpc/"
