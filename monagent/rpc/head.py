"""Read the head of an HTTP request, and refuse every shape that two programs could read in two ways.

Stricter than RFC 9112 on purpose: XML-RPC clients send one plain length and nothing clever. What is refused
here would let a second request hide behind the first (docs/explanation/security.md).
"""

from __future__ import annotations

import re
from http import HTTPStatus
from urllib.parse import unquote

from monagent.errors import HttpRefusal
from monagent.models import Head

HEAD_LIMIT = 16 * 1024
"""Bytes of a request line with its headers."""

_REQUEST_LINE = re.compile(rb"([A-Z]{1,20}) (/[\x21-\x7e]*) HTTP/1\.([01])")
_HEADER_LINE = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([\x20-\x7e\x80-\xff\t]*)")
_LENGTH = re.compile(r"[0-9]{1,12}")
_ONCE = ("content-length", "content-type", "transfer-encoding", "host", "expect", "connection", "origin")


def parse_head(raw: bytes) -> Head:
    """Parse a head that ends with an empty line (CRLF CRLF included).

    Raises:
        HttpRefusal: 400 for anything ambiguous, 411 for a body of unannounced length, 417 for an unknown `Expect`.
    """
    first, *rest = raw[:-4].split(b"\r\n")
    line = _REQUEST_LINE.fullmatch(first)
    if line is None:
        raise HttpRefusal(HTTPStatus.BAD_REQUEST)
    method, target, minor = line[1].decode(), line[2].decode(), int(line[3])
    headers = _headers(rest)
    path, _, query = target.partition("?")
    return Head(
        method=method,
        target=target,
        path=unquote(path) if "%" in path else path,
        query=query,
        version=(1, minor),
        headers=headers,
        length=_length(headers),
        keep_alive=_keep_alive(headers.get("connection", ""), minor),
    )


def _headers(lines: list[bytes]) -> dict[str, str]:
    headers: dict[str, str] = {}
    for line in lines:
        match = _HEADER_LINE.fullmatch(line)
        if match is None:
            raise HttpRefusal(HTTPStatus.BAD_REQUEST)
        name, value = match[1].decode("ascii").lower(), match[2].decode("latin-1").rstrip(" \t")
        if name in headers and name in _ONCE:
            raise HttpRefusal(HTTPStatus.BAD_REQUEST)
        headers[name] = value
    if headers.get("expect", "100-continue").lower() != "100-continue":
        raise HttpRefusal(HTTPStatus.EXPECTATION_FAILED)
    return headers


def _length(headers: dict[str, str]) -> int | None:
    if "transfer-encoding" in headers:
        refused = HTTPStatus.BAD_REQUEST if "content-length" in headers else HTTPStatus.LENGTH_REQUIRED
        raise HttpRefusal(refused)
    text = headers.get("content-length")
    if text is None:
        return None
    if _LENGTH.fullmatch(text) is None:
        raise HttpRefusal(HTTPStatus.BAD_REQUEST)
    return int(text)


def _keep_alive(connection: str, minor: int) -> bool:
    wishes = {wish.strip().lower() for wish in connection.split(",")}
    return "close" not in wishes and (minor == 1 or "keep-alive" in wishes)
