"""`monagent sensor new|lint|pack|keygen|sign`: make sensors and their packages."""

from __future__ import annotations

import base64
import contextlib
import os
import stat
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click
from click.core import ParameterSource

from monagent.cli.options import config_option, json_option, print_json
from monagent.config import settings, values
from monagent.config.settings import SensorSection
from monagent.durable import sync_directory
from monagent.errors import PackageRefused, Refused
from monagent.models import is_sensor_name
from monagent.sensors import manifest, packing, tree
from monagent.sensors.decompress import LIMITS
from monagent.sensors.filesystem import move
from monagent.sensors.manifest import Manifest
from monagent.sensors.packing import COMPRESSIONS, Finding, Terms
from monagent.sensors.runner import Runner

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

KEY_FILE = "sensor-signing.key"

_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_READ = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_PEM = b"-----BEGIN"
_KEY_LIMIT = 64 * 1024


def add_to(group: click.Group) -> None:
    """Make the commands part of `monagent sensor`."""
    for command in (new, lint, pack, keygen, sign):
        group.add_command(command)


# -- what the commands share ----------------------------------------------------------------------------------------


def _version(_context: click.Context, _parameter: click.Parameter, given: str | None) -> str | None:
    if given is not None and not manifest.is_version(given):
        raise click.BadParameter("a version is one to five numbers with dots between them, such as 1.2.0")
    return given


def _public_key(_context: click.Context, _parameter: click.Parameter, given: str | None) -> bytes:
    try:
        return values.public_key(given or "", Path())
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


_DIRECTORY = click.Path(exists=True, file_okay=False, path_type=Path)
_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
_version_option = click.option(
    "--version", metavar="V", callback=_version, help="Such as 1.2.0. An agent with a public_key never goes back."
)
_run_help = "Run `check options` within the agent's limits, or run nothing."


def _now() -> str:
    return datetime.now(UTC).strftime("%Y%m%d.%H%M%S")


def _section(context: click.Context, config: Path) -> SensorSection | None:
    """`[sensor]` of the configuration. Sensors are also made where there is none; one that was named must be there."""
    named = context.get_parameter_source("config") is ParameterSource.COMMANDLINE or "MONAGENT_CONFIG" in os.environ
    return settings.load(config).sensor if named or config.exists() else None


def _terms(section: SensorSection | None, *, run: bool) -> Terms:
    runner = Runner().run if run else None
    if section is None:
        return Terms(run=runner)
    user = section.user if os.geteuid() == 0 else ""
    return Terms(section.executable, section.help, section.timeout, section.output_limit, user, runner)


def _tell(described: Manifest, *, as_json: bool) -> None:
    told = {
        "name": described.name,
        "version": described.version,
        "digest": described.digest,
        "size": described.size,
        "signed": bool(described.signature),
    }
    if as_json:
        print_json(told)
        return
    for name, value in (told | {"signed": "yes" if described.signature else "no"}).items():
        click.echo(f"{name}: {value}")


def _read_file(path: Path, limit: int) -> tuple[bytes, os.stat_result]:
    """A regular file, and never much more than `limit` bytes of it."""
    descriptor = os.open(path, _READ)
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise Refused(f"{path} is not a regular file")
        with open(descriptor, "rb", closefd=False) as file:
            return file.read(limit + 1), found
    finally:
        os.close(descriptor)


def _write_package(path: Path, data: bytes) -> None:
    """Replace a file or make it, at once. A symbolic link stays one.

    Raises:
        Refused: there is something that is no package.
    """
    target = Path(os.path.realpath(path))
    old = None
    if target.exists():
        head, old = _read_file(target, len(_PEM))
        if head.startswith(_PEM):
            raise Refused(f"{path} is a key, and is not overwritten")
    # A fixed name: what a crash leaves is overwritten by the next one, and does not pile up.
    beside = target.with_name(f".{target.name}.new")
    beside.unlink(missing_ok=True)
    descriptor = os.open(beside, _NEW, 0o666)
    try:
        with open(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            if old is not None:
                with contextlib.suppress(PermissionError):
                    os.fchown(descriptor, old.st_uid, old.st_gid)
                os.fchmod(descriptor, stat.S_IMODE(old.st_mode))
            os.fsync(descriptor)
        beside.replace(target)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise
    sync_directory(target.parent)


def _read_key(path: Path) -> Ed25519PrivateKey:
    """The private key in a file that nobody else can read.

    Raises:
        Refused: it is no such file.
    """
    from cryptography.exceptions import UnsupportedAlgorithm  # noqa: PLC0415 - slow, and few commands need it
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey  # noqa: PLC0415
    from cryptography.hazmat.primitives.serialization import load_pem_private_key  # noqa: PLC0415

    try:
        data, found = _read_file(path, _KEY_LIMIT)
    except FileNotFoundError:
        raise Refused(f"there is no key {path}; monagent sensor keygen makes one") from None
    if found.st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise Refused(f"the key {path} can be read by others; chmod 600 {path}, or better make a new one")
    try:
        key = load_pem_private_key(data, None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise Refused(f"{path} is not a private key as monagent sensor keygen makes them (PEM, no password)") from None
    if not isinstance(key, Ed25519PrivateKey):
        raise Refused(f"{path} is a key of another kind; packages are signed with Ed25519")
    return key


# -- new ------------------------------------------------------------------------------------------------------------

_SHELL = """\
#!/bin/sh
# Tell how many entries a directory has. An example: put your own reading in its place.

options() {
    cat <<END
check [DIRECTORY]
How many files and directories lie in DIRECTORY (default: /tmp).
END
}

fail() {
    printf '@NAME@: %s\\n' "$1" >&2
    exit 1
}

[ $# -le 1 ] || fail 'too many arguments ("check @HELP@" explains)'
case ${1-} in
    @HELP@) options; exit ;;
esac

directory=${1:-/tmp}
entries=$(ls -A -- "$directory") || fail "cannot read $directory"

# One number on stdout, exit 0. When there is none to trust: the reason on stderr, and another exit code.
if [ -n "$entries" ]; then
    printf '%s\\n' "$entries" | wc -l
else
    echo 0
fi
"""

_PYTHON = '''\
#!/usr/bin/env python3
"""Tell how many entries a directory has. An example: put your own reading in its place."""

import os
import sys

HELP = """\\
check [DIRECTORY]
How many files and directories lie in DIRECTORY (default: /tmp)."""


def main(arguments):
    if arguments == ["@HELP@"]:
        print(HELP)
        return
    if len(arguments) > 1:
        sys.exit('@NAME@: too many arguments ("check @HELP@" explains)')
    directory = arguments[0] if arguments else "/tmp"
    try:
        entries = os.listdir(directory)
    except OSError as error:
        sys.exit(f"@NAME@: cannot read {directory}: {error.strerror}")
    # One number on stdout, exit 0. When there is none to trust: the reason on stderr, and another exit code.
    print(len(entries))


main(sys.argv[1:])
'''

_EXAMPLES = {"sh": _SHELL, "python": _PYTHON}


@click.command()
@click.argument("name")
@click.option("--language", type=click.Choice(list(_EXAMPLES)), default="sh", show_default=True, help="Of the example.")
@click.option("--directory", type=_DIRECTORY, help="Where to make it. Default: [sensor] path of the configuration.")
@config_option
def new(name: str, language: str, directory: Path | None, config: Path) -> None:
    """Make a sensor NAME that works, to be changed into your own.

    It is a directory with an executable check, which prints a number, or its help when it is called with `options`.

    \b
    Example:
      monagent sensor new queue --language python --directory .
      queue/check options
      queue/check /var/spool/mqueue
    """  # noqa: D301 - click wants the backspace itself
    if not is_sensor_name(name):
        raise click.BadParameter("letters, digits, _ - . and at most 64; not - or . first", param_hint="NAME")
    executable, help_argument = "check", "options"
    if directory is None:
        section = settings.load(config).sensor
        directory, executable, help_argument = section.path, section.executable, section.help
    if not directory.is_dir():
        raise Refused(f"there is no directory {directory}; monagent init makes one, --directory names another")
    target = directory / name
    if os.path.lexists(target):
        raise Refused(f"{target} exists, and stays as it is")
    text = _EXAMPLES[language].replace("@NAME@", name).replace("@HELP@", help_argument)
    _make_sensor(target, executable, text)
    click.echo(target)
    click.echo(f"next: edit {target / executable}, then monagent sensor lint {target}", err=True)


def _make_sensor(target: Path, executable: str, text: str) -> None:
    """A running agent sees the whole sensor or none: names with a dot in front are no sensors."""
    with tempfile.TemporaryDirectory(prefix=".new-", dir=target.parent) as work:
        made = Path(work, target.name)
        made.mkdir()
        program = made / executable
        program.write_text(text, encoding="utf-8")
        for path in (program, made):
            path.chmod(0o755)
        move(made, target)


# -- lint -----------------------------------------------------------------------------------------------------------


@click.command()
@click.argument("target", type=click.Path(exists=True, path_type=Path), metavar="DIR|FILE")
@click.option("--run/--no-run", default=None, help=f"{_run_help} Default: run what is in a DIR, not a FILE.")
@click.option(
    "--public-key", metavar="KEY", callback=_public_key, help="Require a signature by KEY. Default: the configured one."
)
@config_option
@json_option
@click.pass_context
def lint(
    context: click.Context, target: Path, run: bool | None, public_key: bytes, config: Path, as_json: bool
) -> None:
    """Tell what an agent would have against a sensor: a directory, or a package. Nothing is installed.

    Each finding is a line: an `error` is what an agent refuses, a `warning` is for you to judge.
    Exit 0 without errors, or 1. A configuration is used when there is one, but none is needed.
    With --run, the sensor runs with your rights: do so only with what you trust.

    \b
    Example:
      monagent sensor lint sensors/disk
      monagent sensor lint disk.tar.bz2 --public-key fFdU0XEhGGpLVmrOuiAfp3xIgrq3D4vPLVqYyBMfCmg=
    """  # noqa: D301 - click wants the backspace itself
    section = _section(context, config)
    is_directory = target.is_dir()
    terms = _terms(section, run=is_directory if run is None else run)
    if not public_key and section and (not is_directory or os.path.lexists(target / tree.MANIFEST)):
        public_key = section.public_key
    if is_directory:
        found = packing.lint(target, terms, public_key)
    else:
        found = packing.lint_package(_read_file(target, LIMITS.compressed)[0], target.name, terms, public_key)
    ok = not any(finding.is_error for finding in found)
    if as_json:
        print_json({"ok": ok, "findings": [_as_json(finding) for finding in found]})
    else:
        for finding in found:
            click.echo(finding)
        if not found:
            click.echo(f"{target}: no findings", err=True)
    context.exit(0 if ok else 1)


def _as_json(finding: Finding) -> dict[str, str]:
    return {"kind": "error" if finding.is_error else "warning", "message": finding.message}


# -- pack and sign --------------------------------------------------------------------------------------------------


@click.command()
@click.argument("directory", type=_DIRECTORY, metavar="DIR")
@_version_option
@click.option("--key", type=click.Path(path_type=Path), metavar="KEYFILE", help="Sign the package with this key.")
@click.option(
    "--output", type=click.Path(path_type=Path), metavar="FILE", help="Default: NAME.tar.bz2 in this directory."
)
@click.option("--compression", type=click.Choice(list(COMPRESSIONS)), default="bz2", show_default=True)
@click.option("--run/--no-run", default=True, help=f"{_run_help} Default: run.")
@config_option
@json_option
@click.pass_context
def pack(
    context: click.Context,
    directory: Path,
    version: str | None,
    key: Path | None,
    output: Path | None,
    compression: str,
    run: bool,
    config: Path,
    as_json: bool,
) -> None:
    """Make a package of the sensor in DIR, whose name is the sensor's.

    The sensor is looked at as by `lint` before; an error there stops it. What editors and tools leave behind
    (__pycache__, *.pyc, *~, .git and the like) is left out. Without --version the time is the version.
    The same files and version give the same package.

    \b
    Example:
      monagent sensor pack sensors/disk --version 1.2.0 --key sensor-signing.key
    """  # noqa: D301 - click wants the backspace itself
    private_key = _read_key(key) if key else None
    output = output or Path(f"{packing.name_of(directory)}.tar.{compression}")
    if output.resolve().is_relative_to(directory.resolve()):
        raise Refused(f"{output} would be a part of the sensor; --output names another place")
    found = packing.lint(directory, _terms(_section(context, config), run=run))
    for finding in found:
        click.echo(finding, err=True)
    if any(finding.is_error for finding in found):
        raise Refused(f"{directory} is not packed")
    data, described = packing.build(directory, version or _now(), private_key, compression)
    _write_package(output, data)
    click.echo(f"wrote {output}", err=True)
    _tell(described, as_json=as_json)


@click.command()
@click.argument("file", type=_FILE)
@click.option("--key", type=click.Path(path_type=Path), metavar="KEYFILE", default=KEY_FILE, show_default=True)
@_version_option
@json_option
def sign(file: Path, key: Path, version: str | None, as_json: bool) -> None:
    """Sign a package, in its place. It keeps its version, or gets V; the time is the version where it has none.

    A manifest that is not about the package's contents is refused: somebody changed one of them.

    \b
    Example:
      monagent sensor sign packages/disk.tar.bz2 --key sensor-signing.key
    """  # noqa: D301 - click wants the backspace itself
    private_key = _read_key(key)
    data, _ = _read_file(file, LIMITS.compressed)
    try:
        with packing.unpacked(data) as directory:
            old = manifest.read(directory)
            if old is not None:
                manifest.check(old, directory.name, tree.content_of(directory))
            version = version or (old.version if old else _now())
            signed, described = packing.build(directory, version, private_key, packing.compression_of(data))
    except PackageRefused as refusal:
        raise PackageRefused(f"{file}: {refusal}") from refusal
    _write_package(file, signed)
    click.echo(f"signed {file}", err=True)
    _tell(described, as_json=as_json)


# -- keygen ---------------------------------------------------------------------------------------------------------


@click.command()
@click.argument("file", type=click.Path(path_type=Path), default=KEY_FILE)
@json_option
def keygen(file: Path, as_json: bool) -> None:
    """Make a key that packages are signed with, in FILE (default: sensor-signing.key).

    FILE is for whoever signs and for nobody else: keep it off the monitored hosts and off the server.
    The line that is printed is for [sensor] in the client.cfg of each host; it is no secret.

    \b
    Example:
      monagent sensor keygen
      public_key = fFdU0XEhGGpLVmrOuiAfp3xIgrq3D4vPLVqYyBMfCmg=
    """  # noqa: D301 - click wants the backspace itself
    from cryptography.hazmat.primitives import serialization  # noqa: PLC0415 - slow, and few commands need it
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey  # noqa: PLC0415

    key = Ed25519PrivateKey.generate()
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    raw = key.public_key().public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
    _write_key(file, pem)
    public = base64.b64encode(raw).decode()
    if as_json:
        print_json({"file": str(file), "public_key": public})
    else:
        click.echo(f"public_key = {public}")
    click.echo(
        f"wrote {file}: it signs packages (monagent sensor pack --key {file}); keep it secret and keep a copy\n"
        "the public_key line goes into [sensor] of client.cfg; once it is restarted or reloaded, an agent takes signed packages only",
        err=True,
    )


def _write_key(path: Path, pem: bytes) -> None:
    try:
        descriptor = os.open(path, _NEW, 0o600)
    except FileExistsError:
        raise Refused(f"{path} exists; a key is never overwritten") from None
    try:
        with open(descriptor, "wb") as file:
            file.write(pem)
            file.flush()
            os.fsync(descriptor)
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    sync_directory(path.parent)
