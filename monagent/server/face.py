"""The callbacks as XML-RPC methods: read what an agent hands in, keep it, answer OK."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from hashlib import blake2b
from http import HTTPStatus

from sqlalchemy.exc import InterfaceError, OperationalError

from monagent.errors import BadArguments, Fault, HttpRefusal, Unavailable
from monagent.models import Value
from monagent.protocol import (
    HEALTHCHECK,
    OK,
    STORE_COMMAND_RESULT,
    STORE_PROBE_DATA,
    SUBMIT_READING,
    command_result_from_wire,
    probe_from_wire,
    ticket_key,
)
from monagent.rpc import marshal
from monagent.rpc.dispatch import Deferred, Method
from monagent.server.records import Delivery
from monagent.server.store import Store
from monagent.server.tickets import AddressBook, judge

log = logging.getLogger(__name__)


class Face:
    """The server's methods. An answer of OK means: on disk."""

    def __init__(self, store: Store, url: Callable[[], str]) -> None:
        """
        Args:
            store: where results are kept.
            url: the URL that agents should use.
        """
        self._store = store
        self._url = url
        self._addresses = AddressBook()

    def methods(self) -> list[Method]:
        """Everything that may be called, for the dispatcher."""
        return [
            Method(
                STORE_PROBE_DATA,
                _probe_data,
                f"{STORE_PROBE_DATA}(ticket, [ret_code, data], timestamp)\n\nTakes a reading. A third member of the "
                "probe, a struct, may tell more.",
                tuple(("string", ticket, "array", "dateTime.iso8601") for ticket in ("string", "int")),
            ),
            Method(
                STORE_COMMAND_RESULT,
                _command_result,
                f"{STORE_COMMAND_RESULT}(ticket, command, outcome, timestamp)\n\nTakes any other result.",
                tuple(("string", ticket, "string", "struct", "dateTime.iso8601") for ticket in ("string", "int")),
            ),
            Method(
                "cmd_get_new_monitor_url",
                self._monitor_url,
                "cmd_get_new_monitor_url(hostname)\n\nTells which server this host should report to.",
                (("string", "string"),),
            ),
            Method(HEALTHCHECK, _healthcheck, "Answers OK while the server is up.", (("string",),)),
        ]

    def settle(self, deliveries: list[Delivery]) -> Sequence[Value | Fault]:
        """Judge the results of one request, keep the good ones in one commit, answer each.

        Raises:
            HttpRefusal: 503 when the database, or the name of a host, cannot be looked up now. A fault would be an answer, and the agents would give
                their results up; so they keep them.
        """
        try:
            found = self._store.tickets([delivery.ticket for delivery in deliveries])
            verdicts = judge(deliveries, found, self._addresses.is_from)
            self._store.redeem([verdict for verdict in verdicts if isinstance(verdict, tuple)])
        except (OperationalError, InterfaceError, Unavailable) as error:
            log.error("results refused for now: %s", error)  # noqa: TRY400 - a state, not a bug
            raise HttpRefusal(HTTPStatus.SERVICE_UNAVAILABLE) from error
        for delivery, verdict in zip(deliveries, verdicts, strict=True):
            if isinstance(verdict, Fault):
                log.warning("result refused ticket=%s peer=%s: %s", delivery.ticket, delivery.peer, verdict.message)
        return [OK if isinstance(verdict, tuple) else verdict for verdict in verdicts]

    def _monitor_url(self, params: list[Value], _peer: str) -> Value:
        if len(params) != 1 or not isinstance(params[0], str):
            raise BadArguments("cmd_get_new_monitor_url takes (hostname)")
        if self._store.host(params[0]) is None:
            raise BadArguments("no host of that name is known here")
        return self._url()


def _probe_data(params: list[Value], peer: str) -> Deferred:
    ticket, content, when = probe_from_wire(params)
    return Deferred(Delivery(ticket_key(ticket), peer, SUBMIT_READING, content, when, _fingerprint(params)))


def _command_result(params: list[Value], peer: str) -> Deferred:
    ticket, command, content, when = command_result_from_wire(params)
    return Deferred(Delivery(ticket_key(ticket), peer, f"cmd_{command}", content, when, _fingerprint(params)))


def _fingerprint(params: list[Value]) -> bytes:
    return blake2b(marshal.call("", params), digest_size=16).digest()


def _healthcheck(params: list[Value], _peer: str) -> Value:
    if params:
        raise BadArguments("healthcheck takes no arguments")
    return OK
