"""Turn the bytes of a call into the bytes of its answer. Faults are made here and nowhere else."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from monagent.errors import BadArguments, Fault, HttpRefusal, InternalFault, InvalidRequest, UnknownMethod
from monagent.models import Value
from monagent.protocol import GET_CAPABILITIES, MULTICALL
from monagent.rpc import marshal, unmarshal
from monagent.rpc.audit import Audit

log = logging.getLogger(__name__)

CALL_LIMIT = 100
"""Calls in one multicall."""


@dataclass(frozen=True, slots=True)
class Deferred:
    """A checked call whose effect waits until those that came with it are known, to share one disk commit."""

    work: Any


@dataclass(frozen=True, slots=True)
class Method:
    """One entry of the closed list of methods.

    `signatures` are as `system.methodSignature` gives them: the return type, then the parameters' types.
    """

    name: str
    call: Callable[[list[Value], str], Value | Deferred]
    help: str
    signatures: tuple[tuple[str, ...], ...]


_Call = tuple[str, list[Value]]

Settle = Callable[[list[Any]], Sequence["Value | Fault"]]
"""Does the deferred work of one request together and answers each piece, in order."""


class Dispatcher:
    """The methods of one endpoint. Any thread may call `answer()`."""

    def __init__(
        self,
        methods: Sequence[Method],
        settle: Settle,
        capabilities: Mapping[str, Value],
        limits: unmarshal.Limits = unmarshal.REQUEST_LIMITS,
        audit: Audit | None = None,
    ) -> None:
        self._audit = audit
        self._settle = settle
        self._limits = limits
        self._capabilities = dict(capabilities)
        self.offer(methods)

    def offer(self, methods: Sequence[Method]) -> None:
        """Answer to these methods from now on, beside introspection."""
        self._methods = {method.name: method for method in (*methods, *self._introspection())}

    def answer(self, body: bytes, peer: str, names: Collection[str] = ()) -> bytes:
        """Answer one call from `peer` (an address), whose certificate has these names. What goes wrong is a fault.

        Raises:
            HttpRefusal: the methods want the call to be tried again later, as if nobody had been there.
        """
        try:
            name, params = unmarshal.call(body, self._limits)
            if name == MULTICALL:
                return marshal.response(self._multicall(params, peer, names))
            (answer,) = self._settle_all([self._begin_call(name, params, peer)])
            self._note([(name, params)], [answer], peer, names)
            return marshal.fault(answer) if isinstance(answer, Fault) else marshal.response(answer)
        except Fault as fault:
            log.info("call refused peer=%s code=%d reason=%s", peer, fault.code, fault.message)
            return marshal.fault(fault)
        except HttpRefusal:
            raise
        except Exception as error:  # noqa: BLE001 - the top of a request: whatever happened below must not kill the thread
            return marshal.fault(_incident(error))

    def _begin(self, name: str, params: list[Value], peer: str) -> Value | Deferred:
        method = self._methods.get(name)
        if method is None:
            raise UnknownMethod("no such method; system.listMethods names them all")
        return method.call(params, peer)

    def _begin_call(self, name: str, params: list[Value], peer: str) -> Value | Deferred | Fault:
        try:
            return self._begin(name, params, peer)
        except Fault as fault:
            return fault

    def _note(
        self, calls: Sequence[_Call], answers: Sequence[Value | Fault], peer: str, names: Collection[str]
    ) -> None:
        for (name, params), answer in zip(calls, answers, strict=True):
            if self._audit is not None:
                self._audit.note(name, params, answer, peer, names)
            elif isinstance(answer, Fault):
                log.info("call refused peer=%s code=%d reason=%s", peer, answer.code, answer.message)

    def _settle_all(self, begun: Sequence[Value | Deferred | Fault]) -> list[Value | Fault]:
        waiting = [entry.work for entry in begun if isinstance(entry, Deferred)]
        settled = iter(self._settle(waiting) if waiting else ())
        return [next(settled) if isinstance(entry, Deferred) else entry for entry in begun]

    def _multicall(self, params: list[Value], peer: str, names: Collection[str]) -> list[Value]:
        if len(params) != 1 or not isinstance(params[0], list):
            raise BadArguments("system.multicall takes one array of structs of methodName and params")
        if len(params[0]) > CALL_LIMIT:
            raise InvalidRequest(f"over a limit: at most {CALL_LIMIT} calls in one system.multicall")
        entries = params[0]
        answers = [_writable(answer) for answer in self._settle_all([self._begin_entry(one, peer) for one in entries])]
        self._note([_shown_entry(entry) for entry in entries], answers, peer, names)
        return [marshal.fault_struct(answer) if isinstance(answer, Fault) else [answer] for answer in answers]

    def _begin_entry(self, entry: Value, peer: str) -> Value | Deferred | Fault:
        try:
            name, params = _entry(entry)
            return self._begin(name, params, peer)
        except Fault as fault:
            return fault
        except Exception as error:  # noqa: BLE001 - one entry's bug must not take the others' answers with it
            return _incident(error)

    def _introspection(self) -> list[Method]:
        return [
            Method("system.listMethods", self._list_methods, "Names every method.", (("array",),)),
            Method("system.methodHelp", self._method_help, "Tells what a method does.", (("string", "string"),)),
            Method(
                "system.methodSignature",
                self._method_signature,
                "Gives a method's possible signatures: the return type, then the parameters' types.",
                (("array", "string"),),
            ),
            Method(GET_CAPABILITIES, self._get_capabilities, "Names the extensions spoken here.", (("struct",),)),
            Method(
                MULTICALL,
                lambda _params, _peer: _refuse_nesting(),
                f"Makes up to {CALL_LIMIT} calls at once; each is judged on its own. Takes an array of structs of "
                "methodName and params; answers an array of one-value arrays and fault structs.",
                (("array", "array"),),
            ),
        ]

    def _list_methods(self, params: list[Value], _peer: str) -> Value:
        if params:
            raise BadArguments("system.listMethods takes no arguments")
        names: list[Value] = [*sorted(self._methods)]
        return names

    def _method_help(self, params: list[Value], _peer: str) -> Value:
        return self._named(params).help

    def _method_signature(self, params: list[Value], _peer: str) -> Value:
        return [list(signature) for signature in self._named(params).signatures]

    def _named(self, params: list[Value]) -> Method:
        if len(params) != 1 or not isinstance(params[0], str):
            raise BadArguments("one argument is needed: the name of a method")
        if params[0] not in self._methods:
            raise BadArguments("no such method; system.listMethods names them all")
        return self._methods[params[0]]

    def _get_capabilities(self, params: list[Value], _peer: str) -> Value:
        if params:
            raise BadArguments("system.getCapabilities takes no arguments")
        return {**_STANDARD_CAPABILITIES, **self._capabilities}


_STANDARD_CAPABILITIES: dict[str, Value] = {
    "xmlrpc": {"specUrl": "http://xmlrpc.com/spec.md", "specVersion": 1},
    "introspect": {"specUrl": "http://xmlrpc-c.sourceforge.net/introspection.html", "specVersion": 1},
    "system.multicall": {"specUrl": "https://mirrors.talideon.com/articles/multicall.html", "specVersion": 1},
    "nil": {"specUrl": "https://web.archive.org/web/20050911054235/http://ontosys.com/xml-rpc/extensions.php",
            "specVersion": 1},
}  # fmt: skip


def _entry(entry: Value) -> tuple[str, list[Value]]:
    if not isinstance(entry, dict) or set(entry) - {"methodName", "params"}:
        raise BadArguments("each entry must be a struct of methodName and params")
    name, params = entry.get("methodName"), entry.get("params", [])
    if not isinstance(name, str) or not isinstance(params, list):
        raise BadArguments("methodName must be a string and params an array")
    if name == MULTICALL:
        _refuse_nesting()
    return name, params


def _shown_entry(entry: Value) -> _Call:
    """The entry as the audit shows it, also when it is no call at all."""
    try:
        return _entry(entry)
    except Fault:
        return "?", []


def _writable(answer: Value | Fault) -> Value | Fault:
    """The answer, or an incident in its place when XML-RPC cannot carry it: the others must still arrive."""
    if not isinstance(answer, str | Fault):
        try:
            marshal.value(answer)
        except (TypeError, OverflowError) as error:
            return _incident(error)
    return answer


def _refuse_nesting() -> Value:
    raise BadArguments("system.multicall must not be nested")


def _incident(error: Exception) -> InternalFault:
    incident = secrets.token_hex(4)
    log.error("incident %s while answering a call", incident, exc_info=error)
    return InternalFault(f"internal error, incident {incident}; the log tells more")
