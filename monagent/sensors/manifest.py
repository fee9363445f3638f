"""The manifest of a sensor package: what is in the package, and who vouches for it.

It is the file `MANIFEST` in the package's top directory, ASCII, these lines in this order:

    monagent sensor package 1
    name: disk
    version: 1.2.0
    digest: sha256:<64 hex digits>         see `tree`
    size: 12345                            bytes of all files but this one
    signature: ed25519:<base64>            may be left out; over all lines before it, the last LF included

`authenticate()` is what an agent asks before it installs a package. The other functions are its parts, for those who
make packages. `cryptography` is imported only where a signature is made or looked at: it costs memory and time that an
agent without `public_key` need not spend.
"""

from __future__ import annotations

import base64
import errno
import os
import re
import stat
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from monagent.errors import PackageRefused
from monagent.models import is_sensor_name
from monagent.sensors.tree import MANIFEST, Content

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

LIMIT_BYTES = 4096

_HEAD = "monagent sensor package 1"
_VERSION = r"[0-9]{1,14}(?:\.[0-9]{1,14}){0,4}"
_LINES = (
    (re.compile(_HEAD), _HEAD),
    (re.compile(r"name: ([!-~]{1,64})"), "name: and a sensor's name"),
    (re.compile(rf"version: ({_VERSION})"), "version: and up to five numbers with dots between them"),
    (re.compile(r"digest: (sha256:[0-9a-f]{64})"), "digest: sha256: and 64 hex digits"),
    (re.compile(r"size: (0|[1-9][0-9]{0,14})"), "size: and a number of bytes"),
    # The last character before == holds two bits; with the other four free, one signature could be written in 16 ways.
    (re.compile(r"signature: ed25519:([A-Za-z0-9+/]{85}[AQgw]==)"), "signature: ed25519: and 64 bytes in base64"),
)
_SIGNATURE_LINE = len(_LINES)
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a package says about itself. `size` in bytes; `signature` is empty or 64 bytes."""

    name: str
    version: str
    digest: str
    size: int
    signature: bytes = b""


# -- the text -------------------------------------------------------------------------------------------------------


def parse(data: bytes) -> Manifest:
    """Read a manifest strictly: `render()` of the result gives the same bytes.

    Raises:
        PackageRefused: with the line that is wrong.
    """
    if len(data) > LIMIT_BYTES:
        raise PackageRefused(f"{MANIFEST} is larger than {LIMIT_BYTES} bytes")
    if not data.isascii():
        raise PackageRefused(f"line {_line_of_first_odd_byte(data)} of {MANIFEST} must be ASCII")
    lines = data.decode("ascii").split("\n")
    if lines.pop():
        raise PackageRefused(f"line {len(lines) + 1} of {MANIFEST} must end with a line feed")
    lines += [""] * (_SIGNATURE_LINE - 1 - len(lines))
    found = [_value(number, line) for number, line in enumerate(lines, 1)]
    _, name, version, digest, size, *signature = found
    if not is_sensor_name(name):
        raise _refused(2)
    return Manifest(name, version, digest, int(size), base64.b64decode("".join(signature)))


def _value(number: int, line: str) -> str:
    if number > len(_LINES):
        raise PackageRefused(f"line {number} of {MANIFEST} is one too many")
    match = _LINES[number - 1][0].fullmatch(line)
    if match is None:
        raise _refused(number)
    return match[match.lastindex or 0]


def _refused(number: int) -> PackageRefused:
    return PackageRefused(f'line {number} of {MANIFEST} must be "{_LINES[number - 1][1]}"')


def _line_of_first_odd_byte(data: bytes) -> int:
    first = next(place for place, byte in enumerate(data) if byte > 0x7F)
    return data.count(b"\n", 0, first) + 1


def render(manifest: Manifest) -> bytes:
    """The bytes of the file."""
    text = signed_part(manifest)
    if manifest.signature:
        text += b"signature: ed25519:" + base64.b64encode(manifest.signature) + b"\n"
    return text


def signed_part(manifest: Manifest) -> bytes:
    """The bytes that the signature is over."""
    return (
        f"{_HEAD}\nname: {manifest.name}\nversion: {manifest.version}\n"
        f"digest: {manifest.digest}\nsize: {manifest.size}\n"
    ).encode()


def read(directory: Path) -> Manifest | None:
    """The manifest in a sensor's directory, or None when it has none.

    Raises:
        PackageRefused: there is something of that name that is no manifest.
        OSError: it cannot be read.
    """
    try:
        descriptor = os.open(directory / MANIFEST, _READ)
    except FileNotFoundError:
        return None
    except OSError as error:
        if error.errno in {errno.ELOOP, errno.ENXIO}:  # a symbolic link, a socket
            raise _not_a_file() from None
        raise
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise _not_a_file()
        return parse(os.read(descriptor, LIMIT_BYTES + 1))
    finally:
        os.close(descriptor)


def _not_a_file() -> PackageRefused:
    return PackageRefused(f"{MANIFEST} is not a regular file")


# -- versions -------------------------------------------------------------------------------------------------------


def is_version(text: str) -> bool:
    """One to five numbers of at most 14 digits with dots between them."""
    return re.fullmatch(_VERSION, text) is not None


def is_older(version: str, other: str) -> bool:
    """Whether the first version comes before the second; 1.2 and 1.2.0 are the same.

    Raises:
        ValueError: one of them is no version.
    """
    return _numbers(version) < _numbers(other)


def _numbers(version: str) -> list[int]:
    if not is_version(version):
        raise ValueError(f"{version!r} is not a version")
    numbers = [int(group) for group in version.split(".")]
    while numbers and numbers[-1] == 0:
        numbers.pop()
    return numbers


# -- trust ----------------------------------------------------------------------------------------------------------


def authenticate(
    manifest: Manifest | None,
    *,
    name: str,
    content: Content,
    public_key: bytes | None,
    installed_version: str | None,
) -> None:
    """Decide whether a package may be installed.

    Args:
        manifest: the package's own, None when it has none.
        name: the sensor that it is to become.
        content: what was unpacked.
        public_key: 32 bytes; when there is none, a manifest may be missing, nobody looks at its signature, and an
            older version is fine. Name, digest and size must match where there is a manifest.
        installed_version: the version that it would replace; None or empty when that is not known.

    Raises:
        PackageRefused: with the first of these that does not hold: name, signature, contents, version.
    """
    if manifest is not None:
        _check_name(manifest, name)
    if public_key:
        _check_signature(manifest, public_key)
    if manifest is not None:
        _check_content(manifest, content)
        if public_key:
            _check_version(manifest, installed_version)


def check(manifest: Manifest, name: str, content: Content) -> None:
    """Require that a manifest is about this sensor and these contents.

    Raises:
        PackageRefused: it is not.
    """
    _check_name(manifest, name)
    _check_content(manifest, content)


def verify(manifest: Manifest | None, public_key: bytes, installed_version: str | None) -> None:
    """Require that whoever owns the key signed this manifest, and that it leads back to no older version.

    Raises:
        PackageRefused: there is no signature, it is not by this key, or the version is older.
    """
    _check_version(_check_signature(manifest, public_key), installed_version)


def _check_name(manifest: Manifest, name: str) -> None:
    if manifest.name != name:
        raise PackageRefused(f"the package is made for sensor {manifest.name}, not for {name}")


def _check_content(manifest: Manifest, content: Content) -> None:
    if manifest.size != content.size:
        raise PackageRefused(f"the package holds {content.size} bytes, and its manifest says {manifest.size}")
    if manifest.digest != content.digest:
        raise PackageRefused("the package does not hold the files that its manifest was made for")


def _check_signature(manifest: Manifest | None, public_key: bytes) -> Manifest:
    if manifest is None:
        raise PackageRefused(f"the package has no {MANIFEST}, and only signed packages are taken")
    if not manifest.signature:
        raise PackageRefused("the package is not signed, and only signed packages are taken")
    from cryptography.exceptions import InvalidSignature  # noqa: PLC0415 - see the module's docstring
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey  # noqa: PLC0415

    try:
        Ed25519PublicKey.from_public_bytes(public_key).verify(manifest.signature, signed_part(manifest))
    except InvalidSignature:
        raise PackageRefused("the package is not signed by the key that is trusted here") from None
    return manifest


def _check_version(manifest: Manifest, installed: str | None) -> None:
    if installed and is_older(manifest.version, installed):
        raise PackageRefused(f"version {manifest.version} is older than {installed}, which is installed")


def sign(manifest: Manifest, private_key: Ed25519PrivateKey) -> Manifest:
    """The same manifest with a new signature."""
    return replace(manifest, signature=private_key.sign(signed_part(manifest)))
