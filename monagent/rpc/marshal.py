"""Write XML-RPC documents: values become bytes that every client can parse, whatever the values hold."""

from __future__ import annotations

import math
import re
from binascii import b2a_base64
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

from monagent.errors import Fault
from monagent.models import Value

_HEAD = "<?xml version='1.0' encoding='UTF-8'?>\n"
_SPECIAL = re.compile("[&<>\r\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff\ufffe\uffff]")
_INT32 = range(-(2**31), 2**31)
_INT64 = range(-(2**63), 2**63)


def call(method: str, params: Sequence[Value]) -> bytes:
    """A methodCall."""
    inside = "".join([f"<param>{value(param)}</param>" for param in params])
    name = _escape(method)
    return f"{_HEAD}<methodCall><methodName>{name}</methodName><params>{inside}</params></methodCall>".encode()


def response(result: Value) -> bytes:
    """A methodResponse that carries one value."""
    return f"{_HEAD}<methodResponse><params><param>{value(result)}</param></params></methodResponse>".encode()


def fault(error: Fault) -> bytes:
    """A methodResponse that carries a fault."""
    return f"{_HEAD}<methodResponse><fault>{value(fault_struct(error))}</fault></methodResponse>".encode()


def fault_struct(error: Fault) -> dict[str, Value]:
    """A fault as a struct, as it stands in the answers of a multicall."""
    return {"faultCode": error.code, "faultString": error.message}


def value(item: Value) -> str:
    """One value element.

    Raises:
        TypeError: it is of a type that XML-RPC does not have. That is a bug of ours, never the caller's.
    """
    write = _WRITERS.get(type(item))
    if write is None:
        raise TypeError(f"XML-RPC cannot carry a {type(item).__name__}")
    return f"<value>{write(item)}</value>"


def _escape(text: str) -> str:
    return _SPECIAL.sub(_replacement, text)


def _replacement(match: re.Match[str]) -> str:
    character = match[0]
    if character in _ENTITIES:
        return _ENTITIES[character]
    # XML 1.0 has no way at all to say these; a visible escape keeps the rest of the text readable.
    code = ord(character)
    return f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}"


_ENTITIES = {"&": "&amp;", "<": "&lt;", ">": "&gt;", "\r": "&#13;"}


def _integer(number: int) -> str:
    if number in _INT32:
        return f"<int>{number}</int>"
    if number not in _INT64:
        raise OverflowError("XML-RPC cannot carry an integer of more than 64 bits")
    return f"<i8>{number}</i8>"


def _double(number: float) -> str:
    if not math.isfinite(number):
        raise TypeError("XML-RPC cannot carry infinities or NaN")
    return f"<double>{number!r}</double>"


def _date_time(when: datetime) -> str:
    utc = when.astimezone(UTC)
    # strftime drops the leading zeros of early years.
    return f"<dateTime.iso8601>{utc.year:04}{utc:%m%dT%H:%M:%S}</dateTime.iso8601>"


def _array(items: Sequence[Value]) -> str:
    return f"<array><data>{''.join([value(item) for item in items])}</data></array>"


def _struct(members: dict[str, Value]) -> str:
    inside = [f"<member><name>{_escape(name)}</name>{value(item)}</member>" for name, item in members.items()]
    return f"<struct>{''.join(inside)}</struct>"


_WRITERS: dict[type, Callable[[Any], str]] = {
    str: lambda text: f"<string>{_escape(text)}</string>",
    int: _integer,
    bool: lambda yes: f"<boolean>{yes:d}</boolean>",
    float: _double,
    list: _array,
    tuple: _array,
    dict: _struct,
    datetime: _date_time,
    bytes: lambda data: f"<base64>{b2a_base64(data, newline=False).decode()}</base64>",
    type(None): lambda _: "<nil/>",
}
