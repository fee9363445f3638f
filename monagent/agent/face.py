"""The commands as XML-RPC methods: check the arguments, journal, answer OK."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from monagent.agent.commands.kind import CommandKind, Tools
from monagent.errors import BadArguments, Busy, Fault
from monagent.models import Command, Job, Value
from monagent.protocol import HEALTHCHECK, OK, ticket_from_wire
from monagent.rpc.dispatch import Deferred, Method

log = logging.getLogger(__name__)

Direct = Callable[[Tools], Value]


class Accept(Protocol):
    """Writes commands to disk, see `Journal.accept`."""

    def __call__(self, commands: Sequence[Command], *, room: bool) -> Sequence[Job | None | Fault]: ...


class Face:
    """The agent's methods. They never hand data to the caller, except the list of sensors where that is allowed.

    `tools` and `direct` may be replaced at any time: the next request sees the new ones.
    """

    def __init__(
        self,
        kinds: Mapping[str, CommandKind],
        tools: Tools,
        accept: Accept,
        put: Callable[[Job], None],
        room: Callable[[], int],
        *,
        direct: bool,
    ) -> None:
        """
        Args:
            kinds: the built-in commands by name.
            tools: what their checks look at.
            accept: writes commands to disk.
            put: queues an accepted job.
            room: how many more commands may be accepted now.
            direct: whether the forms that answer without a ticket are switched on.
        """
        self._kinds = kinds
        self.tools = tools
        self._accept = accept
        self._put = put
        self._room = room
        self.direct = direct
        self._answering = threading.Lock()
        self.draining = False

    def methods(self) -> list[Method]:
        """Everything that may be called, for the dispatcher."""
        commands = [self._method(kind) for kind in self._kinds.values()]
        return [*commands, Method(HEALTHCHECK, _healthcheck, "Answers OK while the agent is up.", (("string",),))]

    def _method(self, kind: CommandKind) -> Method:
        def call(params: list[Value], _peer: str) -> Value | Deferred:
            return self._call(kind, params)

        tickets = ("string", "int") if kind.ticketed else ()
        forms = [("string", ticket, *rest) for rest in kind.signatures for ticket in tickets]
        forms += [("string", *rest) for rest in kind.signatures if kind.unticketed]
        forms += [("struct",)] if kind.direct and self.direct else []
        return Method(kind.method, call, f"{kind.usage}\n\n{kind.help}", tuple(forms))

    def _call(self, kind: CommandKind, params: list[Value]) -> Value | Deferred:
        if kind.unticketed and (not kind.ticketed or len(params) == len(kind.signatures[0])):
            return Deferred(Command(None, kind.method, kind.check(params, self.tools)))
        if not params:
            return self._call_without_ticket(kind)
        ticket = ticket_from_wire(params[0])
        return Deferred(Command(ticket, kind.method, kind.check(params[1:], self.tools)))

    def _call_without_ticket(self, kind: CommandKind) -> Deferred:
        if kind.direct is None:
            raise BadArguments(f"the ticket is missing: {kind.usage}")
        if not self.direct:
            raise BadArguments(f"the form without a ticket is switched off here: {kind.usage}")
        return Deferred(kind.direct)

    def settle(self, works: list[Command | Direct]) -> Sequence[Value | Fault]:
        """Journal the commands of one request in one commit, queue what is new, acknowledge each.

        A form that answers directly takes its time; it must come alone, and one at a time.
        """
        commands = [work for work in works if isinstance(work, Command)]
        acknowledged = iter(self._acknowledge(commands) if commands else ())
        alone = len(works) == 1
        return [next(acknowledged) if isinstance(work, Command) else self._answer(work, alone=alone) for work in works]

    def _acknowledge(self, commands: list[Command]) -> Sequence[Value | Fault]:
        answers = self._accept(commands, room=not self.draining and self._room() >= len(commands))
        for answer in answers:
            if isinstance(answer, Job):
                self._put(answer)
        return [answer if isinstance(answer, Fault) else OK for answer in answers]

    def _answer(self, direct: Direct, *, alone: bool) -> Value | Fault:
        if not alone:
            return BadArguments("the form without a ticket cannot be used together with others in a multicall")
        if not self._answering.acquire(blocking=False):
            return Busy("another caller is being answered directly; try again later")
        try:
            return direct(self.tools)
        finally:
            self._answering.release()


def _healthcheck(params: list[Value], _peer: str) -> Value:
    if params:
        raise BadArguments("healthcheck takes no arguments")
    return OK
