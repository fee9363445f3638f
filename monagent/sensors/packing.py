"""Make the package of a sensor, and say beforehand what an agent would have against it.

The same files give the same bytes: names are sorted, times are zero, owners are nobody, modes are 0755 or 0644.
Nothing leaves here that the reader of packages (`archive`) has not read.
"""

from __future__ import annotations

import bz2
import fnmatch
import gzip
import lzma
import os
import shutil
import stat
import tarfile
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from monagent.errors import PackageRefused, Refused
from monagent.models import Run, RunResult, is_sensor_name
from monagent.sensors import manifest, tree
from monagent.sensors.archive import read_members, top_of
from monagent.sensors.decompress import LIMITS
from monagent.sensors.manifest import Manifest
from monagent.sensors.spawning import clean_environment

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


# -- packing --------------------------------------------------------------------------------------------------------


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
    for entry in _checked(_entries(directory)):
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
class _Entry:
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


def _entries(directory: Path) -> list[_Entry]:
    """Everything that is not left out, sorted by path.

    Raises:
        PackageRefused: there is more than any package holds; perhaps it is somebody's home.
    """
    found: list[_Entry] = []
    waiting = [("", os.fspath(directory))]
    while waiting:
        prefix, place = waiting.pop()
        for entry in _scanned(place):
            path = prefix + entry.name
            if path == tree.MANIFEST or any(fnmatch.fnmatchcase(entry.name, pattern) for pattern in LEFT_OUT):
                continue
            found.append(_Entry(path, entry.path, entry.stat(follow_symlinks=False)))
            if len(found) > LIMITS.members:
                raise PackageRefused(f"there are more than {LIMITS.members} files and directories in it")
            if found[-1].is_directory:
                waiting.append((path + "/", entry.path))
    return sorted(found, key=lambda entry: entry.path)


def _scanned(place: str) -> Iterator[os.DirEntry[str]]:
    with os.scandir(place) as entries:
        yield from entries


def _checked(entries: Iterable[_Entry]) -> list[_Entry]:
    """The same entries, before anything of them is read into memory."""
    checked, size = [], 0
    for entry in entries:
        if entry.trouble:
            raise PackageRefused(f"{_shown(entry.path)} {entry.trouble}")
        size += 0 if entry.is_directory else entry.found.st_size
        checked.append(entry)
    if size > LIMITS.total:
        raise PackageRefused(f"the files are {size} bytes large together, and a package may have {LIMITS.total}")
    return checked


def _packed(entry: _Entry, name: str) -> Iterator[bytes]:
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
        raise PackageRefused(f"{_shown(entry.path)} changed while it was read; try again")
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
        raise PackageRefused(f"{_shown(info.name)}: its name is not UTF-8") from None
    except ValueError:  # longer than ustar can tell
        return info.tobuf(tarfile.PAX_FORMAT, "utf-8", "strict")


def _shown(text: str) -> str:
    return "".join(letter if letter.isprintable() else "?" for letter in text)


# -- lint -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Finding:
    """Something about a sensor that its author should know; an error is what an agent would refuse."""

    is_error: bool
    message: str

    def __str__(self) -> str:
        return f"{'error' if self.is_error else 'warning'}: {self.message}"


@dataclass(frozen=True, slots=True)
class Terms:
    """What an agent expects of a sensor, see `[sensor]`. `timeout` in seconds, `output_limit` in bytes.

    `run` is None where nothing of the sensor may be run.
    """

    executable: str = "check"
    help: str = "options"
    timeout: float = 30.0
    output_limit: int = 65536
    user: str = ""
    run: Callable[[Run], RunResult] | None = None


def lint(directory: Path, terms: Terms, public_key: bytes = b"") -> list[Finding]:
    """Look at a sensor's directory. It is tried as a copy of what would be packed.

    Raises:
        OSError: it cannot be read.
    """
    name = name_of(directory)
    found = [*_lint_name(name), *_lint_entries(directory), *_lint_program(directory / terms.executable, terms)]
    found += _lint_trust(directory, name, public_key, must=bool(public_key))
    if any(finding.is_error for finding in found):
        return found
    try:
        data = pack(directory, None)
    except PackageRefused as refusal:
        return [*found, _error(str(refusal))]
    with unpacked(data) as copy:
        return [*found, *_lint_run(copy, terms)]


def lint_package(data: bytes, file_name: str, terms: Terms, public_key: bytes = b"") -> list[Finding]:
    """Look at a package, and at the name of the file that it is in.

    Raises:
        OSError: there is no room to unpack it.
    """
    try:
        with unpacked(data) as directory:
            name = directory.name
            found = [*_lint_name(name), *_lint_program(directory / terms.executable, terms)]
            found += _lint_trust(directory, name, public_key, must=True)
            if file_name not in {f"{name}.tar.{compression}" for compression in COMPRESSIONS}:
                found.append(_warning(f"a server looks for it under the name {name}.tar.{compression_of(data)}"))
            if not public_key and not os.path.lexists(directory / tree.MANIFEST):
                found.append(_warning(f"it has no {tree.MANIFEST}; monagent sensor sign gives it one"))
            if not any(finding.is_error for finding in found):
                found += _lint_run(directory, terms)
            return found
    except PackageRefused as refusal:
        return [_error(str(refusal))]


def _error(message: str) -> Finding:
    return Finding(is_error=True, message=message)


def _warning(message: str) -> Finding:
    return Finding(is_error=False, message=message)


def _lint_name(name: str) -> Iterator[Finding]:
    if not is_sensor_name(name):
        yield _error(f"{_shown(name)!r} is not a sensor's name (letters, digits, _ - . and at most 64)")


def _lint_entries(directory: Path) -> Iterator[Finding]:
    try:
        entries = _entries(directory)
    except PackageRefused as refusal:
        yield _error(str(refusal))
        return
    for entry in entries:
        if entry.trouble:
            yield _error(f"{_shown(entry.path)} {entry.trouble}")
        elif not entry.is_directory and entry.found.st_mode & (stat.S_ISUID | stat.S_ISGID):
            yield _error(f"{_shown(entry.path)} is set-uid or set-gid, which a package does not carry; chmod ug-s it")


def _lint_program(program: Path, terms: Terms) -> Iterator[Finding]:
    """The program is there, and the system could execute it."""
    try:
        mode = program.lstat().st_mode
    except FileNotFoundError:
        yield _error(f"there is no program {program.name}")
        return
    if not stat.S_ISREG(mode):
        yield _error(f"{program.name} is not a regular file")
        return
    if not mode & stat.S_IXUSR:
        yield _error(f"{program.name} is not executable; chmod +x {program.name}")
    with program.open("rb") as file:
        head = file.read(256)
    if head.startswith(b"\x7fELF"):
        return
    if not head.startswith(b"#!"):
        yield _error(f"{program.name} does not begin with #! and an interpreter, such as #!/bin/sh")
        return
    yield from _lint_first_line(program.name, head[2:].split(b"\n")[0].decode("utf-8", "replace"), terms)


def _lint_first_line(program: str, line: str, terms: Terms) -> Iterator[Finding]:
    interpreter, *arguments = line.split() or [""]
    if line.endswith("\r"):
        yield _error(f"the lines of {program} end with CR LF; save it with LF alone")
    elif not interpreter.startswith("/"):
        yield _error(f"the first line of {program} does not name an interpreter by its full path, such as #!/bin/sh")
    elif not _is_there(interpreter, arguments):
        # Where nothing is run, the agent's machine may well be another one.
        yield Finding(terms.run is not None, f"{_shown(line.strip())}, the interpreter of {program}, is not there")


def _is_there(interpreter: str, arguments: list[str]) -> bool:
    wanted = interpreter
    if os.path.basename(interpreter) == "env":
        wanted = next((word for word in arguments if not word.startswith("-") and "=" not in word), interpreter)
    return all(shutil.which(program, path=clean_environment()["PATH"]) for program in (interpreter, wanted))


def _lint_trust(directory: Path, name: str, public_key: bytes, *, must: bool) -> Iterator[Finding]:
    """The manifest is about what is there, and its signature is good where there is a key."""
    try:
        described = manifest.read(directory)
        if described is None and not public_key:
            return
        content = tree.content_of(directory)
        manifest.authenticate(
            described, name=name, content=content, public_key=public_key or None, installed_version=None
        )
    except Refused as refusal:
        yield Finding(must, str(refusal) if must else f"{refusal}; packing replaces its {tree.MANIFEST}")


def _lint_run(directory: Path, terms: Terms) -> Iterator[Finding]:
    """The test that an agent makes before it installs a version."""
    if terms.run is None:
        return
    before = tree.content_of(directory)
    argv = (str(directory / terms.executable), terms.help)
    result = terms.run(Run(argv, terms.timeout, terms.output_limit, terms.user))
    call = f"{terms.executable} {terms.help}"
    if result.error or result.code:
        said = _shown(result.stderr.decode("utf-8", "replace").strip().rpartition("\n")[2])
        how = result.error or f"it ended with {result.code}"
        yield _error(f"{call} failed: {how}{f' ({said[:200]})' if said else ''}")
    elif not result.output.strip():
        yield _error(f"{call} prints nothing; it should explain the sensor")
    if tree.content_of(directory) != before:
        yield _error(
            f"{call} changed the sensor's own files, and an agent takes no such sensor "
            "(a Python sensor of several files: #!/usr/bin/env -S python3 -B)"
        )
