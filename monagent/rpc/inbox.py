"""What a connection has sent so far: when is a whole request there, and may it be?"""

from __future__ import annotations

from collections.abc import Callable
from http import HTTPStatus

from monagent.errors import HttpRefusal
from monagent.models import Head
from monagent.rpc.head import HEAD_LIMIT, parse_head

EMPTY_LINES_LIMIT = 64
"""Bytes of line ends in front of a request."""
_END = b"\r\n\r\n"


class Inbox:
    """The bytes of one connection, cut into requests. Reads no socket, so nothing here ever waits."""

    def __init__(self, check: Callable[[Head], None]) -> None:
        """
        Args:
            check: called with each head as soon as it is whole; raises HttpRefusal before any of the body is looked at.
        """
        self._check = check
        self._buffer = bytearray()
        self._searched = 0
        self._skipped = 0
        self._body_at = 0
        self.head: Head | None = None
        self.encouraged = False
        self.bodiless = False
        """Whether the answer must have no body."""
        self.last: tuple[Head, bytes]
        """What `take()` took last, also when it raised."""

    @property
    def begun(self) -> bool:
        """Whether a request has begun to arrive."""
        return bool(self._buffer)

    @property
    def size(self) -> int:
        """Bytes of what is there and not taken."""
        return len(self._buffer)

    def feed(self, data: bytes) -> None:
        """Take what was read.

        Raises:
            HttpRefusal: what is there cannot become a request that is answered.
        """
        if not self._buffer:
            data = self._skip_empty_lines(data)
        self._buffer += data
        if self.head is None:
            self._read_head()

    def is_whole(self) -> bool:
        """Whether the next request is there with its body."""
        return self.head is not None and len(self._buffer) >= self._body_at + (self.head.length or 0)

    def take(self) -> tuple[Head, bytes]:
        """The next request, which must be whole. What came behind it is looked at as the next one.

        Raises:
            HttpRefusal: what came behind it can never become one.
        """
        head, self.head = self.head, None
        assert head is not None
        end = self._body_at + (head.length or 0)
        body = bytes(self._buffer[self._body_at : end])
        self.last = head, body
        rest = bytes(self._buffer[end:])
        self._buffer.clear()
        self._searched = 0
        self._skipped = 0
        self.encouraged = False
        if rest:
            self.feed(rest)
        return head, body

    def _skip_empty_lines(self, data: bytes) -> bytes:
        """Some clients send an empty line behind a body. More than a few are no way to begin a request."""
        rest = data.lstrip(b"\r\n")
        self._skipped += len(data) - len(rest)
        if self._skipped > EMPTY_LINES_LIMIT:
            raise HttpRefusal(HTTPStatus.BAD_REQUEST)
        return rest

    def _read_head(self) -> None:
        end = self._buffer.find(_END, max(self._searched - 3, 0))
        self._searched = len(self._buffer)
        if end > HEAD_LIMIT or (end < 0 and self._searched > HEAD_LIMIT):
            raise HttpRefusal(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)
        if end < 0:
            return
        self._body_at = end + len(_END)
        head = parse_head(bytes(self._buffer[: self._body_at]))
        self.bodiless = head.method == "HEAD"
        self._check(head)
        self.head = head
