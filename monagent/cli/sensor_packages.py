"""`monagent sensor lint|pack|sign`: make packages of sensors, and say what is wrong with them."""

from __future__ import annotations

import contextlib
import os
import stat
from datetime import UTC, datetime
from pathlib import Path

import click
from click.core import ParameterSource

from monagent.cli.options import config_option, json_option, print_json
from monagent.cli.signing_key import KEY_FILE, NEW_FILE, PEM_HEAD, read_file, read_key
from monagent.config import settings, values
from monagent.config.sections import SensorSection
from monagent.durable import sync_directory
from monagent.errors import PackageRefused, Refused
from monagent.sensors import linting, manifest, packing, tree
from monagent.sensors.decompress import LIMITS
from monagent.sensors.linting import Finding, Terms
from monagent.sensors.manifest import Manifest
from monagent.sensors.packing import COMPRESSIONS
from monagent.sensors.runner import Runner


def add_to(group: click.Group) -> None:
    """Make the commands part of `monagent sensor`."""
    for command in (lint, pack, sign):
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


def _write_package(path: Path, data: bytes) -> None:
    """Replace a file or make it, at once. A symbolic link stays one.

    Raises:
        Refused: there is something that is no package.
    """
    target = Path(os.path.realpath(path))
    old = None
    if target.exists():
        head, old = read_file(target, len(PEM_HEAD))
        if head.startswith(PEM_HEAD):
            raise Refused(f"{path} is a key, and is not overwritten")
    # A fixed name: what a crash leaves is overwritten by the next one, and does not pile up.
    beside = target.with_name(f".{target.name}.new")
    beside.unlink(missing_ok=True)
    descriptor = os.open(beside, NEW_FILE, 0o666)
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
        found = linting.lint(target, terms, public_key)
    else:
        found = linting.lint_package(read_file(target, LIMITS.compressed)[0], target.name, terms, public_key)
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
    private_key = read_key(key) if key else None
    output = output or Path(f"{packing.name_of(directory)}.tar.{compression}")
    if output.resolve().is_relative_to(directory.resolve()):
        raise Refused(f"{output} would be a part of the sensor; --output names another place")
    found = linting.lint(directory, _terms(_section(context, config), run=run))
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
    private_key = read_key(key)
    data, _ = read_file(file, LIMITS.compressed)
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
