"""Decompress a package that nobody has looked at yet, piece by piece and within its limits.

bz2, gzip (RFC 1952) and xz (the .xz file format), told apart by their first bytes and never by a name. Each may
consist of several streams one behind the other, as pbzip2, pigz, `cat` and `xz` itself make them.
"""

from __future__ import annotations

import bz2
import lzma
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from monagent.errors import PackageRefused
from monagent.protocol import PACKAGE_LIMIT

_PIECE = 64 * 1024  # bytes that a decompressor is given, or may give, at a time
_STREAMS = 256
_XZ_MEMORY = 24 * 1024 * 1024
_RATIO_FREE = 1024 * 1024  # bytes; a small archive of empty files may well shrink a thousandfold


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a package may cost at most. Whatever is over is refused before it is read.

    `compressed`, `total` (the whole archive, decompressed), `path` (the name of a member, in UTF-8) and `header`
    (what extends a member's header: pax records or a GNU long name) are in bytes. `ratio` is decompressed to
    compressed, judged from the second MiB on. `members` counts the headers of every type, and apart from that the
    files and directories that come out. `depth` is the components of a name, the top directory included.
    """

    compressed: int = PACKAGE_LIMIT
    total: int = 64 * 1024 * 1024
    ratio: int = 200
    members: int = 2000
    depth: int = 16
    path: int = 512
    header: int = 16 * 1024


LIMITS = Limits()


class _Decompressor(Protocol):
    """What the decompressors of bz2 and lzma have in common."""

    @property
    def eof(self) -> bool: ...
    @property
    def needs_input(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int) -> bytes: ...


class _Gunzip:
    """zlib's decompressor, with the face of the two others."""

    def __init__(self) -> None:
        self._inner = zlib.decompressobj(zlib.MAX_WBITS | 16)

    @property
    def eof(self) -> bool:
        return self._inner.eof

    @property
    def needs_input(self) -> bool:
        return not self._inner.unconsumed_tail

    @property
    def unused_data(self) -> bytes:
        return self._inner.unused_data

    def decompress(self, data: bytes, max_length: int) -> bytes:
        return self._inner.decompress(self._inner.unconsumed_tail + data, max_length)


def _unxz() -> _Decompressor:
    return lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_XZ_MEMORY)


@dataclass(frozen=True, slots=True)
class _Format:
    """How a stream begins, who reads it, and in which multiples zeros may follow it (0 = not at all)."""

    magic: bytes
    decompressor: Callable[[], _Decompressor]
    padding: int


_FORMATS = (
    _Format(b"BZh", bz2.BZ2Decompressor, padding=0),
    _Format(b"\x1f\x8b", _Gunzip, padding=1),
    _Format(b"\xfd7zXZ\x00", _unxz, padding=4),
)


class Stream:
    """The decompressed bytes of a package, from front to end; for one thread.

    Raises:
        PackageRefused: from the constructor for what is too large or no archive at all, from `read()` for the rest.
    """

    def __init__(self, data: bytes, limits: Limits = LIMITS) -> None:
        if len(data) > limits.compressed:
            raise PackageRefused(f"it is {len(data)} bytes large, and a package may have {limits.compressed}")
        self._data = data
        self._limits = limits
        self._format = _format_of(data)
        self._decompressor: _Decompressor | None = self._format.decompressor()
        self._streams = 1
        self._given = 0  # bytes of data that the decompressors have got so far
        self._produced = 0
        self._piece = b""
        self._taken = 0  # bytes of the piece that were read already

    def read(self, size: int) -> bytes:
        """The next `size` bytes; fewer only where the last stream ends, and then nothing follows it."""
        parts = []
        while size > 0 and self._has_more():
            part = self._piece[self._taken : self._taken + size]
            self._taken += len(part)
            size -= len(part)
            parts.append(part)
        return b"".join(parts)

    def _has_more(self) -> bool:
        if self._taken == len(self._piece):
            self._piece, self._taken = self._next_piece(), 0
        return bool(self._piece)

    def _next_piece(self) -> bytes:
        """Decompress a little; empty only at the end of the last stream."""
        while self._decompressor is not None:
            piece = self._decompress(self._decompressor)
            self._produced += len(piece)
            self._check_limits()
            if self._decompressor.eof:
                self._given -= len(self._decompressor.unused_data)
                self._decompressor = self._next_stream()
            if piece:
                return piece
        return b""

    def _decompress(self, decompressor: _Decompressor) -> bytes:
        given = b""
        if decompressor.needs_input:
            given = self._data[self._given : self._given + _PIECE]
            self._given += len(given)
            if not given:
                raise PackageRefused("the compressed data ends too early; was it copied in full?")
        try:
            return decompressor.decompress(given, _PIECE)
        except MemoryError as error:
            raise PackageRefused("there was not enough memory to decompress it") from error
        except (OSError, EOFError, ValueError, zlib.error, lzma.LZMAError) as error:
            raise PackageRefused(_sentence(error)) from error

    def _check_limits(self) -> None:
        if self._produced > self._limits.total:
            raise PackageRefused(f"it is more than {self._limits.total} bytes large when decompressed")
        if self._produced > max(_RATIO_FREE, self._limits.ratio * len(self._data)):
            raise PackageRefused(f"decompressed it is more than {self._limits.ratio} times as large as compressed")

    def _next_stream(self) -> _Decompressor | None:
        """A decompressor for what follows the stream that has ended; None when that was the last."""
        end = _skip_zeros(self._data, self._given)
        zeros = end - self._given
        if zeros and (not self._format.padding or zeros % self._format.padding):
            raise PackageRefused("zeros follow the compressed data")
        if end == len(self._data):
            return None
        if not self._data.startswith(self._format.magic, end):
            raise PackageRefused("something else follows the compressed data")
        self._streams += 1
        if self._streams > _STREAMS:
            raise PackageRefused(f"it has more than {_STREAMS} compressed streams")
        self._given = end
        return self._format.decompressor()


def _format_of(data: bytes) -> _Format:
    for known in _FORMATS:
        if data.startswith(known.magic):
            return known
    raise PackageRefused("not a bz2, gz or xz archive")


def _skip_zeros(data: bytes, at: int) -> int:
    """Where the next byte stands that is not zero, at `at` or behind."""
    while piece := data[at : at + _PIECE]:
        rest = piece.lstrip(b"\0")
        at += len(piece) - len(rest)
        if rest:
            break
    return at


def _sentence(error: Exception) -> str:
    # liblzma's code for it does not come through, only its text does.
    if isinstance(error, lzma.LZMAError) and "memory" in str(error).lower():
        return "it needs too much memory to decompress; compress it with `xz -6` or less"
    return "the compressed data is damaged"
