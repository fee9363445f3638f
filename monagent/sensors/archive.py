"""Read a package: a tar archive that holds one directory of plain files, and nothing that could be anything else.

The archive may come from anybody. It is read from front to end, in bounded memory and time, and whatever is not
certainly harmless is refused with a sentence that says what it was. Nothing is written here.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass, field

from monagent.errors import PackageRefused
from monagent.sensors.decompress import LIMITS, Limits, Stream
from monagent.sensors.tar import Record, Source, read_records, shown

_COMPONENT = 255  # bytes, what Linux file systems take


@dataclass(slots=True)
class Member:
    """A file or a directory of a package.

    `path` is relative to the top directory, whose own path is empty; its components are safe to create one in the
    other. `executable` is what its owner may do with a file. `size` is in bytes. `chunks` are the content, of at most
    64 KiB each, until the next member is asked for; what was not taken by then is skipped.
    """

    path: tuple[str, ...]
    is_directory: bool
    executable: bool
    size: int
    chunks: Iterator[bytes]


def read_members(data: bytes, top: str, limits: Limits = LIMITS) -> Iterator[Member]:
    """Read the members of a package whose top directory is `top`; every directory comes before what is in it.

    Members come as they are read, so a package is only known to be good when the last one has come.

    Raises:
        PackageRefused: what is wrong with it.
    """
    return members_of(Stream(data, limits), top, limits)


def top_of(data: bytes, limits: Limits = LIMITS) -> str:
    """The name of the top directory, by the first member alone.

    Raises:
        PackageRefused: what is wrong with the package up to there.
    """
    for path, _ in _named_records(Stream(data, limits), limits):
        return path[0]
    raise _empty()


def members_of(source: Source, top: str, limits: Limits = LIMITS) -> Iterator[Member]:
    """What `read_members` does, for an archive that is decompressed already."""
    tree = _Tree(limits.members)
    for path, record in _named_records(source, limits):
        if path[0] != top:
            held, wanted = (shown(f"{name}/".encode("utf-8", "backslashreplace")) for name in (path[0], top))
            raise PackageRefused(f"{shown(record.name)}: the package holds {held}, not {wanted}")
        for implied in tree.enter(path):
            yield Member(implied[1:], is_directory=True, executable=False, size=0, chunks=iter(()))
        if tree.add(path, record):
            executable = record.executable and not record.is_directory
            yield Member(path[1:], record.is_directory, executable, record.size, record.content)
    if not tree.count:
        raise _empty()


def _empty() -> PackageRefused:
    return PackageRefused("the archive is empty")


def _named_records(source: Source, limits: Limits) -> Iterator[tuple[tuple[str, ...], Record]]:
    """The records with their paths, the top directory first in each."""
    for index, record in enumerate(read_records(source, limits)):
        # `tar -C a/.. ./` begins with the directory it stands in.
        if index == 0 and record.is_directory and record.name in {b".", b"./"}:
            continue
        yield _path(record, limits), record


def _path(record: Record, limits: Limits) -> tuple[str, ...]:
    if len(record.name) > limits.path:
        raise PackageRefused(f"{shown(record.name)}: a name of {len(record.name)} bytes, {limits.path} may be")
    try:
        name = record.name.decode().removeprefix("./")
    except UnicodeDecodeError:
        raise PackageRefused(f"{shown(record.name)}: its name is not UTF-8") from None
    path = tuple((name.removesuffix("/") if record.is_directory else name).split("/"))
    reason = _what_is_wrong(name, path, record, limits)
    if reason:
        raise PackageRefused(f"{shown(record.name)}: {reason}")
    return path


def _what_is_wrong(name: str, path: tuple[str, ...], record: Record, limits: Limits) -> str:
    """The first thing that forbids this name, or nothing."""
    rules = {
        "it has no name": not name,
        "its name is absolute": name.startswith("/"),
        "a file whose name ends with a slash": name.endswith("/") and not record.is_directory,
        "its name climbs out of its directory with `..`": ".." in path,
        "its name has an empty component": "" in path,
        "its name has a component `.`": "." in path,
        "its name has a control character": not name.isprintable(),
        "its name has a backslash": "\\" in name,
        f"a component of its name is longer than {_COMPONENT} bytes": any(
            len(component.encode()) > _COMPONENT for component in path
        ),
        f"it lies more than {limits.depth} directories deep": len(path) > limits.depth,
        "a plain file beside or instead of the one directory": len(path) == 1 and not record.is_directory,
    }
    return next((reason for reason, broken in rules.items() if broken), "")


@dataclass(slots=True)
class _Node:
    """A file or a directory that came by. `has_entry` is False while only what is in it was seen."""

    name: str
    is_directory: bool
    has_entry: bool
    inside: dict[str, _Node] = field(default_factory=dict)


class _Tree:
    """What the members make up, so that none of them takes another one's place on any file system."""

    def __init__(self, limit: int) -> None:
        self.count = 0
        self._limit = limit
        self._root = _Node("", is_directory=True, has_entry=True)

    def enter(self, path: tuple[str, ...]) -> list[tuple[str, ...]]:
        """Make the directories that lead to the path; those that are new, outermost first."""
        implied = []
        node = self._root
        for depth in range(1, len(path)):
            child = _find(node, path[:depth])
            if child is None:
                child = self._put(node, path[:depth], is_directory=True, has_entry=False)
                implied.append(path[:depth])
            if not child.is_directory:
                raise PackageRefused(f"{_shown(path)}: {_shown(path[:depth])} is a file and cannot hold anything")
            node = child
        return implied

    def add(self, path: tuple[str, ...], record: Record) -> bool:
        """Put the member where the path leads; False for a directory that was implied before."""
        parent = self._root
        for component in path[:-1]:
            parent = parent.inside[_folded(component)]
        node = _find(parent, path)
        if node is None:
            self._put(parent, path, record.is_directory, has_entry=True)
            return True
        if node.has_entry or not record.is_directory:
            raise PackageRefused(f"{_shown(path)}: it is in the archive twice")
        node.has_entry = True
        return False

    def _put(self, parent: _Node, path: tuple[str, ...], is_directory: bool, has_entry: bool) -> _Node:
        self.count += 1
        if self.count > self._limit:
            raise PackageRefused(f"{_shown(path)}: more than {self._limit} files and directories")
        node = _Node(path[-1], is_directory, has_entry)
        parent.inside[_folded(path[-1])] = node
        return node


def _find(parent: _Node, path: tuple[str, ...]) -> _Node | None:
    node = parent.inside.get(_folded(path[-1]))
    if node is not None and node.name != path[-1]:
        raise PackageRefused(
            f"{_shown(path)}: only case or the spelling of accents tells it from {shown(node.name.encode())}"
        )
    return node


def _folded(component: str) -> str:
    """What two names have in common that a file system may take for the same (Unicode 3.13, D145)."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFD", component).casefold())


def _shown(path: tuple[str, ...]) -> str:
    return shown("/".join(path).encode())
