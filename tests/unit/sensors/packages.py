"""Packages by Python's own tarfile, a host to install them on, and crashes at any moment of it."""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import signal
import stat
import subprocess
import sys
import tarfile
import time
import traceback
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from monagent import durable
from monagent.models import Run, RunResult
from monagent.sensors import filesystem, manifest
from monagent.sensors.backups import Backups
from monagent.sensors.manifest import Manifest
from monagent.sensors.occupancy import Occupancy
from monagent.sensors.runner import Runner
from monagent.sensors.store import SensorDefaults, SensorOverride, SensorStore
from monagent.sensors.swap import Record
from monagent.sensors.updater import Updater
from tests.unit.sensors_stock.runner import missing

NAME = "load"
"""The sensor of most tests."""

Files = Mapping[str, "str | bytes | None"]
"""Path below the sensor's directory → content; None is a directory. The file `check` is executable."""


# -- packages -------------------------------------------------------------------------------------------------------


def program(number: object, when_asked: str = "echo prints a number") -> str:
    """A sensor in shell that prints a number, and that does something else when it is asked for its help."""
    return f'#!/bin/sh\nif [ "$1" = options ]; then\n{when_asked}\nexit\nfi\necho {number}\n'


def version(number: object, when_asked: str = "echo prints a number") -> dict[str, str]:
    """The files of a version that can be told from others by the number that it prints."""
    return {"check": program(number, when_asked), "lib/number": f"{number}\n", "README": "A sensor.\n"}


def package(name: str, files: Files, modes: Mapping[str, int] | None = None, compression: str = "bz2") -> bytes:
    """An archive of these files; modes are 0755 and 0644 unless given."""
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode=f"w:{compression}") as archive:  # type: ignore[call-overload]
        for path, content in {"": None, **files}.items():
            data = content.encode() if isinstance(content, str) else content
            member = tarfile.TarInfo(f"{name}/{path}".rstrip("/"))
            member.type = tarfile.DIRTYPE if data is None else tarfile.REGTYPE
            member.mode = (modes or {}).get(path, 0o755 if data is None or path == "check" else 0o644)
            member.size = len(data or b"")
            archive.addfile(member, io.BytesIO(data or b""))
    return raw.getvalue()


def described(name: str, files: Files, number: str, key: Any = None) -> bytes:
    """The same with a manifest, signed where there is a key."""
    size = sum(len(content.encode() if isinstance(content, str) else content or b"") for content in files.values())
    told = Manifest(name, number, digest(files), size)
    told = told if key is None else manifest.sign(told, key)
    return package(name, {"MANIFEST": manifest.render(told), **files})


def digest(files: Files, executable: tuple[str, ...] = ("check",)) -> str:
    """The digest of a tree of these files, written from its description and not from the code."""
    lines: dict[str, str] = {}
    for path, content in files.items():
        for depth in range(1, path.count("/") + 1):
            directory = "/".join(path.split("/")[:depth])
            lines[directory] = f"d {directory}\n"
        if content is None:
            lines[path] = f"d {path}\n"
        else:
            data = content.encode() if isinstance(content, str) else content
            lines[path] = f"{'x' if path in executable else 'f'} {hashlib.sha256(data).hexdigest()} {path}\n"
    return "sha256:" + hashlib.sha256("".join(lines[path] for path in sorted(lines)).encode()).hexdigest()


def lay(directory: Path, files: Files) -> Path:
    """Put files somewhere by hand."""
    directory.mkdir(parents=True)
    for path, content in files.items():
        place = directory / path
        if content is None:
            place.mkdir(parents=True, exist_ok=True)
            continue
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(content.encode() if isinstance(content, str) else content)
        place.chmod(0o755 if path == "check" else 0o644)
    return directory


# -- what is there --------------------------------------------------------------------------------------------------


def snapshot(*roots: Path) -> dict[str, tuple[str, int, int, str]]:
    """All that is at and below some places: mode and type, owner, and what is in it. Two are equal byte for byte."""
    found: dict[str, tuple[str, int, int, str]] = {}
    for root in roots:
        for path in [root, *sorted(root.rglob("*"))]:
            status = path.lstat()
            inside = ""
            if stat.S_ISLNK(status.st_mode):
                inside = os.readlink(path)
            elif stat.S_ISREG(status.st_mode):
                inside = hashlib.sha256(path.read_bytes()).hexdigest()
            found[str(path)] = (stat.filemode(status.st_mode), status.st_uid, status.st_gid, inside)
    return found


def modes(directory: Path) -> dict[str, str]:
    """The modes of a directory and all that is in it, by path."""
    return {
        str(path.relative_to(directory)): stat.filemode(path.lstat().st_mode)
        for path in [directory, *directory.rglob("*")]
    }


def open_descriptors() -> int:
    """How many this process has."""
    return len(os.listdir("/proc/self/fd"))


# -- a host ---------------------------------------------------------------------------------------------------------


class Host:
    """A host's sensors, their backups, and what changes them; all below one directory."""

    def __init__(
        self,
        path: Path,
        *,
        keep: int = 5,
        backups: Path | None = None,
        run: Callable[[Run], RunResult] | None = None,
        defaults: Mapping[str, Any] | None = None,
        overrides: Mapping[str, SensorOverride] | None = None,
        on_done: Callable[[Record], None] | None = None,
        public_key: bytes = b"",
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.path = path
        self.sensors = path / "sensors"
        self.sensors.mkdir(parents=True, exist_ok=True)
        self.backups = backups or path / "sensors_backup"
        self.run = run or Runner().run
        self.store = SensorStore(SensorDefaults(self.sensors, **{"timeout": 10.0, **(defaults or {})}), overrides or {})
        self.occupancy = Occupancy()
        self.done: list[Record] = []
        self.updater = Updater(
            self.store,
            Backups(self.backups, keep),
            self.occupancy,
            self.run,
            public_key=public_key,
            on_done=on_done or self.done.append,
            clock=clock,
        )

    def install(self, number: object, when_asked: str = "echo prints a number") -> dict[str, Any]:
        """Install the version that prints this number."""
        return self.updater.install(NAME, package(NAME, version(number, when_asked)))

    def prints(self, name: str = NAME) -> str:
        """What the sensor prints when it is run as in production."""
        sensor = self.store.find(name)
        assert sensor is not None
        with self.occupancy.run_in(self.store.directory(name)):
            result = self.run(Run(sensor.command, sensor.timeout, sensor.output_limit, sensor.user))
        assert (result.code, result.error) == (0, ""), result
        return result.output.decode().strip()

    def kept(self) -> list[str]:
        """What the backups would print, oldest first. Each must be whole."""
        return [numbered(path) for path in sorted(self.backups.iterdir())] if self.backups.exists() else []

    def hidden(self) -> list[str]:
        """What updates left behind among the sensors and the backups."""
        places = [place for place in (self.sensors, self.backups) if place.is_dir()]
        return [name for place in places for name in os.listdir(place) if name.startswith(".")]

    def numbered(self) -> str:
        """Which version stands there."""
        return numbered(self.sensors / NAME)


def numbered(directory: Path) -> str:
    """Which version a directory holds, when it holds the whole of it and nothing else."""
    number = (directory / "lib" / "number").read_text().strip()
    held = {
        str(path.relative_to(directory)): path.read_text() if path.is_file() else None for path in directory.rglob("*")
    }
    held.pop("lib")
    assert held == version(number), f"{directory} holds half a version"
    return number


# -- crashes --------------------------------------------------------------------------------------------------------

_CHANGES = (
    "chmod", "chown", "fchmod", "fchown", "fsync", "link", "mkdir", "remove", "rename", "replace", "rmdir",
    "sendfile", "symlink", "unlink", "utime", "write",
)  # fmt: skip
"""What a program can do to a file system by `os`, apart from `os.open`."""


def cut_off(point: int, work: Callable[[], object]) -> bool:
    """Do some work in a process of its own that is killed at its n-th step; whether it came to its end before.

    A step is the moment before and after each call that changes something on a disk.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # the tests' runner may have threads
        pid = os.fork()
    if pid == 0:
        try:
            _arm(point)
            work()
        except BaseException:  # noqa: BLE001 - nothing may get out of the child
            traceback.print_exc()
            sys.stderr.flush()
            os._exit(1)
        os._exit(0)
    _, status = os.waitpid(pid, 0)
    if os.WIFSIGNALED(status):
        assert os.WTERMSIG(status) == signal.SIGKILL
        return False
    assert os.waitstatus_to_exitcode(status) == 0, "the work ended with an error: see stderr"
    return True


def _arm(point: int) -> None:
    left = point

    def step() -> None:
        nonlocal left
        left -= 1
        if left < 0:
            os.kill(os.getpid(), signal.SIGKILL)

    def watch(function: Callable[..., Any], changes: Callable[..., bool] = lambda *_a, **_k: True) -> Any:
        def watched(*arguments: Any, **keywords: Any) -> Any:
            if not changes(*arguments, **keywords):
                return function(*arguments, **keywords)
            step()
            result = function(*arguments, **keywords)
            step()
            return result

        return watched

    for name in _CHANGES:
        setattr(os, name, watch(getattr(os, name)))
    writing = os.O_WRONLY | os.O_RDWR | os.O_CREAT
    os.open = watch(os.open, lambda _path, flags, *_a, **_k: bool(flags & writing))
    io.open = watch(io.open, lambda _file, mode="r", *_a, **_k: not set(mode).isdisjoint("wax+"))
    filesystem._libc = durable._libc = _Libc(watch)  # type: ignore[assignment]


class _Libc:
    """The two functions that are called without `os`."""

    def __init__(self, watch: Callable[..., Any]) -> None:
        self.renameat2 = watch(filesystem._libc.renameat2)
        self.syncfs = watch(filesystem._libc.syncfs)


class Calls:
    """Writes down the calls that decide what is on a disk after a power loss, and lets them pass."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.made: list[tuple[str, str]] = []
        self._libc = filesystem._libc
        for module in (filesystem, durable):
            monkeypatch.setattr(module, "_libc", self)
        for name in ("write", "fsync", "replace", "mkdir", "unlink", "rmdir", "fchmod"):
            monkeypatch.setattr(os, name, self._noted(name, getattr(os, name)))

    def _noted(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def noted(what: Any, *arguments: Any, **keywords: Any) -> Any:
            place = os.readlink(f"/proc/self/fd/{what}") if isinstance(what, int) else os.fspath(what)
            self.made.append((name, place))
            return function(what, *arguments, **keywords)

        return noted

    def renameat2(self, *arguments: Any) -> int:
        """Rename or exchange."""
        kind = "exchange" if arguments[4] == 2 else "move"
        self.made.append((kind, os.fsdecode(arguments[3])))
        result: int = self._libc.renameat2(*arguments)
        return result

    def syncfs(self, descriptor: int) -> int:
        """Sync all of a file system."""
        self.made.append(("syncfs", os.readlink(f"/proc/self/fd/{descriptor}")))
        result: int = self._libc.syncfs(descriptor)
        return result

    def at(self, kind: str, place: Path) -> list[int]:
        """When such calls were made for a place."""
        return [index for index, made in enumerate(self.made) if made == (kind, str(place))]


@contextlib.contextmanager
def small_disk(place: Path, size: str) -> Iterator[Path]:
    """A file system of its own that holds so much."""
    place.mkdir()
    if os.geteuid() != 0:
        missing("root, to mount a small file system,")
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "none", place], capture_output=True)
    if mounted.returncode != 0:
        missing("the right to mount a small file system")
    try:
        yield place
    finally:
        subprocess.run(["umount", "--lazy", place], check=True)


def fill(directory: Path) -> Path:
    """Take all the room that is left, down to the last block; returns what must be removed to get it back."""
    ballast = directory / "ballast"
    with ballast.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while file.write(bytes(4096)):
            pass
    return ballast
