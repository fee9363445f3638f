"""The directory of one sensor: write it from a package, tell what it holds by a digest, copy it.

The digest stands for everything that makes a sensor behave as it does: names, contents, which files are executable.
It is the SHA-256 of one line for each entry below the directory, sorted by path:

    x <sha256 of the content> <path>      a file that its owner may execute
    f <sha256 of the content> <path>      any other file
    d <path>                              a directory
    l <sha256 of its target> <path>       a symbolic link (only in sensors that people installed by hand)
    o <path>                              anything else

The manifest of a package (`MANIFEST` in the top directory) carries this digest and is therefore left out of it.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import shutil
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from monagent.errors import Refused
from monagent.sensors.archive import Member

MANIFEST = "MANIFEST"

ENTRIES_LIMIT = 20_000
BYTES_LIMIT = 512 * 1024 * 1024
"""A directory with more is no sensor, but something that got into the directory of sensors."""

DEPTH_LIMIT = 64

_CHUNK = 256 * 1024
_KINDS_COPIED = "xfdl"
_KINDS = f"{_KINDS_COPIED}o"
_LOSSLESS = ("utf-8", "surrogateescape")
_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_READ = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC


@dataclass(frozen=True, slots=True)
class Content:
    """What a sensor's directory holds: `sha256:` and 64 hex digits, and the bytes of all its files."""

    digest: str
    size: int


# -- writing --------------------------------------------------------------------------------------------------------


def write(members: Iterable[Member], target: Path) -> None:
    """Make a directory that holds these members: ours, 0755 for directories and programs, 0644 for other files.

    Every step goes by directory descriptors and makes something new, so that nothing outside can be reached.

    Raises:
        PackageRefused: by the members themselves.
        OSError: the disk is full, or the target exists.
    """
    os.mkdir(target, 0o700)
    top = os.open(target, _DIRECTORY)
    try:
        for member in members:
            _write_member(member, top)
        _settle(top, 0o755)
    finally:
        os.close(top)


def _write_member(member: Member, top: int) -> None:
    if not member.path:
        return
    parent = _open_below(top, member.path[:-1])
    try:
        if member.is_directory:
            os.mkdir(member.path[-1], 0o700, dir_fd=parent)
            made = os.open(member.path[-1], _DIRECTORY, dir_fd=parent)
        else:
            made = os.open(member.path[-1], _NEW_FILE, 0o600, dir_fd=parent)
        try:
            for chunk in () if member.is_directory else member.chunks:
                _write_whole(made, chunk)
            _settle(made, 0o755 if member.is_directory or member.executable else 0o644)
        finally:
            os.close(made)
    finally:
        os.close(parent)


def _open_below(top: int, path: Iterable[str]) -> int:
    current = os.dup(top)
    for name in path:
        try:
            below = os.open(name, _DIRECTORY, dir_fd=current)
        finally:
            os.close(current)
        current = below
    return current


def _write_whole(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def _settle(descriptor: int, mode: int) -> None:
    if os.fstat(descriptor).st_gid != os.getegid():  # a set-gid parent hands its group down
        os.fchown(descriptor, -1, os.getegid())
    os.fchmod(descriptor, mode)


def copy(source: Path, target: Path) -> None:
    """Copy a sensor's directory as it is: symbolic links as links, owners as they are; pipes and sockets are left out.

    Raises:
        OSError: something cannot be read or written.
    """
    try:
        with _levels_of(source):
            shutil.copytree(source, target, symlinks=True, ignore=_neither_file_nor_directory)
    except shutil.Error as error:
        # One for each file; people and servers are told the first.
        raise OSError(f"{source} cannot be copied: {error.args[0][0][2]}") from None
    if os.geteuid() == 0:
        for directory, directories, files in os.walk(target):
            origin = os.path.join(source, os.path.relpath(directory, target))
            for name in (".", *directories, *files):
                owner = os.lstat(os.path.join(origin, name))
                copied = os.path.join(directory, name)
                os.chown(copied, owner.st_uid, owner.st_gid, follow_symlinks=False)
                if not stat.S_ISLNK(owner.st_mode):
                    os.chmod(copied, stat.S_IMODE(owner.st_mode))  # chown takes set-uid bits away


def _neither_file_nor_directory(directory: str, names: list[str]) -> set[str]:
    kinds = {name: os.lstat(os.path.join(directory, name)).st_mode for name in names}
    return {
        name for name, mode in kinds.items() if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode) or stat.S_ISLNK(mode))
    }


def remove(path: Path) -> None:
    """Remove a directory and everything in it; one that is not there is fine."""
    if path.is_symlink() or path.is_file():
        path.unlink()
    elif path.exists():
        with _levels_of(path):
            shutil.rmtree(path)


@contextlib.contextmanager
def _levels_of(directory: Path) -> Iterator[None]:
    """Let a limit of the interpreter be an error of the file system."""
    try:
        yield
    except RecursionError:
        raise OSError(errno.ELOOP, "too many levels of directories", os.fspath(directory)) from None


# -- telling what is there ------------------------------------------------------------------------------------------


def content_of(directory: str | os.PathLike[str], *, copied: bool = False) -> Content:
    """Read everything below a directory once.

    Args:
        directory: of the sensor.
        copied: tell what a `copy()` of it holds.

    Raises:
        Refused: there is more than any sensor holds.
        OSError: something cannot be read, or changed while it was.
    """
    return _content(directory, MANIFEST, _KINDS_COPIED if copied else _KINDS)


def _content(directory: str | os.PathLike[str], left_out: str, kinds: str) -> Content:
    lines, size = [], 0
    for entries, (path, line, bytes_) in enumerate(_entries(os.fspath(directory), "", left_out), 1):
        size += bytes_
        if line[0] in kinds:
            lines.append((path, line))
        if entries > ENTRIES_LIMIT or size > BYTES_LIMIT:
            raise Refused(f"{directory} holds more than any sensor does")
    lines.sort()
    text = "".join(line for _, line in lines)
    digest = hashlib.sha256(text.encode(*_LOSSLESS)).hexdigest()
    return Content(f"sha256:{digest}", size)


def seal(directory: str | os.PathLike[str]) -> str:
    """A digest over everything there is about a directory: contents, the manifest, owners, modes.

    Raises:
        Refused, OSError: as `content_of()` does.
    """
    hashed = hashlib.sha256(_content(directory, "", _KINDS).digest.encode())
    for place, directories, files in os.walk(directory):
        directories.sort()
        for name in sorted((".", *directories, *files)):
            found = os.lstat(os.path.join(place, name))
            hashed.update(f"{name} {found.st_mode} {found.st_uid} {found.st_gid} {found.st_size}\n".encode(*_LOSSLESS))
    return hashed.hexdigest()


def _entries(directory: str, prefix: str, left_out: str, depth: int = 0) -> Iterator[tuple[str, str, int]]:
    """The path, the line and the bytes of each entry."""
    if depth > DEPTH_LIMIT:
        raise Refused(f"{directory} is deeper than any sensor")
    with os.scandir(directory) as entries:
        for entry in entries:
            path = prefix + entry.name
            if path == left_out:
                continue
            if "\n" in path:
                raise Refused(f"{directory} holds a name with a line feed in it")
            if entry.is_dir(follow_symlinks=False):
                yield path, f"d {path}\n", 0
                yield from _entries(entry.path, path + "/", left_out, depth + 1)
            elif entry.is_symlink():
                target = hashlib.sha256(os.fsencode(os.readlink(entry.path))).hexdigest()
                yield path, f"l {target} {path}\n", 0
            elif entry.is_file(follow_symlinks=False):
                yield path, *_file(entry.path, path)
            else:
                yield path, f"o {path}\n", 0


def _file(name: str, path: str) -> tuple[str, int]:
    descriptor = os.open(name, _READ | os.O_NOFOLLOW)
    try:
        found = os.fstat(descriptor)
        hashed, size = hashlib.sha256(), 0
        while (data := os.read(descriptor, _CHUNK)) and size <= BYTES_LIMIT:
            hashed.update(data)
            size += len(data)
            if len(data) < _CHUNK and size >= found.st_size:
                break
    finally:
        os.close(descriptor)
    kind = "x" if found.st_mode & stat.S_IXUSR else "f"
    return f"{kind} {hashed.hexdigest()} {path}\n", size
