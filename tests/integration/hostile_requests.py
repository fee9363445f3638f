"""Raw requests that nobody means well with, each with the answer that it must get."""

from __future__ import annotations

import base64
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field

from tests.integration.served import post

HEALTHY = b"<methodCall><methodName>healthcheck</methodName></methodCall>"
CLOSED = 0
"""Instead of a status: the connection ends without a word."""


@dataclass(frozen=True)
class Hostile:
    """What is sent, and what must come back: an HTTP status, or with 200 a fault of one of these codes."""

    name: str
    data: bytes = field(repr=False)
    status: int
    faults: tuple[int, ...] = ()
    hang_up: bool = False
    """Whether the sender closes its half behind it."""


def head(first: str, *lines: str, end: str = "\r\n") -> bytes:
    """A head, byte for byte."""
    return (end.join([first, *lines]) + end * 2).encode("latin-1")


def call(method: str, *values: str) -> bytes:
    """A call whose values are written out, types and all."""
    params = "".join(f"<param><value>{value}</value></param>" for value in values)
    return f"<methodCall><methodName>{method}</methodName><params>{params}</params></methodCall>".encode()


def text(value: str) -> str:
    """A string value."""
    return f"<string>{value}</string>"


def hostile_requests() -> list[Hostile]:
    """All of them."""
    return [*_lines(), *_headers(), *_smuggling(), *_gate(), *_cut_off(), *_documents(), *_values(), *_commands()]


def _lines() -> Iterator[Hostile]:
    """Request lines."""
    for name, first in {
        "nothing": "",
        "one word": "POST",
        "two words": "POST /xmlrpc/",
        "four words": "POST /xmlrpc/ HTTP/1.1 x",
        "two blanks": "POST  /xmlrpc/ HTTP/1.1",
        "a tab": "POST\t/xmlrpc/\tHTTP/1.1",
        "a blank in front": " POST /xmlrpc/ HTTP/1.1",
        "a blank behind": "POST /xmlrpc/ HTTP/1.1 ",
        "small letters": "post /xmlrpc/ HTTP/1.1",
        "small protocol": "POST /xmlrpc/ http/1.1",
        "HTTP/0.9": "GET /xmlrpc/",
        "HTTP/1.2": "POST /xmlrpc/ HTTP/1.2",
        "HTTP/2.0": "POST /xmlrpc/ HTTP/2.0",
        "HTTP/11": "POST /xmlrpc/ HTTP/11",
        "HTTP/1.1.1": "POST /xmlrpc/ HTTP/1.1.1",
        "HTTP/ a large version": "POST /xmlrpc/ HTTP/1.99999999999999999999",
        "h2 preface": "PRI * HTTP/2.0",
        "absolute form": "POST http://127.0.0.1/xmlrpc/ HTTP/1.1",
        "authority form": "CONNECT evil.example:80 HTTP/1.1",
        "asterisk form": "OPTIONS * HTTP/1.1",
        "no slash": "POST xmlrpc/ HTTP/1.1",
        "NUL": "POST /xml\0rpc/ HTTP/1.1",
        "delete": "POST /xml\x7frpc/ HTTP/1.1",
        "high bytes": "POST /xml\xff\xferpc/ HTTP/1.1",
        "escape": "POST /\x1b[2Jxmlrpc/ HTTP/1.1",
        "carriage return": "POST /xmlrpc/\rX: y HTTP/1.1",
        "a long verb": f"{'P' * 3000} /xmlrpc/ HTTP/1.1",
    }.items():
        yield Hostile(f"line: {name}", head(first, "Host: x", "Content-Type: text/xml", "Content-Length: 0"), 400)
    yield Hostile("line: a long path", head(f"POST /{'x' * 20_000} HTTP/1.1"), 431)
    yield Hostile("line: without an end", b"POST /" + b"x" * 20_000, 431)
    yield Hostile("line: line feeds alone", head("POST /xmlrpc/ HTTP/1.1", "Host: x", end="\n"), 400, hang_up=True)
    yield Hostile("line: TLS hello", bytes.fromhex("16030100c8010000c40303") + bytes(200), 400, hang_up=True)
    yield Hostile("line: SSH", b"SSH-2.0-OpenSSH_9.2\r\n\r\n", 400)
    yield Hostile("line: SOCKS", b"\x05\x01\x00\r\n\r\n", 400)
    yield Hostile("line: random", bytes(range(256)) * 20 + b"\r\n\r\n", 400)
    yield Hostile("line: zeros", bytes(4096) + b"\r\n\r\n", 400)
    yield Hostile("line: nothing but ends", b"\r\n" * 2000, 400)


def _headers() -> Iterator[Hostile]:
    first = "POST /xmlrpc/ HTTP/1.1"
    for name, line in {
        "no colon": "Nonsense",
        "no name": ": x",
        "blank before the colon": "X : y",
        "blank in front": " X: y",
        "folded": "X: y\r\n z",
        "NUL in a value": "X: a\0b",
        "NUL in a name": "X\0: y",
        "line feed in a value": "X: a\nY: b",
        "carriage return in a value": "X: a\rY: b",
        "escape in a value": "X: \x1b[2J",
        "quotes in a name": 'X"y: z',
        "brackets in a name": "X(y): z",
        "high bytes in a name": "X\xff: y",
        "two hosts": "Host: y",
        "two types": "Content-Type: text/plain",
        "two connections": "Connection: close\r\nConnection: keep-alive",
    }.items():
        yield Hostile(f"header: {name}", post(HEALTHY, "Content-Type: text/xml", line), 400)
    yield Hostile("header: too many", head(first, *(f"X-{n}: y" for n in range(5000))), 431)
    yield Hostile("header: too long", head(first, "X: " + "y" * 20_000), 431)
    yield Hostile("header: without an end", (first + "\r\nX: ").encode() + b"y" * 20_000, 431)
    yield Hostile("header: expects tea", post(HEALTHY, "Expect: tea"), 417)
    yield Hostile("header: expects twice", post(HEALTHY, "Expect: 100-continue", "Expect: 100-continue"), 400)


def _smuggling() -> Iterator[Hostile]:
    """What two programs could read as different requests. The second one, behind it, must never be answered."""
    first, kind = "POST /xmlrpc/ HTTP/1.1", "Content-Type: text/xml"
    length = f"Content-Length: {len(HEALTHY)}"
    behind = HEALTHY + post(HEALTHY)
    for name, lines, status in (
        ("two equal lengths", [length, length], 400),
        ("two lengths", [length, "Content-Length: 5"], 400),
        ("length with a list", [f"{length}, {len(HEALTHY)}"], 400),
        ("length and chunks", [length, "Transfer-Encoding: chunked"], 400),
        ("chunks and length", ["Transfer-Encoding: chunked", length], 400),
        ("chunks", ["Transfer-Encoding: chunked"], 411),
        ("chunks, badly written", ["Transfer-Encoding: xchunked"], 411),
        ("identity", ["Transfer-Encoding: identity"], 411),
        ("two encodings", ["Transfer-Encoding: chunked", "Transfer-Encoding: identity"], 400),
        ("chunks with a tab", ["Transfer-Encoding:\tchunked", length], 400),
        ("chunks with a vertical tab", ["Transfer-Encoding:\x0bchunked", length], 400),
        ("chunks behind a blank", ["Transfer-Encoding : chunked", length], 400),
        ("chunks, folded", ["X: y\r\n Transfer-Encoding: chunked", length], 400),
        ("chunks behind a line feed", ["X: y\nTransfer-Encoding: chunked", length], 400),
        ("chunks behind a carriage return", ["X: y\rTransfer-Encoding: chunked", length], 400),
        ("signed length", [f"Content-Length: +{len(HEALTHY)}"], 400),
        ("negative length", ["Content-Length: -1"], 400),
        ("hexadecimal length", ["Content-Length: 0x3d"], 400),
        ("length with an underscore", ["Content-Length: 6_1"], 400),
        ("length in other digits", ["Content-Length: \xb2\xb3"], 400),
        ("length with a fraction", ["Content-Length: 61.0"], 400),
        ("length with an exponent", ["Content-Length: 6e1"], 400),
        ("no length's value", ["Content-Length:"], 400),
        ("length of a thousand digits", [f"Content-Length: {'9' * 1000}"], 400),
        ("length with zeros in front", [f"Content-Length: {'0' * 30}61"], 400),
        ("length behind a blank", [f"Content-Length : {len(HEALTHY)}"], 400),
    ):
        yield Hostile(f"smuggling: {name}", head(first, "Host: x", kind, *lines) + behind, status)


def _gate() -> Iterator[Hostile]:
    for verb in ("GET", "HEAD", "PUT", "DELETE", "OPTIONS", "TRACE", "PATCH", "PROPFIND", "DEBUG", "X"):
        yield Hostile(f"gate: {verb}", head(f"{verb} /xmlrpc/ HTTP/1.1", "Host: x"), 405)
    for path in (
        "/..%2f..%2fetc/passwd",
        "/xmlrpc/%2e%2e/",
        "/%00",
        "//xmlrpc/",
        "/xmlrpc;x/",
        "/xmlrpc/\\..",
        "/%ff%fe",
    ):
        yield Hostile(f"gate: path {path}", post(HEALTHY, path=path), 404)
    for kind in ("text/plain", "application/json", "multipart/form-data; boundary=x", "text/xml/x", "text", "*/*", ""):
        yield Hostile(f"gate: type {kind}", post(HEALTHY, f"Content-Type: {kind}"), 415)
    for line in ("Origin: http://evil.example", "Origin: null", "Origin:", "Sec-Fetch-Site: cross-site"):
        yield Hostile(f"gate: {line}", post(HEALTHY, line), 403)
    packed = zlib.compress(b" " * 1_000_000)
    for coding in ("gzip", "deflate", "br", "identity"):
        yield Hostile(f"gate: {coding}", post(packed, f"Content-Encoding: {coding}"), 415)
    kind = "Content-Type: text/xml"
    large = head("POST /xmlrpc/ HTTP/1.1", "Host: x", kind, f"Content-Length: {64 * 1024 * 1024}")
    yield Hostile("gate: 64 MiB announced", large, 413)
    yield Hostile("gate: 64 MiB sent", large + bytes(64 * 1024 * 1024), 413)
    yield Hostile("gate: 999 GB announced", head("POST /xmlrpc/ HTTP/1.1", kind, "Content-Length: 999999999999"), 413)
    yield Hostile("gate: one byte too many", post(HEALTHY + b" " * (256 * 1024 + 1 - len(HEALTHY))), 413)
    yield Hostile("gate: a web socket", post(HEALTHY, "Upgrade: websocket", "Content-Type: x/y"), 415)


def _cut_off() -> Iterator[Hostile]:
    """What ends in the middle."""
    whole = post(HEALTHY)
    for end in (1, 10, 40, len(whole) - len(HEALTHY) - 1, len(whole) - len(HEALTHY), len(whole) - 1):
        yield Hostile(f"cut off: after {end} bytes", whole[:end], 400, hang_up=True)
    yield Hostile("cut off: before it began", b"", CLOSED, hang_up=True)


def _documents() -> Iterator[Hostile]:
    """What is no call."""
    long = "x" * 64
    laughs = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' for n in range(1, 10))
    for name, document in {
        "nothing": "",
        "blanks": " " * 1000,
        "nonsense": "nonsense",
        "JSON": '{"method": "healthcheck"}',
        "not closed": "<methodCall><methodName>healthcheck",
        "closed crosswise": "<a><b></a></b>",
        "two roots": HEALTHY.decode() * 2,
        "text behind": HEALTHY.decode() + "x",
        "undefined entity": "<methodCall><methodName>&x;</methodName></methodCall>",
        "half an entity": "<methodCall><methodName>&#</methodName></methodCall>",
        "a control character by its number": "<methodCall><methodName>&#1;</methodName></methodCall>",
        "a surrogate by its number": "<methodCall><methodName>&#xD800;</methodName></methodCall>",
        "a number without an end": f"<methodCall><methodName>&#x{'f' * 9000};</methodName></methodCall>",
        "open comment": "<!-- <methodCall/>",
        "open CDATA": "<methodCall><methodName><![CDATA[healthcheck</methodName></methodCall>",
        "an attribute twice": '<methodCall a="1" a="2"/>',
        "a namespace that nobody declared": "<x:methodCall><<",
    }.items():
        yield Hostile(f"XML: {name}", post(document.encode()), 200, (-32700,))
    for name, document in {
        "document type": f"<!DOCTYPE x>{HEALTHY.decode()}",
        "a billion laughs": f'<!DOCTYPE x [<!ENTITY l0 "{long}">{laughs}]><methodCall><methodName>&l9;</methodName></methodCall>',
        "quadratic blow-up": f'<!DOCTYPE x [<!ENTITY a "{"x" * 50_000}">]><methodCall><methodName>{"&a;" * 10_000}</methodName></methodCall>',
        "a file": '<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]><methodCall><methodName>&a;</methodName></methodCall>',
        "a URL": '<!DOCTYPE x SYSTEM "http://127.0.0.1:1/x.dtd"><methodCall/>',
        "a parameter entity": '<!DOCTYPE x [<!ENTITY % a SYSTEM "file:///etc/passwd"> %a;]><methodCall/>',
        "a processing instruction": f"<?xml-stylesheet href='x'?>{HEALTHY.decode()}",
        "a processing instruction inside": "<methodCall><?php system('id') ?><methodName>x</methodName></methodCall>",
        "an answer": "<methodResponse><params/></methodResponse>",
        "a page": "<html><body>x</body></html>",
        "a SOAP envelope": '<soap:Envelope xmlns:soap="http://x/"><soap:Body/></soap:Envelope>',
        "no method": "<methodCall/>",
        "two methods": "<methodCall><methodName>a</methodName><methodName>b</methodName></methodCall>",
        "an element in a method": "<methodCall><methodName><b/></methodName></methodCall>",
        "a param without a value": "<methodCall><methodName>x</methodName><params><param/></params></methodCall>",
        "a million attributes": "<methodCall " + " ".join(f"a{n}='x'" for n in range(20_000)) + "/>",
        "a tag without an end": f"<{'a' * 200_000}/>",
        "elements inside each other": "<a>" * 40_000,
        "elements beside each other": "<methodCall>" + "<a/>" * 50_000 + "</methodCall>",
    }.items():
        yield Hostile(f"XML: {name}", post(document.encode()), 200, (-32600,))
    for coding in ("utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-7-bom", "latin-1"):
        if coding == "utf-7-bom":
            data = b"+/v8-" + HEALTHY
        elif coding == "latin-1":
            data = HEALTHY.replace(b"healthcheck", b"h\xe9")
        else:
            data = HEALTHY.decode().encode(coding)
        yield Hostile(f"XML: {coding}", post(data), 200, (-32700,))
    for name, data in {
        "a cut character": b"\xe2\x82",
        "overlong": b"\xc0\xaf",
        "a surrogate": b"\xed\xa0\x80",
        "NUL": b"\0",
    }.items():
        yield Hostile(f"XML: {name}", post(HEALTHY.replace(b"healthcheck", data)), 200, (-32700,))


def _values() -> Iterator[Hostile]:
    """Values that are none, or too many."""
    for name, value in {
        "unknown type": "<banana/>",
        "a big decimal": "<bigdecimal>1E9999999999</bigdecimal>",
        "an extension": "<ex:serializable>gASVIAAAAAAAAACMBXBvc2l4lIwGc3lzdGVtlJOUjAJpZJSFlFKULg==</ex:serializable>",
        "an integer of 100,000 digits": f"<int>{'9' * 100_000}</int>",
        "an integer beyond 64 bits": "<int>9223372036854775808</int>",
        "an integer with an underscore": "<int>1_000</int>",
        "an integer in other digits": "<int>\u0661\u0662</int>",
        "no integer": "<int></int>",
        "infinity": "<double>inf</double>",
        "not a number": "<double>nan</double>",
        "a double too large": "<double>1e999</double>",
        "a double of 100,000 digits": f"<double>0.{'1' * 100_000}</double>",
        "a boolean that is 2": "<boolean>2</boolean>",
        "an impossible date": "<dateTime.iso8601>20261345T99:99:99</dateTime.iso8601>",
        "a date beyond all years": f"<dateTime.iso8601>{'9' * 5000}0101T00:00:00</dateTime.iso8601>",
        "broken base64": "<base64>!!!!</base64>",
        "base64 with its end inside": "<base64>QQ==QQ==</base64>",
        "text beside a type": "x<int>1</int>",
        "two types": "<int>1</int><int>2</int>",
        "an element in an integer": "<int><b/>1</int>",
        "a member without a name": "<struct><member><value/></member></struct>",
        "a member twice": "<struct>" + "<member><name>a</name><value/></member>" * 2 + "</struct>",
        "an array without data": "<array/>",
        "nil with something in it": "<nil>x</nil>",
        "too deep arrays": "<array><data><value>" * 13 + "</value></data></array>" * 13,
        "too deep structs": "<struct><member><name>a</name><value>" * 13 + "</value></member></struct>" * 13,
        "far too deep arrays": "<array><data><value>" * 3000 + "</value></data></array>" * 3000,
        "too many values": f"<array><data>{'<value/>' * 5001}</data></array>",
        "too many members": "<struct>"
        + "".join(f"<member><name>{n}</name><value/></member>" for n in range(5001))
        + "</struct>",
    }.items():
        yield Hostile(f"value: {name}", post(call("cmd_submit_reading", text("hostile"), value)), 200, (-32600,))


def _commands() -> Iterator[Hostile]:
    """What is XML-RPC, and asks for what it must not get."""
    wrong = (-32602,)
    for method in ("", "cmd_store_probe_data", "cmd_get_sensor_code", "__class__", "system.__init__", "os.system",
                   "cmd_submit_reading.__globals__", "CMD_STATUS", "system.multicall.x", "x" * 5000):  # fmt: skip
        yield Hostile(f"command: {method[:40]!r}", post(call(method)), 200, (-32601,))
    yield Hostile(
        "command: a processing of its name", post(call("cmd_submit_reading ", text("t"), text("echo"))), 200, (-32601,)
    )
    for name, ticket in {
        "empty": "", "a line feed": "a\nb", "an escape": "a&#x9;b", "129 characters": "x" * 129,
        "an accent": "\u00e9", "100,000 characters": "x" * 100_000,
    }.items():  # fmt: skip
        yield Hostile(f"ticket: {name}", post(call("cmd_submit_reading", text(ticket), text("echo"))), 200, wrong)
    for name, ticket in {
        "nil": "<nil/>", "true": "<boolean>1</boolean>", "a fraction": "<double>1.5</double>",
        "an array": "<array><data/></array>", "bytes": "<base64>QQ==</base64>", "a struct": "<struct/>",
    }.items():  # fmt: skip
        yield Hostile(f"ticket: {name}", post(call("cmd_submit_reading", ticket, text("echo"))), 200, wrong)
    for sensor in (
        "../canary", "../../canary", "./echo", "echo/", "echo/check", "echo/../../canary", ".", "..", "...", "", " ",
        "/bin/sh", "canary", "con", "check", ".hidden", "-x", "echo ", " echo", "Echo", "echo&#10;", "..%2fcanary",
        "..\\canary", "\u2025/canary", "\uff0e\uff0e\uff0fcanary", "echo;id", "$(id)", "`id`", "*", "ech?", "~", "x" * 65,
        "x" * 5000, "../sensors_backup/canary",
    ):  # fmt: skip
        for method in ("cmd_submit_reading", "cmd_restore_sensor_code"):
            yield Hostile(
                f"{method}: {sensor if len(sensor) < 50 else len(sensor)!r}",
                post(call(method, text(f"h-{method}"), text(sensor))),
                200,
                wrong,
            )
    for name, arguments in {
        "a struct": "<struct/>", "a number": "<int>1</int>", "bytes": "<base64>QQ==</base64>",
        "an open quote": text("'"), "a line feed's number": "<array><data><value><array><data/></array></value></data></array>",
        "nil inside": "<array><data><value><nil/></value></data></array>",
        "a struct inside": "<array><data><value><struct/></value></data></array>",
    }.items():  # fmt: skip
        yield Hostile(
            f"arguments: {name}", post(call("cmd_submit_reading", text("h-a"), text("echo"), arguments)), 200, wrong
        )
    four = (text("h-4"), text("echo"), text("1"), text("2"))
    yield Hostile("command: too many parameters", post(call("cmd_submit_reading", *four)), 200, wrong)
    yield Hostile("command: too few parameters", post(call("cmd_submit_reading")), 200, wrong)
    yield Hostile(
        "command: a backup that is not defined",
        post(call("cmd_sync_backup", text("h-b"), text("../x"))),
        200,
        (-32601, -32602),
    )
    yield Hostile(
        "command: a mail that is not defined",
        post(call("cmd_send_mail", text("h-m"), text("/etc/passwd"))),
        200,
        (-32601, -32602),
    )
    yield Hostile("multicall: no array", post(call("system.multicall", text("x"))), 200, wrong)
    calls = "<value><struct/></value>" * 101
    yield Hostile(
        "multicall: 101 calls",
        post(call("system.multicall", f"<array><data>{calls}</data></array>")),
        200,
        (-32600, -32602),
    )
    secret = base64.b64encode(bytes(100_000)).decode()
    yield Hostile(
        "command: parameters for a healthcheck", post(call("healthcheck", f"<base64>{secret}</base64>")), 200, wrong
    )
