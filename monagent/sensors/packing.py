"""Make the package of a sensor.

The same files give the same bytes: names are sorted, times are zero, owners are nobody, modes are 0755 or 0644.
Nothing leaves here that the reader of packages (`archive`) has not read.
"""

from __future__ import annotations

import bz2
import fnmatch
import gzip
import lzma
import os
import stat
import tarfile
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from monagent.errors import PackageRefused
from monagent.sensors import manifest, tree
from monagent.sensors.archive import read_members, top_of
from monagent.sensors.decompress import LIMITS
from monagent.sensors.manifest import Manifest

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

COMPRESSIONS: dict[str, Callable[[bytes], bytes]] = {
    "bz2": bz2.compress,
    "gz": partial(gzip.compress, mtime=0),
    "xz": lzma.compress,
}
LEFT_OUT = ("__pycache__", "*.pyc", "*~", ".*.swp", ".git", ".DS_Store")
"""Names of what tools leave behind, in any directory."""

_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_BLOCK = 512
_MAGIC = {b"BZh": "bz2", b"\x1f\x8b": "gz", b"\xfd7zXZ": "xz"}


def pack(directory: Path, described: Manifest | None, compression: str = "bz2") -> bytes:
    """Make a package of a sensor's directory.

    Args:
        directory: its name is the sensor's.
        described: becomes the package's manifest; a `MANIFEST` that is there already is left out.
        compression: bz2, gz or xz.

    Raises:
        PackageRefused: something in there cannot be in a package, or an agent would not take it.
        OSError: it cannot be read.
    """
    name = name_of(directory)
    parts = list(_member(name, b"", executable=True, kind=tarfile.DIRTYPE))
    if described is not None:
        parts += _member(f"{name}/{tree.MANIFEST}", manifest.render(described))
    for entry in _checked(entries_of(directory)):
        parts += _packed(entry, f"{name}/{entry.path}")
    data = COMPRESSIONS[compression](b"".join([*parts, bytes(2 * _BLOCK)]))
    for member in read_members(data, name):
        for _ in member.chunks:
            pass
    return data


def build(
    directory: Path, version: str, key: Ed25519PrivateKey | None = None, compression: str = "bz2"
) -> tuple[bytes, Manifest]:
    """Make a package with a manifest, signed where there is a key.

    The manifest is about the files as an agent will unpack them.

    Raises:
        PackageRefused, OSError: as `pack()` does.
    """
    with unpacked(pack(directory, None, compression)) as copy:
        content = tree.content_of(copy)
        described = Manifest(copy.name, version, content.digest, content.size)
        if key is not None:
            described = manifest.sign(described, key)
        return pack(copy, described, compression), described


@contextmanager
def unpacked(data: bytes) -> Iterator[Path]:
    """The sensor's directory as an agent would write it, for a while.

    Raises:
        PackageRefused: the package cannot be read.
        OSError: there is no room for it.
    """
    with tempfile.TemporaryDirectory(prefix="monagent-") as work:
        # Others may pass through: a sensor may run as another user.
        os.chmod(work, 0o711)  # noqa: S103
        name = top_of(data)
        tree.write(read_members(data, name), Path(work, name))
        yield Path(work, name)


def compression_of(data: bytes) -> str:
    """How a package is compressed.

    Raises:
        PackageRefused: it is no package.
    """
    for magic, compression in _MAGIC.items():
        if data.startswith(magic):
            return compression
    raise PackageRefused("not a bz2, gz or xz archive")


def name_of(directory: Path) -> str:
    """The name of the sensor in a directory; `.` is looked up, symbolic links are not followed."""
    return os.path.basename(os.path.abspath(directory))


@dataclass(frozen=True, slots=True)
class Entry:
    """Something below the directory: its path in there, where it is, and what it is."""

    path: str
    place: str
    found: os.stat_result

    @property
    def is_directory(self) -> bool:
        return stat.S_ISDIR(self.found.st_mode)

    @property
    def trouble(self) -> str:
        """Why it cannot be in a package, or nothing."""
        if stat.S_ISLNK(self.found.st_mode):
            return "is a symbolic link; a package holds plain files and directories only"
        if not self.is_directory and not stat.S_ISREG(self.found.st_mode):
            return "is a special file; a package holds plain files and directories only"
        return ""


def entries_of(directory: Path) -> list[Entry]:
    """Everything that is not left out, sorted by path.

    Raises:
        PackageRefused: there is more than any package holds; perhaps it is somebody's home.
    """
    found: list[Entry] = []
    waiting = [("", os.fspath(directory))]
    while waiting:
        prefix, place = waiting.pop()
        for entry in _scanned(place):
            path = prefix + entry.name
            if path == tree.MANIFEST or any(fnmatch.fnmatchcase(entry.name, pattern) for pattern in LEFT_OUT):
                continue
            found.append(Entry(path, entry.path, entry.stat(follow_symlinks=False)))
            if len(found) > LIMITS.members:
                raise PackageRefused(f"there are more than {LIMITS.members} files and directories in it")
            if found[-1].is_directory:
                waiting.append((path + "/", entry.path))
    return sorted(found, key=lambda entry: entry.path)


def _scanned(place: str) -> Iterator[os.DirEntry[str]]:
    with os.scandir(place) as entries:
        yield from entries


def _checked(entries: Iterable[Entry]) -> list[Entry]:
    """The same entries, before anything of them is read into memory."""
    checked, size = [], 0
    for entry in entries:
        if entry.trouble:
            raise PackageRefused(f"{printable(entry.path)} {entry.trouble}")
        size += 0 if entry.is_directory else entry.found.st_size
        checked.append(entry)
    if size > LIMITS.total:
        raise PackageRefused(f"the files are {size} bytes large together, and a package may have {LIMITS.total}")
    return checked


def _packed(entry: Entry, name: str) -> Iterator[bytes]:
    if entry.is_directory:
        return _member(name, b"", executable=True, kind=tarfile.DIRTYPE)
    descriptor = os.open(entry.place, _READ)
    try:
        found = os.fstat(descriptor)
        data = b""
        if stat.S_ISREG(found.st_mode):
            with open(descriptor, "rb", closefd=False) as file:
                data = file.read(entry.found.st_size + 1)
    finally:
        os.close(descriptor)
    if not stat.S_ISREG(found.st_mode) or len(data) != entry.found.st_size:
        raise PackageRefused(f"{printable(entry.path)} changed while it was read; try again")
    return _member(name, data, executable=bool(found.st_mode & stat.S_IXUSR))


def _member(name: str, data: bytes, *, executable: bool = False, kind: bytes = tarfile.REGTYPE) -> Iterator[bytes]:
    """The blocks of one member."""
    info = tarfile.TarInfo(name)
    info.type, info.size, info.mode = kind, len(data), 0o755 if executable else 0o644
    yield _header(info)
    yield data
    yield bytes(-len(data) % _BLOCK)


def _header(info: tarfile.TarInfo) -> bytes:
    try:
        return info.tobuf(tarfile.USTAR_FORMAT, "utf-8", "strict")
    except UnicodeEncodeError:
        raise PackageRefused(f"{printable(info.name)}: its name is not UTF-8") from None
    except ValueError:  # longer than ustar can tell
        return info.tobuf(tarfile.PAX_FORMAT, "utf-8", "strict")


def printable(text: str) -> str:
    """The text with ? for what could do harm on a terminal; names in packages are anybody's."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)
