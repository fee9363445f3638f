"""Builders of packages, byte by byte, so that anything can be wrong with them; and the rules that a good one keeps."""

from __future__ import annotations

import bz2
import functools
import gzip
import io
import lzma
import random
import tarfile
import unicodedata
import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from monagent.sensors.archive import Member
from monagent.sensors.decompress import Limits

MIB = 1024 * 1024
BLOCK = 512
END = bytes(2 * BLOCK)
USTAR, GNU, V7 = b"ustar\x0000", b"ustar  \x00", bytes(8)

PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "bz2": bz2.compress,
    "gz": gzip.compress,
    "xz": lzma.compress,
}


def header(
    name: bytes = b"a/check",
    size: int | bytes = 0,
    kind: bytes = b"0",
    *,
    mode: int | bytes = 0o755,
    magic: bytes = USTAR,
    prefix: bytes = b"",
    link: bytes = b"",
    checksum: bytes | None = None,
    signed: bool = False,
) -> bytes:
    """One header. Numbers are written in octal, bytes as they are; the checksum is right unless given."""
    mode = b"%07o\0" % mode if isinstance(mode, int) else mode
    size = b"%011o\0" % size if isinstance(size, int) else size
    front = name.ljust(100, b"\0") + mode.ljust(8, b"\0") + b"0000000\0" * 2 + size.ljust(12, b"\0") + b"00000000000\0"
    back = kind + link.ljust(100, b"\0") + magic + bytes(80) + prefix.ljust(155, b"\0") + bytes(12)
    block = front + b" " * 8 + back
    if checksum is None:
        total = sum(byte - 256 if signed and byte > 127 else byte for byte in block)
        checksum = b"%06o\0 " % total
    return front + checksum + back


def padded(content: bytes) -> bytes:
    """Content, up to the end of its last block."""
    return content + bytes(-len(content) % BLOCK)


def file(name: bytes = b"a/check", content: bytes = b"#!/bin/sh\n", **fields: object) -> bytes:
    """A header with content behind it; the size is right unless given."""
    fields.setdefault("size", len(content))
    return header(name, **fields) + padded(content)  # type: ignore[arg-type]


def directory(name: bytes = b"a/", **fields: object) -> bytes:
    """A directory."""
    return header(name, **{"kind": b"5", **fields})  # type: ignore[arg-type]


def record(key: bytes, value: bytes) -> bytes:
    """One pax record with the right length in front."""
    rest = b" " + key + b"=" + value + b"\n"
    length = len(rest)
    while length != len(str(length)) + len(rest):
        length = len(str(length)) + len(rest)
    return b"%d" % length + rest


def pax(*records: tuple[bytes, bytes], kind: bytes = b"x") -> bytes:
    """A pax header for what follows."""
    return raw_pax(b"".join(record(key, value) for key, value in records), kind)


def raw_pax(body: bytes, kind: bytes = b"x") -> bytes:
    """A pax header with any bytes in place of its records."""
    return file(b"a/PaxHeaders/check", body, kind=kind)


def long_name(name: bytes, kind: bytes = b"L") -> bytes:
    """GNU tar's long name for what follows."""
    return file(b"././@LongLink", name, kind=kind, magic=GNU)


def repaired(raw: bytes) -> bytes:
    """The archive with right checksums, wherever a header may stand."""
    blocks = [raw[at : at + BLOCK] for at in range(0, len(raw), BLOCK)]
    return b"".join(_repaired_block(block) if any(block) and len(block) == BLOCK else block for block in blocks)


def _repaired_block(block: bytes) -> bytes:
    total = sum(block[:148]) + 8 * ord(" ") + sum(block[156:])
    return block[:148] + b"%06o\0 " % total + block[156:]


GOOD = directory() + file() + directory(b"a/lib/") + file(b"a/lib/one.py", b"x" * 700, mode=0o644) + END


@dataclass(frozen=True)
class Hostile:
    """An archive that must be refused, and a word of the refusal."""

    name: str
    word: str
    raw: bytes


HOSTILE = [
    # Types of members.
    Hostile("hard link", "hard link", directory() + header(kind=b"1", link=b"a/other") + END),
    Hostile("hard link to the outside", "hard link", directory() + header(kind=b"1", link=b"/etc/shadow") + END),
    Hostile("symbolic link", "symbolic link", directory() + header(kind=b"2", link=b"b") + END),
    Hostile("top as symbolic link", "symbolic link", header(b"a", kind=b"2", link=b"/etc") + file() + END),
    Hostile("character device", "character device", directory() + header(kind=b"3") + END),
    Hostile("block device", "block device", directory() + header(kind=b"4") + END),
    Hostile("FIFO", "FIFO", directory() + header(kind=b"6") + END),
    Hostile("contiguous file", "contiguous", directory() + file(kind=b"7") + END),
    Hostile("incremental directory", "incremental", directory() + file(b"a/", b"Ycheck\0\0", kind=b"D", magic=GNU) + END),
    Hostile("multi-volume part", "multi-volume", directory() + file(kind=b"M", magic=GNU) + END),
    Hostile("old GNU list of names", "long names", directory() + file(kind=b"N", magic=GNU) + END),
    Hostile("old GNU sparse file", "sparse", directory() + file(kind=b"S", magic=GNU) + END),
    Hostile("volume label", "volume label", header(b"backup", kind=b"V", magic=GNU) + GOOD),
    Hostile("GNU long link", "long link", directory() + long_name(b"/etc/passwd\0", b"K") + file() + END),
    Hostile("Solaris access list", "unknown type b'A'", directory() + file(kind=b"A") + END),
    Hostile("unknown type", "unknown type b'Z'", directory() + file(kind=b"Z") + END),
    Hostile("type that is no character", "unknown type b'\\xff'", directory() + file(kind=b"\xff") + END),
    Hostile("GNU 1.0 sparse file", "sparse", pax((b"GNU.sparse.major", b"1"), (b"GNU.sparse.minor", b"0")) + GOOD),
    Hostile("GNU 0.1 sparse file", "sparse", pax((b"GNU.sparse.map", b"0,1")) + GOOD),
    Hostile("sparse real size", "sparse", pax((b"GNU.sparse.realsize", b"99999999999")) + GOOD),
    Hostile("sparse for all", "sparse", pax((b"GNU.sparse.name", b"a/b"), kind=b"g") + GOOD),
    Hostile("pax link", "link", pax((b"linkpath", b"/etc/shadow")) + GOOD),
    Hostile("capability", "capabilities", pax((b"SCHILY.xattr.security.capability", b"\1\0\0\2")) + GOOD),
    Hostile("capability of bsdtar", "capabilities", pax((b"LIBARCHIVE.xattr.security.capability", b"AQ")) + GOOD),
    # Modes.
    Hostile("set-uid", "set-uid", directory() + file(mode=0o4755) + END),
    Hostile("set-gid", "set-gid", directory() + file(mode=0o2755) + END),
    Hostile("sticky directory", "sticky", directory(mode=0o1777) + file() + END),
    Hostile("set-gid directory", "set-gid", directory(mode=0o2755) + file() + END),
    Hostile("mode of letters", "mode", directory() + file(mode=b"rwxr-xr\0") + END),
    Hostile("empty mode", "mode", directory() + file(mode=bytes(8)) + END),
    Hostile("mode in base 256", "mode", directory() + file(mode=b"\x80\0\0\0\0\0\x01\xed") + END),
    # Sizes.
    Hostile("negative size", "negative", directory() + file(size=b"\xff" * 12) + END),
    Hostile("negative size of a pax header", "negative", directory() + file(kind=b"x", size=b"\xff" * 12) + END),
    Hostile("negative size of a long name", "negative", directory() + file(kind=b"L", size=b"\xff" * 11 + b"\0") + END),
    Hostile("negative octal size", "octal", directory() + file(size=b"-0000000001\0") + END),
    Hostile("base-256 size", "base 256", directory() + file(size=b"\x80" + bytes(10) + b"\x0a") + END),
    Hostile("huge base-256 size", "base 256", directory() + file(size=b"\x80" + b"\xff" * 11) + END),
    Hostile("base-256 size of many bits", "base 256", directory() + file(size=b"\xbf" * 12) + END),
    Hostile("eight in octal", "octal", directory() + file(size=b"00000000018\0") + END),
    Hostile("octal with a sign", "octal", directory() + file(size=b"+0000000012\0") + END),
    Hostile("octal of Python", "octal", directory() + file(size=b"0o000000012\0") + END),
    Hostile("octal with underscores", "octal", directory() + file(size=b"0000_000012\0") + END),
    Hostile("octal that goes on", "octal", directory() + file(size=b"00000012\x0012\0") + END),
    Hostile("octal behind a tab", "octal", directory() + file(size=b"\t0000000012\0") + END),
    Hostile("empty size", "octal", directory() + file(size=bytes(12)) + END),
    Hostile("file as large as a field can tell", "bytes large", directory() + header(size=b"777777777777") + END),
    Hostile("file larger than the archive", "in the middle", directory() + header(size=4 * MIB) + END),
    Hostile("directory with content", "directory with content", directory() + file(b"a/b/", kind=b"5") + END),
    Hostile("directory with a pax size", "directory with content", pax((b"size", b"512")) + directory(b"a/b/") + END),
    Hostile("two sizes", "two sizes", directory() + pax((b"size", b"512")) + file() + END),
    Hostile("negative pax size", "no number", directory() + pax((b"size", b"-512")) + file() + END),
    Hostile("pax size of letters", "no number", directory() + pax((b"size", b"1e3")) + file() + END),
    Hostile("pax size of foreign digits", "no number", directory() + pax((b"size", "٣".encode())) + file() + END),
    Hostile("endless pax size", "no number", directory() + pax((b"size", b"9" * 15000)) + file() + END),
    Hostile("empty pax size", "no number", directory() + pax((b"size", b"")) + file() + END),
    Hostile("huge pax size", "bytes large", directory() + pax((b"size", b"999999999999")) + header() + END),
    # Extensions.
    Hostile("pax header of digits alone", "malformed", directory() + raw_pax(b"1" * 15000) + file() + END),
    Hostile("pax length of seven digits", "malformed", directory() + raw_pax(b"0000014 a=bcd\n") + file() + END),
    Hostile("pax length that is too long", "malformed", directory() + raw_pax(b"99 path=a/b\n") + file() + END),
    Hostile("pax length that is too short", "malformed", directory() + raw_pax(b"5 path=a/b\n") + file() + END),
    Hostile("pax length of zero", "malformed", directory() + raw_pax(b"0 path=a/b\n") + file() + END),
    Hostile("negative pax length", "malformed", directory() + raw_pax(b"-12 path=a/b\n") + file() + END),
    Hostile("pax record without a key", "malformed", directory() + raw_pax(b"6 =ab\n") + file() + END),
    Hostile("pax record without a value", "malformed", directory() + raw_pax(b"7 path\n") + file() + END),
    Hostile("pax record without an end", "malformed", directory() + raw_pax(b"12 path=a/b ") + file() + END),
    Hostile("pax record of NULs", "malformed", directory() + raw_pax(bytes(40)) + file() + END),
    Hostile("second pax record is bad", "malformed", directory() + raw_pax(b"6 a=b\n0 c=d\n") + file() + END),
    Hostile("large pax header", "extend", directory() + pax((b"comment", b"x" * 17000)) + file() + END),
    Hostile("pax header of 8 GiB", "extend", directory() + header(size=b"777777777777", kind=b"x") + END),
    Hostile("long name of 8 GiB", "extend", directory() + header(size=b"777777777777", kind=b"L") + END),
    Hostile("two pax paths", "twice", directory() + pax((b"path", b"a/b"), (b"path", b"a/c")) + file() + END),
    Hostile("two equal pax sizes", "twice", directory() + pax((b"size", b"9"), (b"size", b"9")) + file(content=b"123456789") + END),
    Hostile("empty pax path", "empty path", directory() + pax((b"path", b"")) + file() + END),
    Hostile("two pax headers", "second", directory() + pax((b"path", b"a/b")) + pax((b"path", b"a/c")) + file() + END),
    Hostile("two long names", "second", directory() + long_name(b"a/b\0") + long_name(b"a/c\0") + file() + END),
    Hostile("long name and pax header", "second", directory() + long_name(b"a/b\0") + pax((b"mtime", b"1")) + file() + END),
    Hostile("global header in between", "second", pax((b"path", b"a/b")) + pax((b"comment", b"x"), kind=b"g") + GOOD),
    Hostile("pax header at the end", "no member follows", directory() + file() + pax((b"path", b"a/b")) + END),
    Hostile("long name at the end", "no member follows", directory() + file() + long_name(b"a/b\0") + END),
    Hostile("path for all", "global", pax((b"path", b"a/b"), kind=b"g") + GOOD),
    Hostile("size for all", "global", pax((b"size", b"10"), kind=b"g") + GOOD),
    Hostile("link for all", "link", pax((b"linkpath", b"/etc"), kind=b"g") + GOOD),
    Hostile("truncated pax header", "in the middle", directory() + header(size=2000, kind=b"x") + bytes(100)),
    # Names.
    Hostile("absolute name", "absolute", file(b"/etc/cron.d/a") + END),
    Hostile("absolute name behind a dot", "absolute", file(b".//etc/passwd") + END),
    Hostile("absolute pax path", "absolute", directory() + pax((b"path", b"/etc/passwd")) + file() + END),
    Hostile("absolute long name", "absolute", directory() + long_name(b"/etc/passwd\0") + file() + END),
    Hostile("absolute prefix", "absolute", directory() + file(b"passwd", prefix=b"/etc") + END),
    Hostile("climbing name", "climbs", directory() + file(b"a/../../etc/passwd") + END),
    Hostile("climbing at once", "climbs", file(b"../a/check") + END),
    Hostile("climbing behind a dot", "climbs", file(b"./../check") + END),
    Hostile("climbing to itself", "climbs", directory() + file(b"a/lib/../check") + END),
    Hostile("climbing at the end", "climbs", directory() + directory(b"a/..") + END),
    Hostile("climbing pax path", "climbs", directory() + pax((b"path", b"a/../../x")) + file() + END),
    Hostile("climbing long name", "climbs", directory() + long_name(b"a/../../x\0") + file() + END),
    Hostile("climbing prefix", "climbs", directory() + file(b"passwd", prefix=b"a/../../etc") + END),
    Hostile("dot inside", "component `.`", directory() + file(b"a/./check") + END),
    Hostile("two leading dots", "component `.`", file(b"././a/check") + END),
    Hostile("the directory itself, later", "no name", directory() + directory(b"./") + END),
    Hostile("the directory itself, twice", "no name", directory(b"./") + directory(b"./") + GOOD),
    Hostile("the directory itself as a file", "no name", file(b"./") + GOOD),
    Hostile("empty component", "empty component", directory() + file(b"a//check") + END),
    Hostile("two slashes at the end", "empty component", directory() + directory(b"a/b//") + END),
    Hostile("no name", "no name", directory() + file(b"") + END),
    Hostile("empty long name", "no name", directory() + long_name(b"\0") + file() + END),
    Hostile("name of a slash", "absolute", directory() + directory(b"/") + END),
    Hostile("file with a slash", "slash", directory() + file(b"a/check/") + END),
    Hostile("old file with a slash", "slash", directory() + file(b"a/check/", kind=b"\0", magic=V7) + END),
    Hostile("line feed", "control", directory() + file(b"a/check\nall is well") + END),
    Hostile("escape", "control", directory() + file(b"a/\x1b]0;evil\x07") + END),
    Hostile("tab", "control", directory() + file(b"a/x\ty") + END),
    Hostile("delete", "control", directory() + file(b"a/x\x7f") + END),
    Hostile("C1 control", "control", directory() + file("a/x\x9b2J".encode()) + END),
    Hostile("line separator", "control", directory() + file("a/x\u2028y".encode()) + END),
    Hostile("paragraph separator", "control", directory() + file("a/x\u2029y".encode()) + END),
    Hostile("right-to-left override", "control", directory() + file("a/x\u202ehs.exe".encode()) + END),
    Hostile("bidi isolate", "control", directory() + file("a/\u2066x\u2069".encode()) + END),
    Hostile("zero width", "control", directory() + file("a/che\u200bck".encode()) + END),
    Hostile("NUL in a pax path", "control", directory() + pax((b"path", b"a/check\0.py")) + file() + END),
    Hostile("NUL in a long name", "control", directory() + long_name(b"a/check\0.py\0") + file() + END),
    Hostile("two NULs behind a long name", "control", directory() + long_name(b"a/b\0\0") + file() + END),
    Hostile("NUL in a name", "NUL", directory() + file(b"a/check\0.py") + END),
    Hostile("NUL in a prefix", "NUL", directory() + file(b"check", prefix=b"a\0b") + END),
    Hostile("backslash", "backslash", directory() + file(b"a\\..\\check") + END),
    Hostile("Latin-1", "UTF-8", directory() + file(b"a/caf\xe9") + END),
    Hostile("overlong UTF-8", "UTF-8", directory() + file(b"a/\xc0\xae\xc0\xae/x") + END),
    Hostile("surrogate", "UTF-8", directory() + pax((b"path", b"a/\xed\xa0\x80")) + file() + END),
    Hostile("long component", "255 bytes", directory() + pax((b"path", b"a/" + b"x" * 256)) + file() + END),
    Hostile("long component of few letters", "255 bytes", directory() + pax((b"path", b"a/" + "é".encode() * 128)) + file() + END),
    Hostile("long path", "a name of", directory() + pax((b"path", b"a/" + b"x/" * 256)) + file() + END),
    Hostile("long path of GNU tar", "a name of", directory() + long_name(b"a/" + b"x" * 15000 + b"\0") + file() + END),
    Hostile("deep path", "directories deep", directory() + file(b"a/" + b"d/" * 15 + b"check") + END),
    # What the members make up.
    Hostile("another top", "holds 'b/', not 'a/'", directory(b"b/") + file(b"b/check") + END),
    Hostile("two tops", "holds 'b/', not 'a/'", directory() + file() + directory(b"b/") + END),
    Hostile("top in another case", "holds 'A/', not 'a/'", directory(b"A/") + END),
    Hostile("file as top", "plain file", file(b"a") + END),
    Hostile("file beside the top", "plain file", directory() + file(b"README") + END),
    Hostile("same file twice", "twice", directory() + file() + file(content=b"evil") + END),
    Hostile("same file, dot in front", "twice", directory() + file() + file(b"./a/check") + END),
    Hostile("same directory twice", "twice", directory() + directory(b"a/b") + directory(b"a/b/") + END),
    Hostile("top twice", "twice", directory() + directory() + file() + END),
    Hostile("implied directory twice", "twice", file(b"a/b/c") + directory(b"a/b/") + directory(b"a/b/") + END),
    Hostile("file, then directory", "twice", directory() + file(b"a/b") + directory(b"a/b/") + END),
    Hostile("directory, then file", "twice", directory() + directory(b"a/b/") + file(b"a/b") + END),
    Hostile("implied directory, then file", "twice", file(b"a/b/c") + file(b"a/b") + END),
    Hostile("file as a directory", "cannot hold", directory() + file(b"a/b") + file(b"a/b/c") + END),
    Hostile("file as a directory, deeper", "cannot hold", directory() + file(b"a/b") + file(b"a/b/c/d") + END),
    Hostile("other case", "only case", directory() + file(b"a/check") + file(b"a/Check") + END),
    Hostile("other case of a directory", "only case", file(b"a/lib/x") + file(b"a/LIB/y") + END),
    Hostile("other case of file and directory", "only case", file(b"a/lib") + file(b"a/LIB/y") + END),
    Hostile("sharp s", "only case", file("a/straße".encode()) + file(b"a/STRASSE") + END),
    Hostile("composed and decomposed", "only case", file("a/é".encode()) + file("a/e\u0301".encode()) + END),
    Hostile("capital and decomposed", "only case", file("a/É".encode()) + file("a/e\u0301".encode()) + END),
    Hostile("Kelvin", "only case", file("a/\u212a".encode()) + file(b"a/k") + END),
    Hostile("final sigma", "only case", file("a/\u03c3".encode()) + file("a/\u03c2".encode()) + END),
    Hostile("accents in another order", "only case", file("a/\u1fb4".encode()) + file("a/\u03b1\u0345\u0301".encode()) + END),
    # Blocks.
    Hostile("no member", "empty", END),
    Hostile("no member but the directory itself", "empty", directory(b"./") + END),
    Hostile("no member but a comment", "empty", pax((b"comment", b"x"), kind=b"g") + END),
    Hostile("nothing at all", "two blocks", b""),
    Hostile("text", "checksum", b"#!/bin/sh\necho 1\n".ljust(BLOCK, b"#")),
    Hostile("short text", "in the middle of header 1", b"#!/bin/sh\necho 1\n"),
    Hostile("no end", "two blocks", directory() + file()),
    Hostile("one zero block", "two blocks", directory() + file() + bytes(BLOCK)),
    Hostile("one and a half zero blocks", "two blocks", directory() + file() + bytes(BLOCK + 300)),
    Hostile("half a zero block", "two blocks", directory() + file() + bytes(300)),
    Hostile("lone zero block", "follows", directory() + bytes(BLOCK) + file() + END),
    Hostile("second archive", "follows", GOOD + GOOD),
    Hostile("garbage far behind", "follows", GOOD + bytes(100_000) + b"x"),
    Hostile("bad checksum", "checksum", directory() + file(checksum=b"000001\0 ") + END),
    Hostile("empty checksum", "checksum", directory() + file(checksum=bytes(8)) + END),
    Hostile("negative checksum", "checksum", directory() + file(checksum=b"-00001\0 ") + END),
    Hostile("changed after the sum", "checksum", GOOD.replace(b"a/check", b"a/Check")),
    Hostile("other magic", "neither", directory() + file(magic=b"USTAR\x0000") + END),
    Hostile("other version", "neither", directory() + file(magic=b"ustar\x0001") + END),
    Hostile("prefix of GNU tar", "fields", directory() + file(b"check", magic=GNU, prefix=b"a") + END),
    Hostile("prefix of V7", "fields", directory() + file(b"check", magic=V7, prefix=b"a") + END),
    # Too much of it.
    Hostile("many members", "more than 2000", b"".join(file(b"a/%d" % number, b"") for number in range(2001)) + END),
    Hostile("many pax headers", "members", b"".join(pax((b"mtime", b"1")) + file(b"a/%d" % n, b"") for n in range(1001)) + END),
    Hostile("many comments", "members", pax((b"comment", b"x"), kind=b"g") * 2001 + END),
    Hostile(
        "many implied directories",
        "files and directories",
        b"".join(file(b"a/%d/b/c/d/e/f/g/h/i/j/k" % number, b"") for number in range(190)) + END,
    ),
]  # fmt: skip


def _long_name_of_512_mib() -> bytes:
    """The start of an archive whose first member's name is 512 MiB long."""
    name = bz2.compress(b"x" * (4 * MIB))
    return bz2.compress(header(b"././@LongLink", 512 * MIB + 1, b"L", magic=GNU)) + name * 128


def _one_gz_stream_of_zeros() -> bytes:
    """A good archive and a GiB of zeros in one stream; blocks of zeros look the same wherever they stand."""
    packer = zlib.compressobj(9, wbits=31)
    start = packer.compress(GOOD) + packer.flush(zlib.Z_FULL_FLUSH)
    zeros = packer.compress(bytes(MIB)) + packer.flush(zlib.Z_FULL_FLUSH)
    return start + zeros * 1024


def _zeros_behind(packer: Callable[[bytes], bytes], start: bytes) -> bytes:
    """That, and a GiB of zeros in streams of their own."""
    return packer(start) + packer(bytes(8 * MIB)) * 128


def _too_large_in_total() -> bytes:
    """One file after the other, compressed well but not suspiciously so, until it is too much."""
    noise = random.Random(7).randbytes(MIB // 2)
    files = (gzip.compress(header(b"a/%d" % number, MIB) + bytes(MIB)) for number in range(70))
    return gzip.compress(file(b"a/noise", noise)) + b"".join(files)


@functools.cache
def _empty_members() -> bytes:
    return b"".join(file(b"a/%d" % number, b"") for number in range(100_000)) + END


def _filled_dictionary() -> bytes:
    """As much memory as is allowed, touched in full; what it holds would be too much all the same."""
    noise = random.Random(7).randbytes(MIB // 2)
    filters = [{"id": lzma.FILTER_LZMA2, "preset": 0, "dict_size": 16 * MIB}]
    return lzma.compress(header(b"a/noise", 63 * MIB) + noise * 150, filters=filters)


BOMBS: dict[str, tuple[str, Callable[[], bytes]]] = {
    "long name of 512 MiB": ("extend", _long_name_of_512_mib),
    "GiB of zeros behind, one gz stream": ("when decompressed", _one_gz_stream_of_zeros),
    "GiB of zeros behind, gz": ("when decompressed", lambda: _zeros_behind(gzip.compress, GOOD)),
    "GiB of zeros behind, bz2": ("times as large", lambda: _zeros_behind(bz2.compress, GOOD)),
    "GiB of zeros behind, xz": ("times as large", lambda: _zeros_behind(lzma.compress, GOOD)),
    "GiB of zeros alone, gz": ("when decompressed", lambda: _zeros_behind(gzip.compress, b"")),
    "GiB of zeros alone, bz2": ("times as large", lambda: _zeros_behind(bz2.compress, b"")),
    "GiB of zeros alone, xz": ("times as large", lambda: _zeros_behind(lzma.compress, b"")),
    "file of a GiB": ("bytes large", lambda: _zeros_behind(bz2.compress, header(size=1024 * MIB))),
    "file of 60 MiB": ("times as large", lambda: _zeros_behind(bz2.compress, header(size=60 * MIB))),
    "70 MiB of files": ("when decompressed", _too_large_in_total),
    "100,000 empty members, bz2": ("more than 2000", lambda: bz2.compress(_empty_members())),
    "100,000 empty members, gz": ("more than 2000", lambda: gzip.compress(_empty_members(), 1)),
    "100,000 empty members, xz": ("more than 2000", lambda: lzma.compress(_empty_members(), preset=0)),
    "dictionary of 64 MiB": ("xz -6", lambda: lzma.compress(GOOD, preset=9)),
    "dictionary of 16 MiB, filled": ("checksum", _filled_dictionary),
    "9 MiB of noise": ("and a package may have", lambda: b"BZh9" + random.Random(7).randbytes(9 * MIB)),
}


def tarball(
    members: Iterable[tuple[str, bytes | None, bool]], form: int = tarfile.PAX_FORMAT, mtime: float = 1700000000.5
) -> bytes:
    """An archive by Python's own tarfile. Content None makes a directory; the last item is the execute bit."""
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w", format=form, encoding="utf-8") as archive:
        for name, content, executable in members:
            info = tarfile.TarInfo(name)
            info.type = tarfile.DIRTYPE if content is None else tarfile.REGTYPE
            info.mode = 0o755 if executable or content is None else 0o644
            info.size = len(content or b"")
            info.mtime = mtime
            archive.addfile(info, io.BytesIO(content or b""))
    return raw.getvalue()


def check_rules(members: Iterable[Member], limits: Limits) -> dict[tuple[str, ...], bytes | None]:
    """Read all members and fail where a rule is broken that whoever writes them to a disk relies on.

    Written from the rules and not from the code that keeps them. Returns what was read; None is a directory.
    """
    seen: dict[tuple[str, ...], bytes | None] = {}
    folded: set[tuple[str, ...]] = set()
    for member in members:
        path = member.path
        assert path not in seen
        assert bool(path) == bool(seen), "the top directory comes first, and once"
        assert not path or seen[path[:-1]] is None, "a directory comes before what is in it"
        assert len(path) < limits.depth
        assert len("/".join(path).encode()) <= limits.path
        for component in path:
            assert component not in ("", ".", "..")
            assert not set("/\\\0\n\r\x1b\x7f\x85\u2028\u2029\u202e\u2066") & set(component)
            assert all(unicodedata.category(letter) not in ("Cc", "Cf", "Cs", "Zl", "Zp") for letter in component)
            assert len(component.encode()) <= 255
        key = tuple(unicodedata.normalize("NFC", component.casefold()) for component in path)
        assert key not in folded
        folded.add(key)
        chunks = list(member.chunks)
        assert all(0 < len(chunk) <= 65536 for chunk in chunks)
        content = b"".join(chunks)
        assert len(content) == member.size
        assert not (member.is_directory and (content or member.executable))
        seen[path] = None if member.is_directory else content
    assert seen, "a package has members"
    assert len(seen) <= limits.members
    assert sum(len(content or b"") for content in seen.values()) <= limits.total
    return seen
