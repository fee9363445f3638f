"""`monagent sensor keygen`: the key that packages are signed with, and the file that it is kept in."""

from __future__ import annotations

import base64
import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING

import click

from monagent.cli.options import json_option, print_json
from monagent.durable import sync_directory
from monagent.errors import Refused

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

KEY_FILE = "sensor-signing.key"
PEM_HEAD = b"-----BEGIN"
"""How a key file begins, whatever key is in there."""
NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
"""For `os.open`: nothing is overwritten, and no symbolic link is followed."""

_READ = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_KEY_LIMIT = 64 * 1024


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
        descriptor = os.open(path, NEW_FILE, 0o600)
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


def read_key(path: Path) -> Ed25519PrivateKey:
    """The private key in a file that nobody else can read.

    Raises:
        Refused: it is no such file.
    """
    from cryptography.exceptions import UnsupportedAlgorithm  # noqa: PLC0415 - slow, and few commands need it
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey  # noqa: PLC0415
    from cryptography.hazmat.primitives.serialization import load_pem_private_key  # noqa: PLC0415

    try:
        data, found = read_file(path, _KEY_LIMIT)
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


def read_file(path: Path, limit: int) -> tuple[bytes, os.stat_result]:
    """A regular file, and never much more than `limit` bytes of it. Nothing else is waited for.

    Raises:
        Refused: it is something else.
        OSError: it cannot be read.
    """
    descriptor = os.open(path, _READ)
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise Refused(f"{path} is not a regular file")
        with open(descriptor, "rb", closefd=False) as file:
            return file.read(limit + 1), found
    finally:
        os.close(descriptor)
