"""Reading XML-RPC documents, from the friendly to the hostile."""

from __future__ import annotations

import codecs
import contextlib
import time
import xmlrpc.client
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monagent.errors import Fault, InvalidRequest, NotWellFormed
from monagent.models import Value
from monagent.rpc import marshal, unmarshal
from monagent.rpc.unmarshal import REQUEST_LIMITS, Limits

from .documents import WIDE, any_value, as_read, call, foreign_value, nested_arrays, nested_structs, read

QUICK = settings(max_examples=100, deadline=None, database=None)

# -- values -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("inside", "expected"),
    [
        ("bare", "bare"),
        ("", ""),
        ("  kept as it is \n", "  kept as it is \n"),
        ("<string>typed</string>", "typed"),
        ("<string/>", ""),
        ("<string>  kept </string>", "  kept "),
        ("a&lt;b&amp;c&#233;&#x20AC;", "a<b&cé€"),
        ("<string><![CDATA[<b>&amp;]]></string>", "<b>&amp;"),
        ("<string>a<!-- unseen -->b</string>", "ab"),
        ("<int>5</int>", 5),
        ("<i4>-5</i4>", -5),
        ("<i8>9223372036854775807</i8>", 2**63 - 1),
        ("<boolean>1</boolean>", True),
        ("<boolean> 0 </boolean>", False),
        ("<double>1.5</double>", 1.5),
        ("<dateTime.iso8601>20261122T09:30:00</dateTime.iso8601>", datetime(2026, 11, 22, 9, 30, tzinfo=UTC)),
        ("<base64>aGk=</base64>", b"hi"),
        ("<base64>\n aG\n k= \n</base64>", b"hi"),
        ("<base64/>", b""),
        ("<nil/>", None),
        ("<nil></nil>", None),
        ("<array><data/></array>", []),
        ("<array><data><value>a</value><value><int>1</int></value></data></array>", ["a", 1]),
        ("<struct/>", {}),
        ("<struct><member><name/><value/></member></struct>", {"": ""}),
        ("\n  <struct>\n <member>\n <name>a</name>\n <value>b</value>\n </member>\n </struct>\n ", {"a": "b"}),
        ("<int unit='s'>5</int>", 5),
    ],
)
def test_every_type_is_read_in_every_form(inside: str, expected: Value) -> None:
    """Each type of the specification, nil and i8 are read; white space around types means nothing."""
    value = read(inside)

    assert repr(expected) == repr(value)


@pytest.mark.parametrize("kind", ["int", "i4", "i8"])
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0", 0),
        ("-0", 0),
        ("+5", 5),
        ("007", 7),
        ("\n 5\t", 5),
        ("0" * 18 + "5", 5),
        (str(2**31), 2**31),
        (str(2**63 - 1), 2**63 - 1),
        (str(-(2**63)), -(2**63)),
    ],
)
def test_integers_go_up_to_64_bits(kind: str, text: str, expected: int) -> None:
    """Signs, leading zeros and white space around are fine, up to the ends of 64 bits."""
    assert expected == read(f"<{kind}>{text}</{kind}>")


@pytest.mark.parametrize("kind", ["int", "i4", "i8"])
@pytest.mark.parametrize(
    "text",
    [
        str(2**63), str(-(2**63) - 1), "9" * 19, "9" * 20, "9" * 200_000,
        "", " ", "+", "-", "--5", "+-5", "5 5", "1_0", "0x5", "5.0", "1e3", "five", "५", "\uff15", "²", "nan", "5\x855",
    ],
)  # fmt: skip
def test_what_is_no_64_bit_integer_is_refused(kind: str, text: str) -> None:
    """Python would take some of these (underscores, other scripts' digits, any length); the wire does not."""
    with pytest.raises(InvalidRequest):
        read(f"<{kind}>{text}</{kind}>")


@pytest.mark.parametrize("text", ["", "2", "01", "true", "True", "yes", "-1", "\uff11", "1 1"])
def test_a_boolean_is_0_or_1(text: str) -> None:
    """Nothing else is a boolean."""
    with pytest.raises(InvalidRequest):
        read(f"<boolean>{text}</boolean>")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1", 1.0),
        ("-1.5", -1.5),
        ("+3.", 3.0),
        (".5", 0.5),
        ("1e5", 1e5),
        ("1E-5", 1e-5),
        (" 2.5\n", 2.5),
        ("1.7976931348623157e+308", 1.7976931348623157e308),
        ("5e-324", 5e-324),
        ("1e-9999", 0.0),
        ("-0.0", -0.0),
    ],
)
def test_doubles_are_decimal_numbers(text: str, expected: float) -> None:
    """A sign, a point and an exponent may stand in a double."""
    assert repr(expected) == repr(read(f"<double>{text}</double>"))


@pytest.mark.parametrize(
    "text",
    [
        "", ".", "e5", "1e", "1e+", "nan", "NaN", "inf", "-inf", "Infinity", "1e309", "-1e999", "1e99999", "9" * 400, "9" * 200_000,
        "1_0", "0x1p3", "1,5", "1.5.5", "1 5", "٣", "--1",
    ],
)  # fmt: skip
def test_what_is_no_finite_decimal_is_refused(text: str) -> None:
    """No infinity and no NaN gets in, also not by way of a large exponent."""
    with pytest.raises(InvalidRequest):
        read(f"<double>{text}</double>")


@pytest.mark.parametrize(
    "text",
    [
        "20261122T09:30:00",
        "2026-11-22T09:30:00",
        "2026-11-22T09:30:00Z",
        "20261122T093000",
        "20261122T09:30:00.123456789",
        " 20261122T09:30:00 ",
    ],
)
def test_date_times_are_read_as_utc(text: str) -> None:
    """The original form, its common variants, and fractions of a second (dropped)."""
    assert read(f"<dateTime.iso8601>{text}</dateTime.iso8601>") == datetime(2026, 11, 22, 9, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    "text",
    [
        "", "20261122", "T09:30:00", "20261122 09:30:00", "20261322T09:30:00", "20260230T09:30:00", "00000101T00:00:00",
        "20261122T24:00:00", "20261122T09:60:00", "20261122T09:30:60", "20261122T09:30", "20261122T09:30:00+02:00",
        "+0261122T09:30:00", "\uff12\uff10261122T09:30:00", "20261122T09:30:00.", "20261122T09:30:00.1234567890",
    ],
)  # fmt: skip
def test_impossible_date_times_are_refused(text: str) -> None:
    """A date that does not exist, or a zone other than UTC, is an error and not a guess."""
    with pytest.raises(InvalidRequest):
        read(f"<dateTime.iso8601>{text}</dateTime.iso8601>")


@pytest.mark.parametrize("text", ["aGk", "a", "!!!!", "aGk=aGk=", "=", "aGk==", "aGké", "aG-_"])
def test_broken_base64_is_refused(text: str) -> None:
    """Characters, padding and length must all be right."""
    with pytest.raises(InvalidRequest):
        read(f"<base64>{text}</base64>")


@pytest.mark.parametrize(
    "tag", ["bigdecimal", "biginteger", "float", "i1", "i2", "short", "dateTime", "ex:nil", "Int", "value", "data", "b"]
)
def test_unknown_types_are_refused(tag: str) -> None:
    """The list of types is closed."""
    with pytest.raises(InvalidRequest):
        read(f"<{tag}>1</{tag}>")


# -- structure ----------------------------------------------------------------------------------------------------


def test_params_may_be_left_out() -> None:
    """A call without a params element has no parameters."""
    assert unmarshal.call(b"<methodCall><methodName>m</methodName></methodCall>") == ("m", [])


def test_params_may_be_empty() -> None:
    """A call with an empty params element has no parameters."""
    assert unmarshal.call(call()) == ("m", [])


def test_parameters_keep_their_order() -> None:
    """Several parameters arrive as they were sent."""
    name, params = unmarshal.call(call("<value>a</value>", "<value><int>2</int></value>", "<value/>", name="system.x"))

    assert name == "system.x"
    assert params == ["a", 2, ""]


@pytest.mark.parametrize(
    "document",
    [
        "<methodResponse/>",
        "<methodCall/>",
        "<methodcall><methodName>m</methodName></methodcall>",
        "<methodCall><params/></methodCall>",
        "<methodCall><params/><methodName>m</methodName></methodCall>",
        "<methodCall><methodName>m</methodName><methodName>m</methodName></methodCall>",
        "<methodCall><methodName>m</methodName><params/><params/></methodCall>",
        "<methodCall><methodName><b>m</b></methodName></methodCall>",
        "<methodCall><methodName>m</methodName><param><value/></param></methodCall>",
        "<methodCall><methodName>m</methodName><params><value/></params></methodCall>",
        "<methodCall><methodName>m</methodName><params><param/></params></methodCall>",
        "<methodCall><methodName>m</methodName><params><param>text</param></params></methodCall>",
        "<methodCall><methodName>m</methodName><params><param><int>1</int></param></params></methodCall>",
        "<methodCall><methodName>m</methodName><params><param><value/><value/></param></params></methodCall>",
    ],
)
def test_a_call_of_another_shape_is_refused(document: str) -> None:
    """Well-formed XML that is not a methodCall gets -32600."""
    with pytest.raises(InvalidRequest):
        unmarshal.call(document.encode())


@pytest.mark.parametrize(
    "inside",
    [
        "<int>1</int><int>2</int>",
        "text<int>1</int>",
        "<int>1</int>text",
        "<int><int>1</int></int>",
        "<string><b>x</b></string>",
        "<nil>x</nil>",
        "<nil><nil/></nil>",
        "<array/>",
        "<array>text</array>",
        "<array><value/></array>",
        "<array><data/><data/></array>",
        "<array><data><int>1</int></data></array>",
        "<struct><name>a</name></struct>",
        "<struct><value/></struct>",
        "<struct><member/></struct>",
        "<struct><member><name>a</name></member></struct>",
        "<struct><member><value/></member></struct>",
        "<struct><member><value/><name>a</name></member></struct>",
        "<struct><member><name>a</name><value/><value/></member></struct>",
        "<struct><member><name>a</name><int>1</int></member></struct>",
        "<struct><member><name><b>a</b></name><value/></member></struct>",
        "<struct><member><name>a</name><value/></member><value/></struct>",
    ],
)
def test_a_value_of_another_shape_is_refused(inside: str) -> None:
    """Each element holds what the grammar says, or the document is refused."""
    with pytest.raises(InvalidRequest):
        read(inside)


def test_a_struct_with_one_name_twice_is_refused() -> None:
    """Two readers could take two different values for it."""
    member = "<member><name>a</name><value>1</value></member>"

    with pytest.raises(InvalidRequest, match="twice"):
        read(f"<struct>{member}<member><name>b</name><value/></member>{member}</struct>")


def test_names_that_differ_in_case_are_two_names() -> None:
    """Only the very same name is a duplicate."""
    members = "".join(f"<member><name>{name}</name><value>{name}</value></member>" for name in ("a", "A"))

    assert read(f"<struct>{members}</struct>") == {"a": "a", "A": "A"}


# -- answers ------------------------------------------------------------------------------------------------------


def test_a_fault_is_raised_with_its_code_and_text() -> None:
    """The other side's refusal arrives as an exception."""
    with pytest.raises(Fault) as caught:
        unmarshal.response(marshal.fault(Fault("no & never", -32001)))

    assert (caught.value.code, caught.value.message) == (-32001, "no & never")


@pytest.mark.parametrize(
    "inside",
    [
        "",
        "<fault/>",
        "<params/>",
        "<fault><value>text</value></fault>",
        "<fault><value><struct/></value></fault>",
        "<fault><value><struct><member><name>faultCode</name><value><int>1</int></value></member></struct></value></fault>",
        (
            "<fault><value><struct><member><name>faultCode</name><value>1</value></member>"
            "<member><name>faultString</name><value>x</value></member></struct></value></fault>"
        ),
        "<fault><int>1</int></fault>",
        "<params><param><value/></param><param><value/></param></params>",
        "<params><param><value/></param></params><params/>",
        "<params><param/></params>",
        "<value/>",
    ],
)
def test_an_answer_of_another_shape_is_refused(inside: str) -> None:
    """An answer carries one value or one fault struct, and nothing else."""
    with pytest.raises(InvalidRequest):
        unmarshal.response(f"<methodResponse>{inside}</methodResponse>".encode())


def test_a_call_is_no_answer() -> None:
    """A methodCall where an answer is expected is refused."""
    with pytest.raises(InvalidRequest):
        unmarshal.response(call())


# -- encodings ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["é", "日本", "𝄞", "\u2028", "\U0010ffff"])
def test_utf_8_is_read(text: str) -> None:
    """With and without a declaration, with and without a byte order mark."""
    body = call(f"<value>{text}</value>")
    declared = b'<?xml version="1.0" encoding="utf-8"?>' + body

    assert [unmarshal.call(each)[1] for each in (body, declared, codecs.BOM_UTF8 + declared)] == [[text]] * 3


@pytest.mark.parametrize("encoding", ["us-ascii", "iso-8859-1", "ISO-8859-15", "windows-1252", "utf-16", "made-up"])
def test_another_declared_encoding_is_fine_while_all_is_ascii(encoding: str) -> None:
    """Clients that declare latin-1 out of habit, and send ASCII, are understood."""
    body = f"<?xml version='1.0' encoding='{encoding}'?>".encode() + call("<value>plain &#233;</value>")

    assert unmarshal.call(body)[1] == ["plain é"]


@pytest.mark.parametrize("encoding", ["us-ascii", "iso-8859-1", "windows-1252"])
@pytest.mark.parametrize("written", ["utf-8", "iso-8859-1"])
def test_another_declared_encoding_is_refused_when_not_all_is_ascii(encoding: str, written: str) -> None:
    """What would be read differently by two readers is not read at all."""
    body = f"<?xml version='1.0' encoding='{encoding}'?>".encode() + call("<value>é</value>").decode().encode(written)

    with pytest.raises(NotWellFormed):
        unmarshal.call(body)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be", "cp037"])
def test_other_encodings_are_refused(encoding: str) -> None:
    """UTF-16 with and without a mark and everything further away is not UTF-8."""
    with pytest.raises(NotWellFormed):
        unmarshal.call(call("<value>é+</value>").decode().encode(encoding, "xmlcharrefreplace"))


@pytest.mark.parametrize(
    "data",
    [
        b"\xff",
        b"\xc3",
        b"\xc0\xaf",
        b"\xe0\x80\xaf",
        b"\xed\xa0\x80",
        b"\xf4\x90\x80\x80",
        b"\x80",
        b"\xef\xbf\xbe",
        b"\0",
    ],
)
def test_broken_utf_8_is_refused(data: bytes) -> None:
    """Overlong forms, surrogates, lone and missing continuation bytes, NUL, and a noncharacter."""
    with pytest.raises(NotWellFormed):
        unmarshal.call(call("<value>@</value>").replace(b"@", data))


def test_nul_outside_the_document_is_refused() -> None:
    """Nothing hides behind the end."""
    with pytest.raises(NotWellFormed):
        unmarshal.call(call() + b"\0")


# -- XML that attacks ---------------------------------------------------------------------------------------------

LAUGHS = (
    "<!DOCTYPE l [<!ENTITY a 'ha'>" + "".join(
        f"<!ENTITY {name} '{f'&{before};' * 10}'>" for before, name in zip("abcdefgh", "bcdefghi", strict=True)
    ) + "]>"
)  # fmt: skip


@pytest.mark.parametrize(
    "prologue",
    [
        "<!DOCTYPE methodCall>",
        "<!DOCTYPE methodCall SYSTEM 'file:///etc/passwd'>",
        "<!DOCTYPE m [<!ENTITY x SYSTEM 'file:///etc/passwd'>]>",
        "<!DOCTYPE m [<!ENTITY % p SYSTEM 'http://127.0.0.1:1/'> %p;]>",
        "<!DOCTYPE m [<!ATTLIST int unit CDATA 's'>]>",
        LAUGHS,
        "<?xml-stylesheet href='x'?>",
        "<?php echo 1 ?>",
    ],
)
def test_document_types_and_processing_instructions_are_refused(prologue: str) -> None:
    """No entity is ever expanded or fetched, because none can be declared."""
    started = time.process_time()
    with pytest.raises(InvalidRequest):
        unmarshal.call(prologue.encode() + call("<value>&i;</value>"))

    assert time.process_time() - started < 1


@pytest.mark.parametrize(
    "document",
    [
        b"", b" ", b"\n", b"<", b"text", b"{}", b"<methodCall>", b"</methodCall>", b"<a></b>", b"<a/><b/>", b"<a/>text",
        b"<a b=1/>", b"<a b='1' b='2'/>", b"<a b='<'/>", b"<a>&x;</a>", b"<a>&#0;</a>", b"<a>&#x1f;</a>", b"<a>&#xd800;</a>",
        b"<a>\x01</a>", b"<a>]]></a>", b"<a><![CDATA[</a>", b"<a><!-- -- --></a>", b" <?xml version='1.0'?><a/>",
        b"<?xml?><a/>", codecs.BOM_UTF8,
    ],
)  # fmt: skip
def test_what_is_no_xml_is_refused(document: bytes) -> None:
    """Anything but one well-formed XML 1.0 document gets -32700."""
    with pytest.raises(NotWellFormed):
        unmarshal.call(document)


def test_a_processing_instruction_inside_is_refused() -> None:
    """It may stand nowhere."""
    with pytest.raises(InvalidRequest):
        read("<int>5<?x?></int>")


@pytest.mark.parametrize(
    "body",
    [
        b"<a>" * 80_000,
        b"<methodCall><methodName>m</methodName><params>" + b"<param><value><array><data>" * 8_000,
        b"<methodCall>" + b"<!--x-->" * 30_000,
        b"<methodCall " + b" ".join(b"a%d='1'" % number for number in range(20_000)) + b"/>",
        b"<methodCall><methodName>" + b"&amp;" * 50_000 + b"</methodName></methodCall>",
        b"<methodCall><methodName>" + b"m<!---->" * 30_000 + b"</methodName></methodCall>",
        call("<value><int>" + "9" * 250_000 + "</int></value>"),
        call("<value><double>" + "9" * 125_000 + "." + "9" * 125_000 + "</double></value>"),
        call("<value><int>" + " " * 250_000 + "x</int></value>"),
        call("<value>" + " " * 250_000 + "<int>5</int></value>"),
    ],
)
def test_large_hostile_documents_cost_little(body: bytes) -> None:
    """Whatever fits the size limit is read or refused quickly."""
    assert len(body) <= REQUEST_LIMITS.size
    started = time.process_time()
    with contextlib.suppress(NotWellFormed, InvalidRequest):
        unmarshal.call(body)

    assert time.process_time() - started < 2


# -- limits -------------------------------------------------------------------------------------------------------


def test_a_document_of_exactly_the_size_limit_is_read() -> None:
    """The limit itself is allowed."""
    body = call("<value>x</value>")

    assert unmarshal.call(body.ljust(REQUEST_LIMITS.size)) == ("m", ["x"])


def test_a_document_one_byte_over_the_size_limit_is_refused() -> None:
    """The limit is in bytes, and counts white space."""
    with pytest.raises(InvalidRequest, match="too large"):
        unmarshal.call(call("<value>x</value>").ljust(REQUEST_LIMITS.size + 1))


def test_a_large_document_is_refused_before_it_is_looked_at() -> None:
    """What is over the limit is not parsed, so that it does not matter whether it is XML."""
    with pytest.raises(InvalidRequest, match="too large"):
        unmarshal.call(b"\xff" * 20, Limits(size=19))


def _flat(count: int) -> bytes:
    return call(*["<value/>"] * count)


def _in_an_array(count: int) -> bytes:
    return call(f"<value><array><data>{'<value><int>1</int></value>' * (count - 1)}</data></array></value>")


def _in_a_struct(count: int) -> bytes:
    members = "".join(f"<member><name>{number}</name><value><i4>1</i4></value></member>" for number in range(count - 1))
    return call(f"<value><struct>{members}</struct></value>")


def _in_pairs(count: int) -> bytes:
    pair = "<value><struct><member><name>n</name><value><i4>1</i4></value></member></struct></value>"
    return call(*[pair] * (count // 2))


@pytest.mark.parametrize("made", [_flat, _in_an_array, _in_a_struct, _in_pairs])
def test_as_many_values_as_the_limit_are_read(made: Any) -> None:
    """However the values are arranged, all that are allowed get in."""
    limits = Limits(values=1000)

    assert unmarshal.call(made(1000), limits)[0] == "m"


@pytest.mark.parametrize("made", [_flat, _in_an_array, _in_a_struct, _in_pairs])
def test_one_value_over_the_limit_is_refused(made: Any) -> None:
    """Containers count as values too."""
    with pytest.raises(InvalidRequest, match="over a limit"):
        unmarshal.call(made(1002), Limits(values=1000 if made is _in_pairs else 1001))


@pytest.mark.parametrize("nested", [nested_arrays, nested_structs])
@pytest.mark.parametrize("innermost", ["<value><int>1</int></value>", "<value>bare</value>"])
def test_containers_may_be_nested_as_deep_as_the_limit(nested: Any, innermost: str) -> None:
    """Twelve arrays or structs inside each other, and a value in the last."""
    body = call(nested(REQUEST_LIMITS.depth, innermost))

    assert unmarshal.call(body)[0] == "m"


@pytest.mark.parametrize("nested", [nested_arrays, nested_structs])
@pytest.mark.parametrize(
    "innermost", ["<value><int>1</int></value>", "<value>bare</value>", "<value><array><data/></array></value>"]
)
def test_one_container_too_deep_is_refused(nested: Any, innermost: str) -> None:
    """The thirteenth level is refused whatever it holds, also a bare string."""
    with pytest.raises(InvalidRequest, match="over a limit"):
        unmarshal.call(call(nested(REQUEST_LIMITS.depth + 1, innermost)))


@pytest.mark.parametrize("innermost", ["<array><data/></array>", "<struct/>"])
def test_an_empty_container_counts_as_a_level(innermost: str) -> None:
    """An empty thirteenth container is one too many."""
    with pytest.raises(InvalidRequest, match="over a limit"):
        unmarshal.call(call(nested_arrays(REQUEST_LIMITS.depth, f"<value>{innermost}</value>")))


def test_answers_obey_their_own_limits() -> None:
    """The caps hold for what a server says as well."""
    with pytest.raises(InvalidRequest, match="over a limit"):
        unmarshal.response(marshal.response(["x"] * 10), Limits(values=10))


# -- properties ---------------------------------------------------------------------------------------------------


@given(st.lists(any_value, max_size=4))
@QUICK
def test_what_is_written_is_read_back(params: list[Value]) -> None:
    """Every supported value comes back as it was; characters that XML lacks come back as visible escapes."""
    name, read_back = unmarshal.call(marshal.call("m", params), WIDE)

    assert name == "m"
    assert repr([as_read(param) for param in params]) == repr(read_back)


@given(any_value)
@QUICK
def test_what_is_answered_is_read_back(value: Value) -> None:
    """The same for answers."""
    assert repr(as_read(value)) == repr(unmarshal.response(marshal.response(value), WIDE))


@given(st.lists(foreign_value, max_size=4))
@QUICK
def test_what_the_standard_library_writes_is_read(params: list[Value]) -> None:
    """Calls of a plain Python client arrive as they were meant."""
    written = xmlrpc.client.dumps(tuple(params), "m", allow_none=True)
    _, read_back = unmarshal.call(written.encode(), WIDE)

    assert repr(params) == repr(read_back)


@given(st.binary(max_size=300))
@QUICK
def test_random_bytes_are_refused_in_order(data: bytes) -> None:
    """Only the two faults come out of it."""
    with pytest.raises((NotWellFormed, InvalidRequest)):
        unmarshal.call(data)


TAGS = [
    "methodCall", "methodName", "params", "param", "value", "int", "i4", "i8", "string", "boolean", "double", "dateTime.iso8601",
    "base64", "nil", "array", "data", "struct", "member", "name", "fault", "methodResponse",
]  # fmt: skip
SCRAPS = [
    *(f"<{tag}>" for tag in TAGS), *(f"</{tag}>" for tag in TAGS), *(f"<{tag}/>" for tag in TAGS),
    "<!DOCTYPE a>", "<!ENTITY a 'b'>", "&a;", "&#0;", "&#x10ffff;", "<![CDATA[", "]]>", "<!--", "-->", "<?x?>", "\x00", "é",
    "<?xml version='1.0' encoding='utf-16'?>", "9" * 30, "nan", "-", " ", "'", '"', "=", "20261122T09:30:00",
]  # fmt: skip


def _read_or_refuse(body: bytes) -> None:
    started = time.process_time()
    for read_it in (unmarshal.call, unmarshal.response):
        with contextlib.suppress(NotWellFormed, InvalidRequest):
            try:
                read_it(body)
            except Fault as fault:
                if type(fault) is not Fault:
                    raise

    assert time.process_time() - started < 2


@given(st.lists(st.sampled_from(SCRAPS), max_size=40).map("".join))
@QUICK
def test_scraps_of_documents_are_read_or_refused(text: str) -> None:
    """However tags and texts are thrown together, there is a value or one of the two faults."""
    _read_or_refuse(text.encode())


@given(
    st.lists(any_value, max_size=3),
    st.lists(
        st.tuples(st.floats(0, 1), st.integers(0, 12), st.binary(max_size=4) | st.sampled_from(SCRAPS).map(str.encode)),
        min_size=1,
        max_size=5,
    ),
)
@QUICK
def test_damaged_documents_are_read_or_refused(params: list[Value], cuts: list[tuple[float, int, bytes]]) -> None:
    """A valid call with pieces cut out and others put in gives a value or one of the two faults."""
    body = marshal.call("m", params)
    for place, length, scrap in cuts:
        start = int(place * len(body))
        body = body[:start] + scrap + body[start + length :]

    _read_or_refuse(body)
