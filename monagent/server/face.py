"""The callbacks as XML-RPC methods: keep what agents hand in, answer what they ask for."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from hashlib import blake2b
from http import HTTPStatus

from monagent.errors import BadArguments, Fault, HttpRefusal, StoreAway, Unavailable
from monagent.models import Value
from monagent.protocol import (
    GET_NEW_MONITOR_URL,
    GET_SENSOR_CODE,
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
from monagent.server.intake import Intake
from monagent.server.packages import PackageRequest
from monagent.server.records import Delivery, Host
from monagent.server.tickets import AddressBook

log = logging.getLogger(__name__)


Url = Callable[[str, str], str | None]
Package = Callable[[str, Sequence[int]], bytes]


class Face:
    """The server's methods. An answer of OK means: on disk."""

    def __init__(
        self, intake: Intake, hosts: Callable[[], Sequence[Host]], addresses: AddressBook, url: Url, package: Package
    ) -> None:
        """
        Args:
            intake: takes results.
            hosts: all that are known.
            addresses: where they are.
            url: the URL that a host should use, by the name it gives; None: no such host is known.
            package: reads the package of a sensor for one of these hosts (by their ids).
        """
        self._intake = intake
        self._hosts = hosts
        self._addresses = addresses
        self._url = url
        self._package = package

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
                GET_NEW_MONITOR_URL,
                self._monitor_url,
                f"{GET_NEW_MONITOR_URL}(hostname)\n\nTells which server this host should report to.",
                (("string", "string"),),
            ),
            Method(
                GET_SENSOR_CODE,
                _sensor_code,
                f"{GET_SENSOR_CODE}(sensor)\n\nHands a host the package of a sensor: a tar archive, compressed with bzip2, "
                "gzip or xz. It must come alone.",
                (("base64", "string"),),
            ),
            Method(HEALTHCHECK, _healthcheck, "Answers OK while the server is up.", (("string",),)),
        ]

    def settle(self, works: list[Delivery | PackageRequest]) -> Sequence[Value | Fault]:
        """Answer each piece of one request: results are kept in one commit, a package is read.

        Raises:
            HttpRefusal: 503 when the database, or the name of a host, cannot be looked up now. A fault would be an
                answer, and the agents would give their results up; so they keep them.
        """
        deliveries = [work for work in works if isinstance(work, Delivery)]
        taken = iter(self._take(deliveries) if deliveries else ())
        alone = len(works) == 1
        return [next(taken) if isinstance(work, Delivery) else self._hand_out(work, alone=alone) for work in works]

    def _take(self, deliveries: list[Delivery]) -> Sequence[Value | Fault]:
        with _or_later("results"):
            return self._intake.take(deliveries)

    def _hand_out(self, request: PackageRequest, *, alone: bool) -> Value | Fault:
        # A hundred packages in one answer would be more than the memory holds.
        if not alone:
            return BadArguments(f"{GET_SENSOR_CODE} cannot be used together with others in a multicall")
        with _or_later("package"):
            callers = self._addresses.of(request.peer, self._hosts())
        try:
            if not callers:
                raise BadArguments("packages are for the hosts of this server alone")
            with _or_later("package"):
                package = self._package(request.sensor, [host.id for host in callers])
        except Fault as fault:
            log.warning("package refused sensor=%.80r peer=%s: %s", request.sensor, request.peer, fault.message)
            return fault
        log.info("package sent sensor=%s peer=%s bytes=%d", request.sensor, request.peer, len(package))
        return package

    def _monitor_url(self, params: list[Value], peer: str) -> Value:
        if len(params) != 1 or not isinstance(params[0], str):
            raise BadArguments(f"{GET_NEW_MONITOR_URL} takes (hostname)")
        with _or_later("URL"):
            url = self._url(params[0], peer)
        if url is None:
            raise BadArguments(
                "no host of that name is known here; [monitor] name of client.cfg must be its name in monserver host list"
            )
        return url


def _probe_data(params: list[Value], peer: str) -> Deferred:
    ticket, content, when = probe_from_wire(params)
    return Deferred(Delivery(ticket_key(ticket), peer, SUBMIT_READING, content, when, _fingerprint(params)))


def _command_result(params: list[Value], peer: str) -> Deferred:
    ticket, command, content, when = command_result_from_wire(params)
    return Deferred(Delivery(ticket_key(ticket), peer, f"cmd_{command}", content, when, _fingerprint(params)))


def _sensor_code(params: list[Value], peer: str) -> Deferred:
    if len(params) != 1 or not isinstance(params[0], str):
        raise BadArguments(f"{GET_SENSOR_CODE} takes (sensor)")
    return Deferred(PackageRequest(params[0], peer))


@contextmanager
def _or_later(what: str) -> Iterator[None]:
    """Refuse the request for now when the database or a name server is away."""
    try:
        yield
    except (StoreAway, Unavailable) as error:
        log.error("%s refused for now: %s", what, error)  # noqa: TRY400 - a state, not a bug
        raise HttpRefusal(HTTPStatus.SERVICE_UNAVAILABLE) from error


def _fingerprint(params: list[Value]) -> bytes:
    return blake2b(marshal.call("", params), digest_size=16).digest()


def _healthcheck(params: list[Value], _peer: str) -> Value:
    if params:
        raise BadArguments("healthcheck takes no arguments")
    return OK
