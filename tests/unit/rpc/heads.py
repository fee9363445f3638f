"""Heads of HTTP requests, written by hand."""

from __future__ import annotations

FIRST = "POST /xmlrpc/ HTTP/1.1"


def head(*lines: str, first: str = FIRST) -> bytes:
    """A head of these lines, each character one byte."""
    return "".join(f"{line}\r\n" for line in (first, *lines, "")).encode("latin-1")


def post(body: bytes, *lines: str, path: str = "/xmlrpc/", version: str = "1.1") -> bytes:
    """A whole request that every listener here takes, unless `lines` spoil it."""
    length = f"Content-Length: {len(body)}"
    return head("Host: x", "Content-Type: text/xml", length, *lines, first=f"POST {path} HTTP/{version}") + body
