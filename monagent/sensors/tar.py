"""Read the records of a tar archive, and refuse what is not plain.

Known are the ustar and pax formats (POSIX.1-2017, pax, "ustar Interchange Format" and "pax Header Block"), that of
GNU tar (its manual, "Basic Tar Format") and that of Unix V7. A package holds regular files and directories alone, so
every other type is refused by its name, and so are numbers, sizes and extensions that two programs could read in two
ways. What the names mean is not judged here.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from monagent.errors import PackageRefused
from monagent.sensors.decompress import Limits

_BLOCK = 512
_CHUNK = 64 * 1024
_SHOWN = 80  # characters
_LENGTH_DIGITS = 6
_SIZE_DIGITS = 12

_USTAR, _GNU, _V7 = b"ustar\x0000", b"ustar  \x00", bytes(8)
_FILE, _OLD_FILE, _DIRECTORY = b"0", b"\0", b"5"
_PAX, _PAX_FOR_ALL, _LONG_NAME = b"x", b"g", b"L"
_KNOWN = (_FILE, _OLD_FILE, _DIRECTORY, _PAX, _PAX_FOR_ALL, _LONG_NAME)

_OTHERS = {
    b"1": "a hard link",
    b"2": "a symbolic link",
    b"3": "a character device",
    b"4": "a block device",
    b"6": "a FIFO",
    b"7": "a contiguous file",
    b"D": "a directory of an incremental dump",
    b"K": "a long link name",
    b"M": "a part of a multi-volume archive",
    b"N": "a list of long names",
    b"S": "a sparse file",
    b"V": "a volume label",
}

_CAPABILITIES = (b"SCHILY.xattr.security.capability", b"LIBARCHIVE.xattr.security.capability")


class Source(Protocol):
    """Where the archive comes from, decompressed."""

    def read(self, size: int) -> bytes:
        """Exactly `size` bytes; fewer only at the end."""


@dataclass(frozen=True, slots=True)
class Header:
    """One header, as far as a package needs it. `name` is as it was written, `size` in bytes."""

    name: bytes
    kind: bytes
    mode: int
    size: int


class Content:
    """What stands behind a header, in chunks of at most 64 KiB; each byte is handed out once."""

    def __init__(self, source: Source, name: bytes, size: int) -> None:
        self._source = source
        self._name = name
        self._left = size
        self._padding = -size % _BLOCK

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        if not self._left:
            raise StopIteration
        return self._take()

    def finish(self) -> None:
        """Go to the next header, past all that nobody has asked for."""
        while self._left:
            self._take()
        # Should the archive end in here, the next header is missing.
        self._source.read(self._padding)
        self._padding = 0

    def _take(self) -> bytes:
        wanted = min(self._left, _CHUNK)
        chunk = self._source.read(wanted)
        if len(chunk) < wanted:
            raise PackageRefused(f"{shown(self._name)}: the archive ends in the middle of it")
        self._left -= wanted
        return chunk


@dataclass(frozen=True, slots=True)
class Extension:
    """What a header in front of a member says about it; None leaves what the member's own header says."""

    path: bytes | None = None
    size: int | None = None


@dataclass(frozen=True, slots=True)
class Record:
    """A file or a directory, its extensions applied. `name` is the archive's, nothing about it was checked."""

    name: bytes
    is_directory: bool
    executable: bool
    size: int
    content: Content


def read_records(source: Source, limits: Limits) -> Iterator[Record]:
    """Read one record after the other, up to the end of the archive and of what follows it.

    The content of a record is gone once the next one was asked for.

    Raises:
        PackageRefused: what is wrong, and with which member.
    """
    extension: Extension | None = None
    for header in _headers(source, limits):
        if header.kind in (_PAX, _PAX_FOR_ALL, _LONG_NAME):
            if extension is not None:
                raise PackageRefused(f"{shown(header.name)}: a second header that extends the same member")
            extension = _extension(header, _whole(source, header, limits))
            continue
        record = _record(source, header, extension or Extension(), limits)
        extension = None
        yield record
        record.content.finish()
    if extension is not None:
        raise PackageRefused("the archive ends with a header that extends a member, and no member follows")


def _headers(source: Source, limits: Limits) -> Iterator[Header]:
    number = 0
    while not _is_zero(block := source.read(_BLOCK)):
        number += 1
        if number > limits.members:
            raise PackageRefused(f"it has more than {limits.members} members")
        if len(block) < _BLOCK:
            raise PackageRefused(f"the archive ends in the middle of header {number}")
        yield parse_header(block, number)
    if len(block) < _BLOCK or len(end := source.read(_BLOCK)) < _BLOCK:
        raise PackageRefused("the archive ends without two blocks of zeros; was it copied in full?")
    while end:
        if not _is_zero(end):
            raise PackageRefused("something follows the end of the archive")
        end = source.read(_CHUNK)


def parse_header(block: bytes, number: int) -> Header:
    """Parse a header of 512 bytes; `number` tells which one it is, for the refusal."""
    if not _checksum_fits(block):
        raise PackageRefused(f"header {number}: its checksum is wrong, so this is no tar archive or a damaged one")
    name = _name(block, number)
    kind = block[156:157]
    if kind not in _KNOWN:
        word = _OTHERS.get(kind, f"of the unknown type {kind!r}")
        raise PackageRefused(f"{shown(name)}: {word}; a package holds plain files and directories only")
    mode = _octal(block[100:108])
    if mode is None:
        raise PackageRefused(f"{shown(name)}: its mode is not an octal number")
    return Header(name, kind, mode, _size(block[124:136], name, kind))


def shown(name: bytes) -> str:
    """The name as it may stand in a log: escaped and not too long."""
    text = repr(name[: 4 * _SHOWN].decode("utf-8", "backslashreplace"))
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 3]}..."


def _is_zero(data: bytes) -> bool:
    return not data.strip(b"\0")


def _checksum_fits(block: bytes) -> bool:
    """The sum of all bytes, with spaces in place of the sum itself; some old programs added signed bytes."""
    others = block[:148] + b" " * 8 + block[156:]
    unsigned = sum(others)
    written = _octal(block[148:156])
    return written is not None and (
        written == unsigned or written == unsigned - 256 * sum(byte > 127 for byte in others)
    )


def _name(block: bytes, number: int) -> bytes:
    magic, name, prefix = block[257:265], block[:100], block[345:500]
    if magic not in (_USTAR, _GNU, _V7):
        raise PackageRefused(f"header {number}: neither ustar, GNU nor V7 tar")
    if magic == _USTAR and not _is_zero(prefix):
        return _text(prefix, number) + b"/" + _text(name, number)
    # GNU keeps times and maps of incremental and sparse archives there; elsewhere a prefix makes another name.
    if not _is_zero(prefix):
        raise PackageRefused(f"header {number}: it has fields that its format has not")
    return _text(name, number)


def _text(field: bytes, number: int) -> bytes:
    text, _, rest = field.partition(b"\0")
    if not _is_zero(rest):
        raise PackageRefused(f"header {number}: the name {shown(text)} goes on behind a NUL")
    return text


def _octal(field: bytes) -> int | None:
    """The number, or None for anything but spaces, octal digits and spaces or NULs in this order."""
    digits = field.lstrip(b" ").rstrip(b" \0")
    return int(digits, 8) if digits and not digits.translate(None, b"01234567") else None


def _size(field: bytes, name: bytes, kind: bytes) -> int:
    # GNU and star write what does not fit into octal digits in base 256, with the first bit set; the second is the sign.
    if field[0] & 0x80:
        raise PackageRefused(f"{shown(name)}: its size is {'negative' if field[0] & 0x40 else 'huge (base 256)'}")
    size = _octal(field)
    if size is None and kind == _DIRECTORY and not field.strip(b" \0"):
        return 0
    if size is None:
        raise PackageRefused(f"{shown(name)}: its size is not an octal number")
    return size


def _whole(source: Source, header: Header, limits: Limits) -> bytes:
    """All that stands behind a header that extends a member."""
    if header.size > limits.header:
        raise PackageRefused(
            f"{shown(header.name)}: {header.size} bytes extend one header (pax or a long name), {limits.header} may"
        )
    content = Content(source, header.name, header.size)
    body = b"".join(content)
    content.finish()
    return body


def _extension(header: Header, body: bytes) -> Extension | None:
    """What it says about the next member; None when it speaks of all of them."""
    if header.kind == _LONG_NAME:
        return Extension(path=body.removesuffix(b"\0"))
    try:
        extension = parse_pax(body)
    except PackageRefused as refusal:
        raise PackageRefused(f"{shown(header.name)}: {refusal}") from None
    if header.kind == _PAX:
        return extension
    if extension != Extension():
        raise PackageRefused(f"{shown(header.name)}: a global pax header that sets the path or size of every member")
    return None


def parse_pax(body: bytes) -> Extension:
    """Parse records of the form "length key=value" and a line feed, where the length counts all of that.

    Raises:
        PackageRefused: for a malformed record, and for a key that makes a file something else than plain.
    """
    found: dict[bytes, bytes] = {}
    at = 0
    while at < len(body):
        space = body.find(b" ", at, at + _LENGTH_DIGITS + 1)
        digits = body[at : max(at, space)]
        end = at + int(digits) if digits.isdigit() else 0
        key, equals, value = body[space + 1 : max(space, end - 1)].partition(b"=")
        if body[end - 1 : end] != b"\n" or not (key and equals):
            raise PackageRefused("a malformed pax record")
        _check_key(key)
        if key in {b"path", b"size"}:
            if key in found:
                raise PackageRefused(f"the pax record {shown(key)} stands there twice")
            found[key] = value
        at = end
    return Extension(path=_pax_path(found), size=_pax_size(found))


def _check_key(key: bytes) -> None:
    if key.startswith(b"GNU.sparse."):
        raise PackageRefused("a sparse file; a package holds plain files and directories only")
    if key == b"linkpath":
        raise PackageRefused("a link; a package holds plain files and directories only")
    if key in _CAPABILITIES:
        raise PackageRefused("a file with capabilities; a package holds plain files and directories only")


def _pax_path(found: dict[bytes, bytes]) -> bytes | None:
    path = found.get(b"path")
    if path == b"":
        raise PackageRefused("an empty path in a pax record")
    return path


def _pax_size(found: dict[bytes, bytes]) -> int | None:
    size = found.get(b"size")
    if size is None:
        return None
    if not size.isdigit() or len(size) > _SIZE_DIGITS:
        raise PackageRefused(f"the size {shown(size)} in a pax record is no number of bytes")
    return int(size)


def _record(source: Source, header: Header, extension: Extension, limits: Limits) -> Record:
    name = header.name if extension.path is None else extension.path
    size = header.size if extension.size is None else extension.size
    is_directory = header.kind == _DIRECTORY
    reason = ""
    if header.size not in {0, size}:
        reason = f"it has two sizes, {header.size} and {size}"
    elif size > limits.total:
        reason = f"{size} bytes large, and a whole package may have {limits.total}"
    elif is_directory and size:
        reason = "a directory with content"
    elif header.mode & 0o7000:
        reason = "it has a set-uid, set-gid or sticky bit; take it off (chmod u-s,g-s,-t) and pack again"
    if reason:
        raise PackageRefused(f"{shown(name)}: {reason}")
    return Record(name, is_directory, bool(header.mode & 0o100), size, Content(source, name, size))
