"""What goes over the wire, as bytes: commands read, answers and results written. No I/O.

A fleet shares its machine with the server that it measures, so commands of the usual shape are found by regular
expressions; only what looks different goes through an XML parser.
"""

from __future__ import annotations

import re
import time
import xmlrpc.client
from functools import lru_cache
from html import escape
from typing import NamedTuple
from xml.parsers.expat import ExpatError
from zlib import crc32

SUBMIT = "cmd_submit_reading"
MULTICALL = "system.multicall"
GET_CAPABILITIES = b"<methodCall><methodName>system.getCapabilities</methodName><params></params></methodCall>"

_TICKET = rb"(<(?:string|int|i4|i8)>[^<]*</(?:string|int|i4|i8)>|[^<\s][^<]*)"
_METHOD = re.compile(
    rb"<methodName>\s*([\w.]+)\s*</methodName>\s*(?:<params>\s*<param>\s*<value>\s*" + _TICKET + rb")?"
)
_ENTRY = re.compile(
    rb"<name>methodName</name>\s*<value>\s*(?:<string>)?([\w.]+)(?:</string>)?\s*</value>\s*</member>\s*"
    rb"<member>\s*<name>params</name>\s*<value>\s*<array>\s*<data>\s*(?:<value>\s*" + _TICKET + rb")?"
)
_OK = re.compile(rb"<value>\s*(?:<string>)?OK(?:</string>)?\s*</value>")
_HEAD = b"<?xml version='1.0'?>\n"


class NotUnderstood(Exception):
    """Bytes that make no sense."""


class Command(NamedTuple):
    """A method and its ticket, as the XML element that goes back with the result; empty: it has none."""

    method: str
    ticket: bytes


def commands(body: bytes) -> tuple[list[Command], bool]:
    """The commands of a request, and whether they came as a multicall.

    Raises:
        NotUnderstood: it is not a methodCall.
    """
    found = _METHOD.search(body)
    if found is None:
        raise NotUnderstood("no method is named")
    method = found[1].decode("ascii", "replace")
    if method != MULTICALL:
        return [Command(method, _element(found[2]))], False
    entries = _ENTRY.findall(body)
    if len(entries) == body.count(b"<name>methodName</name>"):
        return [Command(name.decode("ascii", "replace"), _element(ticket)) for name, ticket in entries], True
    return _entries(body), True


def _entries(body: bytes) -> list[Command]:
    """The same by a parser, for struct members in another order."""
    try:
        params, _ = xmlrpc.client.loads(body)
        calls = [(str(entry["methodName"]), list(entry["params"])) for entry in params[0]]  # type: ignore[index, call-overload, union-attr]
    except (ExpatError, xmlrpc.client.Error, ValueError, TypeError, KeyError, IndexError, AttributeError) as error:
        raise NotUnderstood("a multicall that is none") from error
    return [Command(method, _written(arguments[0]) if arguments else b"") for method, arguments in calls]


def _element(ticket: bytes | None) -> bytes:
    if not ticket:
        return b""
    return ticket if ticket.startswith(b"<") else b"<string>%b</string>" % ticket.rstrip()


def _written(ticket: object) -> bytes:
    if isinstance(ticket, int):
        return b"<int>%d</int>" % ticket
    return b"<string>%b</string>" % escape(str(ticket), quote=False).encode()


def key(ticket: bytes) -> bytes:
    """By which a ticket is known: 7 and "7" are the same."""
    return ticket[ticket.index(b">") + 1 : ticket.rindex(b"</")]


# -- answers to the server ------------------------------------------------------------------------------------------

ANSWER_OK = b"<string>OK</string>"
CAPABILITIES = (
    b"<struct><member><name>monagent</name><value><struct><member><name>specUrl</name><value><string>docs/protocol.md"
    b"</string></value></member><member><name>specVersion</name><value><int>1</int></value></member></struct></value>"
    b"</member></struct>"
)


def fault(code: int, text: str) -> bytes:
    """The struct of a fault."""
    return (
        b"<struct><member><name>faultCode</name><value><int>%d</int></value></member><member><name>faultString</name>"
        b"<value><string>%b</string></value></member></struct>"
    ) % (code, escape(text, quote=False).encode())


def response(answers: list[tuple[bytes, bool]], *, together: bool) -> bytes:
    """A methodResponse.

    Args:
        answers: of each command the value's inside, and whether that is a fault.
        together: they came as a multicall.
    """
    if not together:
        inside, is_fault = answers[0]
        if is_fault:
            return b"%b<methodResponse><fault><value>%b</value></fault></methodResponse>" % (_HEAD, inside)
    else:
        inside = b"<array><data>%b</data></array>" % b"".join(
            b"<value>%b</value>" % text
            if is_fault
            else b"<value><array><data><value>%b</value></data></array></value>" % text
            for text, is_fault in answers
        )
    return b"%b<methodResponse><params><param><value>%b</value></param></params></methodResponse>" % (_HEAD, inside)


# -- results for the server -----------------------------------------------------------------------------------------


def number_for(ticket: bytes) -> bytes:
    """What the sensor of a fake agent prints: it follows from the ticket, so that a mix-up shows. From 10 to 60."""
    return b"%.2f" % (10 + crc32(key(ticket)) % 5000 / 100)


@lru_cache(maxsize=128)
def _date_time(second: int) -> bytes:
    return time.strftime("<dateTime.iso8601>%Y%m%dT%H:%M:%S</dateTime.iso8601>", time.gmtime(second)).encode()


def reading(ticket: bytes, finished: float, duration: float, *, extended: bool) -> tuple[bytes, list[bytes]]:
    """The call that hands in a reading: its method, and the insides of its values."""
    more = b""
    if extended:
        more = (
            b"<value><struct><member><name>started</name><value>%b</value></member><member><name>duration</name><value>"
            b"<double>%.6f</double></value></member><member><name>error</name><value><string></string></value></member>"
            b"<member><name>stderr</name><value><string></string></value></member><member><name>metrics</name><value>"
            b"<array><data></data></array></value></member></struct></value>"
        ) % (_date_time(int(finished - duration)), duration)
    probe = b"<array><data><value><int>0</int></value><value><string>%b</string></value>%b</data></array>" % (
        number_for(ticket),
        more,
    )
    return b"cmd_store_probe_data", [ticket, probe, _date_time(int(finished))]


def outcome(ticket: bytes, command: str, content: dict[str, object], finished: float) -> tuple[bytes, list[bytes]]:
    """The call that hands in any other result."""
    written = xmlrpc.client.dumps((content,)).encode()
    struct = written[written.index(b"<struct>") : written.rindex(b"</struct>") + len(b"</struct>")]
    name = b"<string>%b</string>" % command.removeprefix("cmd_").encode()
    return b"cmd_store_command_result", [ticket, name, struct, _date_time(int(finished))]


def request(calls: list[tuple[bytes, list[bytes]]]) -> bytes:
    """A methodCall; several calls become a multicall."""
    if len(calls) == 1:
        method, values = calls[0]
        inside = b"".join([b"<param><value>%b</value></param>" % value for value in values])
        return b"%b<methodCall><methodName>%b</methodName><params>%b</params></methodCall>" % (_HEAD, method, inside)
    entries = [
        b"<value><struct><member><name>methodName</name><value><string>%b</string></value></member><member>"
        b"<name>params</name><value><array><data>%b</data></array></value></member></struct></value>"
        % (method, b"".join([b"<value>%b</value>" % value for value in values]))
        for method, values in calls
    ]
    return (
        b"%b<methodCall><methodName>system.multicall</methodName><params><param><value><array><data>%b</data></array>"
        b"</value></param></params></methodCall>"
    ) % (_HEAD, b"".join(entries))


def verdicts(body: bytes, expected: int) -> list[str]:
    """What the server says of each result that was handed in: empty when it was taken, else why not.

    Raises:
        NotUnderstood: this is no answer to so many results.
    """
    if b"faultCode" not in body and len(_OK.findall(body)) == expected:
        return [""] * expected
    try:
        values, _ = xmlrpc.client.loads(body)
    except xmlrpc.client.Fault as refusal:
        return [f"fault {refusal.faultCode}: {refusal.faultString}"] * expected
    except (ExpatError, xmlrpc.client.Error, ValueError, TypeError, KeyError, IndexError) as error:
        raise NotUnderstood("an answer that is not XML-RPC") from error
    answers = values[0] if expected > 1 else [values]
    if not isinstance(answers, list) or len(answers) != expected:
        raise NotUnderstood("an answer that does not match its calls")
    return [_verdict(answer) for answer in answers]


def _verdict(answer: object) -> str:
    if isinstance(answer, dict):
        return f"fault {answer.get('faultCode')}: {answer.get('faultString')}"
    said = answer[0] if isinstance(answer, list | tuple) and answer else answer
    return "" if said == "OK" else f"{said!r:.50} instead of OK"


def is_extended(body: bytes) -> bool:
    """Whether the answer to `system.getCapabilities` is that of a server that speaks the extended dialect."""
    return b"<name>monagent</name>" in body
