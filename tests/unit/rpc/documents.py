"""XML-RPC documents, written by hand or drawn at random."""

from __future__ import annotations

from datetime import UTC, datetime

from hypothesis import strategies as st

from monagent.models import Value
from monagent.rpc import unmarshal

WIDE = unmarshal.Limits(size=8 * 1024 * 1024, values=100_000, depth=40)
"""Limits that nothing drawn here reaches."""


def call(*values: str, name: str = "m") -> bytes:
    """A methodCall with these value elements as its parameters."""
    params = "".join(f"<param>{value}</param>" for value in values)
    return f"<methodCall><methodName>{name}</methodName><params>{params}</params></methodCall>".encode()


def read(inside: str, limits: unmarshal.Limits = unmarshal.REQUEST_LIMITS) -> Value:
    """What a call's one parameter is read as, given what stands inside its value element."""
    _, params = unmarshal.call(call(f"<value>{inside}</value>"), limits)
    return params[0]


def nested_arrays(depth: int, innermost: str) -> str:
    """A value element: arrays inside each other, with a last value inside."""
    return "<value><array><data>" * depth + innermost + "</data></array></value>" * depth


def nested_structs(depth: int, innermost: str) -> str:
    """A value element: structs inside each other, with a last value inside."""
    return "<value><struct><member><name>n</name>" * depth + innermost + "</member></struct></value>" * depth


def visible(text: str) -> str:
    """The text as it arrives: what XML 1.0 cannot say has become an escape that a person can read."""
    return "".join(character if _carried(ord(character)) else _escaped(ord(character)) for character in text)


def _carried(code: int) -> bool:
    if code < 0x20 or code == 0x7F:
        return code in (0x09, 0x0A, 0x0D)
    return not (0xD800 <= code <= 0xDFFF or code in (0xFFFE, 0xFFFF))


def _escaped(code: int) -> str:
    return f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}"


def as_read(value: Value) -> Value:
    """The value as it arrives, see `visible`."""
    if isinstance(value, str):
        return visible(value)
    if isinstance(value, list):
        return [as_read(item) for item in value]
    if isinstance(value, dict):
        return {visible(name): as_read(item) for name, item in value.items()}
    return value


def _distinct(members: dict[str, Value]) -> bool:
    return len({visible(name) for name in members}) == len(members)


def containers(scalars: st.SearchStrategy[Value], names: st.SearchStrategy[str]) -> st.SearchStrategy[Value]:
    """The scalars, alone and in arrays and structs inside each other."""

    def around(inner: st.SearchStrategy[Value]) -> st.SearchStrategy[Value]:
        arrays: st.SearchStrategy[Value] = st.lists(inner, max_size=4).map(list)
        structs: st.SearchStrategy[Value] = st.dictionaries(names, inner, max_size=4).filter(_distinct).map(dict)
        return arrays | structs

    return st.recursive(scalars, around, max_leaves=12)


any_text = st.text(
    st.characters() | st.sampled_from("\r\n\t\x00\x1b\x7f&<>]\"'\\\ud800\udfff\ufffe\uffff"), max_size=40
)
"""Any Unicode, with what is hard to carry drawn often."""

moments = st.datetimes(min_value=datetime(1000, 1, 1), timezones=st.just(UTC)).map(  # noqa: DTZ001 - the strategy adds it
    lambda when: when.replace(microsecond=0, fold=0)
)

any_value: st.SearchStrategy[Value] = containers(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | any_text
    | st.binary(max_size=60)
    | moments,
    any_text,
)
"""Everything that monagent can write."""

plain_text = st.text(
    st.characters(codec="utf-8").filter(lambda character: _carried(ord(character)) and character != "\r"), max_size=40
)
"""Text that every client writes so that it can be read."""

foreign_value: st.SearchStrategy[Value] = containers(
    st.none()
    | st.booleans()
    | st.integers(-(2**31), 2**31 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | plain_text
    | st.binary(max_size=200)
    | moments,
    plain_text,
)
"""Everything that the standard library's client can write as well-formed XML."""
