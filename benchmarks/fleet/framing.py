"""Where an HTTP message begins and ends in a stream of bytes. No I/O."""

from __future__ import annotations

import re
from typing import NamedTuple

LIMIT = 4 * 1024 * 1024
"""Bytes of one message."""

_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*([0-9]{1,9})[ \t]*\r\n", re.IGNORECASE)
_CLOSE = re.compile(rb"\r\nconnection:[ \t]*close", re.IGNORECASE)


class Malformed(Exception):
    """Not HTTP as it is spoken here: a head, a length, and so many bytes."""


class Message(NamedTuple):
    """A whole request or answer.

    Attributes:
        start: its first line.
        last: the connection ends with it.
        rest: bytes that came behind it.
    """

    start: bytes
    body: bytes
    last: bool
    rest: bytes


def message(data: bytes, *, ended: bool = False) -> Message | None:
    """The first message in `data`; None while it is not whole.

    Args:
        data: all that has come.
        ended: nothing more will come, which ends an answer without a length.

    Raises:
        Malformed: it will never be one.
    """
    end = data.find(b"\r\n\r\n")
    if end < 0:
        if len(data) > LIMIT:
            raise Malformed("a head without end")
        return None
    head, begin = data[: end + 2], end + 4
    start = head[: head.index(b"\r\n")]
    last = b"HTTP/1.0" in start or _CLOSE.search(head) is not None
    found = _LENGTH.search(head)
    if found is None:
        if not ended:
            if b"chunked" in head:
                raise Malformed("a body in chunks")
            return None
        return Message(start, data[begin:], last=True, rest=b"")
    length = int(found[1])
    if length > LIMIT:
        raise Malformed("a message that is too long")
    if len(data) < begin + length:
        return None
    return Message(start, data[begin : begin + length], last, data[begin + length :])
