"""Say beforehand what an agent would have against a sensor: a directory, or a package."""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from monagent.errors import PackageRefused, Refused
from monagent.models import Run, RunResult, is_sensor_name
from monagent.sensors import manifest, tree
from monagent.sensors.packing import COMPRESSIONS, compression_of, entries_of, name_of, pack, printable, unpacked
from monagent.sensors.spawning import clean_environment


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
        yield _error(f"{printable(name)!r} is not a sensor's name (letters, digits, _ - . and at most 64)")


def _lint_entries(directory: Path) -> Iterator[Finding]:
    try:
        entries = entries_of(directory)
    except PackageRefused as refusal:
        yield _error(str(refusal))
        return
    for entry in entries:
        if entry.trouble:
            yield _error(f"{printable(entry.path)} {entry.trouble}")
        elif not entry.is_directory and entry.found.st_mode & (stat.S_ISUID | stat.S_ISGID):
            yield _error(
                f"{printable(entry.path)} is set-uid or set-gid, which a package does not carry; chmod ug-s it"
            )


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
        yield Finding(terms.run is not None, f"{printable(line.strip())}, the interpreter of {program}, is not there")


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
        said = printable(result.stderr.decode("utf-8", "replace").strip().rpartition("\n")[2])
        how = result.error or f"it ended with {result.code}"
        yield _error(f"{call} failed: {how}{f' ({said[:200]})' if said else ''}")
    elif not result.output.strip():
        yield _error(f"{call} prints nothing; it should explain the sensor")
    if tree.content_of(directory) != before:
        yield _error(
            f"{call} changed the sensor's own files, and an agent takes no such sensor; let it write elsewhere"
        )
