"""Read XML-RPC documents: bytes from the network become values of a closed list of types, or a Fault.

The document is parsed into a tree under caps, then the tree is read by the grammar of
http://xmlrpc.com/spec.md plus `nil` and `i8`. Nothing is converted before its text was checked:
`int()` of a long digit string, infinities and entity expansion never happen.
"""

from __future__ import annotations

import binascii
import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from xml.parsers import expat

from monagent.errors import Fault, InvalidRequest, NotWellFormed
from monagent.models import Value


@dataclass(frozen=True, slots=True)
class Limits:
    """What one document may hold: bytes, values in all, and arrays or structs inside each other."""

    size: int = 256 * 1024
    values: int = 5_000
    depth: int = 12


REQUEST_LIMITS = Limits()
ANSWER_LIMITS = Limits(size=1024 * 1024, values=2_000)
"""Enough for the answers to a multicall of 100; what a bad server can make us hold is some twenty times its size."""

_Node = tuple[str, list[Any], list[str]]  # tag, children, text

_LARGE = 2 * 1024 * 1024  # what is not ASCII may take four times its size in memory
_LONG_TAG = re.compile(rb"<[^<>]{4096}")
_MARKUP_PER_VALUE = 6  # value, its type, and at most member + name or param + params around it
_MARKUP_PER_LEVEL = 5  # struct/member/value or array/data/value, with slack
_INTEGER = re.compile(r"[+-]?[0-9]{1,19}")
_DOUBLE = re.compile(r"[+-]?(?:[0-9]{1,400}(?:\.[0-9]{0,400})?|\.[0-9]{1,400})(?:[eE][+-]?[0-9]{1,4})?")
_DATE_TIME = re.compile(r"([0-9]{4})-?([0-9]{2})-?([0-9]{2})T([0-9]{2}):?([0-9]{2}):?([0-9]{2})(?:\.[0-9]{1,9})?Z?")
_INT64 = range(-(2**63), 2**63)


def call(body: bytes, limits: Limits = REQUEST_LIMITS) -> tuple[str, list[Value]]:
    """Read a methodCall.

    Returns:
        The method's name and its parameters.

    Raises:
        NotWellFormed: not XML, or not UTF-8.
        InvalidRequest: XML, but not an XML-RPC call; or over a limit.
    """
    tag, children, _ = _tree(body, limits)
    if tag != "methodCall" or not 1 <= len(children) <= 2 or children[0][0] != "methodName":
        raise InvalidRequest("not an XML-RPC call: methodCall must hold a methodName and params")
    name = _text(children[0])
    if len(children) == 1:
        return name, []
    return name, _params(children[1], limits)


def response(body: bytes, limits: Limits = ANSWER_LIMITS) -> Value:
    """Read a methodResponse.

    Returns:
        The one value it carries.

    Raises:
        Fault: the answer is a fault; its code and text are the exception's.
        NotWellFormed, InvalidRequest: the answer is not one.
    """
    tag, children, _ = _tree(body, limits)
    if tag != "methodResponse" or len(children) != 1:
        raise InvalidRequest("not an XML-RPC answer")
    if children[0][0] == "fault":
        raise fault_from(_value(_only_child(children[0]), limits.depth))
    values = _params(children[0], limits)
    if len(values) != 1:
        raise InvalidRequest("an XML-RPC answer carries one value")
    return values[0]


def fault_from(value: Value) -> Fault:
    """The exception that a fault struct stands for.

    Raises:
        InvalidRequest: it is not a struct of faultCode and faultString.
    """
    if isinstance(value, dict):
        code, text = value.get("faultCode"), value.get("faultString")
        if isinstance(code, int) and isinstance(text, str):
            return Fault(text, code)
    raise InvalidRequest("a fault must be a struct of faultCode and faultString")


def _tree(body: bytes, limits: Limits) -> _Node:
    """Parse the document into nodes, stopping at the first cap that is passed."""
    top: _Node = ("", [], [])
    stack = [top]
    left = limits.values * _MARKUP_PER_VALUE
    values_left = limits.values
    deepest = (limits.depth + 2) * _MARKUP_PER_LEVEL

    def start(tag: str, _attributes: dict[str, str]) -> None:
        nonlocal left, values_left
        left -= 1
        if tag == "value":
            values_left -= 1
        if left < 0 or values_left < 0 or len(stack) > deepest:
            raise InvalidRequest("over a limit: too many or too deeply nested values")
        node: _Node = (tag, [], [])
        stack[-1][1].append(node)
        stack.append(node)

    def end(_tag: str) -> None:
        stack.pop()

    def text(data: str) -> None:
        stack[-1][2].append(data)

    def refuse(*_: object) -> None:
        raise InvalidRequest("document types and processing instructions are not allowed")

    if len(body) > limits.size:
        raise InvalidRequest("over a limit: the document is too large")
    _require_utf8(body)
    parser = expat.ParserCreate("UTF-8")
    parser.buffer_text = True
    parser.StartElementHandler = start
    parser.EndElementHandler = end
    parser.CharacterDataHandler = text
    parser.StartDoctypeDeclHandler = refuse
    parser.ProcessingInstructionHandler = refuse
    if not body.isascii():
        parser.XmlDeclHandler = _require_utf8_declared
    try:
        parser.Parse(body, True)  # noqa: FBT003 - expat takes no keyword
    except expat.ExpatError:
        raise NotWellFormed("not well-formed XML in UTF-8") from None
    root: _Node = top[1][0]
    return root


def _require_utf8(body: bytes) -> None:
    # expat obeys a byte order mark whatever encoding it was told; NUL is how UTF-16 without one shows itself.
    if not body.isascii():
        if len(body) > _LARGE:
            raise InvalidRequest("over a limit: a document of that size must be ASCII, as a package in base64 is")
        try:
            body.decode("utf-8")
        except UnicodeDecodeError:
            raise NotWellFormed("not well-formed XML in UTF-8") from None
    if b"\0" in body:
        raise NotWellFormed("not well-formed XML in UTF-8")
    # XML-RPC has no attributes; expat would gather hundreds of thousands before it asked us.
    if _LONG_TAG.search(body):
        raise InvalidRequest("over a limit: a tag is too long")


def _require_utf8_declared(_version: str, encoding: str | None, _standalone: int) -> None:
    # Clients that declare another encoding (us-ascii, iso-8859-1) mean the same bytes as long as all are ASCII.
    if encoding is not None and encoding.lower() not in ("utf-8", "utf8"):
        raise NotWellFormed("not well-formed XML in UTF-8")


def _params(node: _Node, limits: Limits) -> list[Value]:
    tag, children, _ = node
    if tag != "params" or any(child[0] != "param" for child in children):
        raise InvalidRequest("params must hold param elements alone")
    return [_value(_only_child(param), limits.depth) for param in children]


def _only_child(node: _Node) -> _Node:
    if len(node[1]) != 1:
        raise InvalidRequest("an element that must hold one value holds none or several")
    child: _Node = node[1][0]
    return child


def _text(node: _Node) -> str:
    if node[1]:
        raise InvalidRequest("an element that must hold text holds other elements")
    return "".join(node[2])


def _value(node: _Node, depth: int) -> Value:
    tag, children, text = node
    if tag != "value":
        raise InvalidRequest("a value element was expected")
    if not children:
        return "".join(text)
    if len(children) != 1 or "".join(text).strip():
        raise InvalidRequest("a value must hold one type")
    typed: _Node = children[0]
    container = _CONTAINERS.get(typed[0])
    if container is not None:
        if depth <= 0:
            raise InvalidRequest("over a limit: too many or too deeply nested values")
        return container(typed, depth - 1)
    if typed[0] == "base64":
        return _base64(typed)
    read = _SCALARS.get(typed[0])
    if read is None:
        raise InvalidRequest("unknown value type")
    return read(_text(typed))


def _array(node: _Node, depth: int) -> Value:
    data = _only_child(node)
    if data[0] != "data":
        raise InvalidRequest("an array must hold data")
    return [_value(child, depth) for child in data[1]]


def _struct(node: _Node, depth: int) -> Value:
    members: dict[str, Value] = {}
    for tag, parts, _ in node[1]:
        if tag != "member" or len(parts) != 2 or parts[0][0] != "name":
            raise InvalidRequest("a struct must hold members of a name and a value")
        name = _text(parts[0])
        if name in members:
            raise InvalidRequest("a struct must not hold one name twice")
        members[name] = _value(parts[1], depth)
    return members


def _integer(text: str) -> int:
    text = text.strip()
    if _INTEGER.fullmatch(text):
        number = int(text)
        if number in _INT64:
            return number
    raise InvalidRequest("an integer must be a decimal number of at most 64 bits")


def _boolean(text: str) -> bool:
    if text.strip() in ("0", "1"):
        return text.strip() == "1"
    raise InvalidRequest("a boolean must be 0 or 1")


def _double(text: str) -> float:
    text = text.strip()
    if _DOUBLE.fullmatch(text):
        number = float(text)
        if math.isfinite(number):
            return number
    raise InvalidRequest("a double must be a finite decimal number")


def _date_time(text: str) -> datetime:
    match = _DATE_TIME.fullmatch(text.strip())
    if match:
        try:
            return datetime(*(int(part) for part in match.groups()), tzinfo=UTC)  # type: ignore[misc,arg-type]
        except ValueError:
            pass
    raise InvalidRequest("a dateTime.iso8601 must look like 20261122T09:30:00")


def _base64(node: _Node) -> bytes:
    """Decode piece by piece, giving up each piece of text on the way: a package must not be in memory four times."""
    if node[1]:
        raise InvalidRequest("an element that must hold text holds other elements")
    pieces = node[2][::-1]
    node[2].clear()
    decoded, rest = bytearray(), ""
    try:
        while pieces:
            rest += "".join(pieces.pop().split())
            # What may be the end, with its padding, is decoded last.
            whole = (len(rest) - 1) // 4 * 4
            if "=" in rest[:whole]:
                raise InvalidRequest("a base64 value is malformed")
            decoded += binascii.a2b_base64(rest[:whole], strict_mode=True)
            rest = rest[whole:]
        decoded += binascii.a2b_base64(rest, strict_mode=True)
    except ValueError:
        raise InvalidRequest("a base64 value is malformed") from None
    return bytes(decoded)


def _nil(text: str) -> None:
    if text:
        raise InvalidRequest("nil must be empty")


_CONTAINERS: dict[str, Callable[[_Node, int], Value]] = {"array": _array, "struct": _struct}

_SCALARS: dict[str, Callable[[str], Value]] = {
    "string": str,
    "int": _integer,
    "i4": _integer,
    "i8": _integer,
    "boolean": _boolean,
    "double": _double,
    "dateTime.iso8601": _date_time,
    "nil": _nil,
}
