"""Writing XML-RPC documents that everybody can parse."""

from __future__ import annotations

import math
import xmlrpc.client
from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given, settings

from monagent.errors import Busy, Fault
from monagent.models import Value
from monagent.rpc import marshal, unmarshal

from .documents import any_text, any_value, as_read, visible

QUICK = settings(max_examples=100, deadline=None, database=None)


@pytest.mark.parametrize(
    ("value", "written"),
    [
        ("a", "<string>a</string>"),
        ("", "<string></string>"),
        ("<&>", "<string>&lt;&amp;&gt;</string>"),
        ("a\r\nb\tc", "<string>a&#13;\nb\tc</string>"),
        ("\x00\x1b\x7f", "<string>\\x00\\x1b\\x7f</string>"),
        ("\ud800\ufffe", "<string>\\ud800\\ufffe</string>"),
        ("]]>", "<string>]]&gt;</string>"),
        (0, "<int>0</int>"),
        (2**31 - 1, "<int>2147483647</int>"),
        (-(2**31), "<int>-2147483648</int>"),
        (2**31, "<i8>2147483648</i8>"),
        (-(2**63), "<i8>-9223372036854775808</i8>"),
        (True, "<boolean>1</boolean>"),
        (False, "<boolean>0</boolean>"),
        (1.5, "<double>1.5</double>"),
        (1e300, "<double>1e+300</double>"),
        (b"hi", "<base64>aGk=</base64>"),
        (None, "<nil/>"),
        ([], "<array><data></data></array>"),
        ((1, "a"), "<array><data><value><int>1</int></value><value><string>a</string></value></data></array>"),
        ({}, "<struct></struct>"),
        ({"a<": 1}, "<struct><member><name>a&lt;</name><value><int>1</int></value></member></struct>"),
        (datetime(2026, 11, 22, 9, 30, tzinfo=UTC), "<dateTime.iso8601>20261122T09:30:00</dateTime.iso8601>"),
    ],
)
def test_every_type_is_written_in_its_one_form(value: Any, written: str) -> None:
    """The forms are those of the specification, plus i8 and nil."""
    assert marshal.value(value) == f"<value>{written}</value>"


def test_a_time_of_another_zone_is_written_in_utc() -> None:
    """The wire knows UTC alone."""
    when = datetime(2026, 1, 1, 1, 0, tzinfo=timezone(timedelta(hours=2)))

    assert "20251231T23:00:00" in marshal.value(when)


@pytest.mark.parametrize("year", [1, 99, 999])
def test_an_early_year_has_four_digits(year: int) -> None:
    """A date that can be received can be sent on."""
    when = datetime(year, 2, 3, tzinfo=UTC)

    assert f"<value><dateTime.iso8601>{year:04d}0203T00:00:00</dateTime.iso8601></value>" == marshal.value(when)


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_what_is_no_number_is_not_written(number: float) -> None:
    """XML-RPC has no words for it."""
    with pytest.raises(TypeError):
        marshal.value(number)


@pytest.mark.parametrize("value", [object(), {1}, 1j, range(3), {"a": object()}, [object()], bytearray(b"x")])
def test_an_unknown_type_is_a_bug(value: Any) -> None:
    """Nothing is turned into text by guessing."""
    with pytest.raises(TypeError):
        marshal.value(value)


@pytest.mark.parametrize("number", [2**63, -(2**63) - 1, 10**30])
def test_an_integer_beyond_64_bits_is_not_written(number: int) -> None:
    """No document leaves that our own reader would refuse."""
    with pytest.raises((TypeError, ValueError, OverflowError)):
        marshal.value(number)


def test_a_fault_carries_the_code_of_its_class() -> None:
    """The error tree fixes the codes."""
    with pytest.raises(Fault) as caught:
        unmarshal.response(marshal.fault(Busy("later")))

    assert (caught.value.code, caught.value.message) == (-32002, "later")


def test_a_method_name_is_escaped() -> None:
    """A name from outside cannot break the document."""
    assert unmarshal.call(marshal.call("</methodName>&", ()))[0] == "</methodName>&"


@given(any_value)
@QUICK
def test_the_standard_library_parses_every_answer(value: Value) -> None:
    """A plain Python client reads what we write."""
    loaded, _ = xmlrpc.client.loads(marshal.response(value), use_builtin_types=True)

    assert repr(_without_zones(as_read(value))) == repr(loaded[0])


@given(any_text, any_value)
@QUICK
def test_the_standard_library_parses_every_call(name: str, value: Value) -> None:
    """A plain Python server reads what we write."""
    loaded, method = xmlrpc.client.loads(marshal.call(name or "m", [value]), use_builtin_types=True)

    assert visible(name or "m") == method
    assert repr(_without_zones(as_read(value))) == repr(loaded[0])


@given(any_text)
@QUICK
def test_every_fault_is_well_formed(text: str) -> None:
    """Whatever a fault's text holds, any XML parser takes the document."""
    document = ET.fromstring(marshal.fault(Fault(text)))

    assert document.tag == "methodResponse"


def _without_zones(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.replace(tzinfo=None)
    if isinstance(value, list):
        return [_without_zones(item) for item in value]
    if isinstance(value, dict):
        return {name: _without_zones(item) for name, item in value.items()}
    return value
