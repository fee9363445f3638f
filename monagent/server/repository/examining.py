"""Look into a package before it is kept: what an agent would have against it, and who signed it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from monagent.errors import PackageRefused
from monagent.protocol import PACKAGE_LIMIT
from monagent.sensors import linting, manifest, tree
from monagent.sensors.archive import top_of
from monagent.sensors.packing import compression_of, unpacked


@dataclass(frozen=True, slots=True)
class Examined:
    """A package that agents can install.

    Attributes:
        version: that its manifest names; empty without one.
        digest: of what it holds, as an agent tells it once it is installed.
        sha256: of the package itself, in hex.
        signed_by: fingerprint of the key whose signature was verified; None: none was.
        warnings: what is for the operator to judge.
    """

    sensor: str
    version: str
    digest: str
    sha256: str
    signed_by: str | None
    warnings: tuple[str, ...]


def examine(content: bytes, public_key: bytes | None = None) -> Examined:
    """Look at a package as an agent would; nothing of it is run.

    Args:
        content: the archive.
        public_key: Ed25519; when given, only a package signed by it will do.

    Raises:
        PackageRefused: with everything that agents would have against it.
        OSError: there is no room to unpack it.
    """
    if len(content) > PACKAGE_LIMIT:
        raise PackageRefused(f"the package is larger than {PACKAGE_LIMIT // 1024**2} MiB, which agents do not take")
    name = top_of(content)
    found = linting.lint_package(content, f"{name}.tar.{compression_of(content)}", linting.Terms(), public_key or b"")
    errors = [finding.message for finding in found if finding.is_error]
    if errors:
        raise PackageRefused("the package is not taken: " + "; ".join(errors))
    with unpacked(content) as directory:
        described = manifest.read(directory)
        digest = tree.content_of(directory).digest
    return Examined(
        sensor=name,
        version=described.version if described else "",
        digest=digest,
        sha256=hashlib.sha256(content).hexdigest(),
        signed_by=fingerprint(public_key) if public_key else None,
        warnings=tuple(finding.message for finding in found),
    )


def fingerprint(public_key: bytes) -> str:
    """The name of a key: SHA-256 in hex."""
    return hashlib.sha256(public_key).hexdigest()
