"""Sensors to be packed, the keys that sign them, and what no package holds."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from monagent.sensors.manifest import Manifest

KEY, OTHER_KEY = (Ed25519PrivateKey.from_private_bytes(bytes([number] * 32)) for number in (1, 2))
PUBLIC = KEY.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
HELP = "#!/bin/sh\n[ \"$1\" = options ] && echo 'a sensor' || echo 5\n"
DESCRIBED = Manifest("disk", "1", "sha256:" + "0" * 64, 1)

Files = dict[str, tuple[bytes, bool]]
"""Path → content and whether it is executable."""


def write(directory: Path, files: Files) -> Path:
    """Make a directory that holds these."""
    directory.mkdir(parents=True)
    for path, (content, executable) in files.items():
        place = directory / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(content)
        place.chmod(0o755 if executable else 0o644)
    return directory


def listen(path: Path) -> None:
    """Leave a socket there."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))


ODD: list[tuple[Callable[[Path], object], str]] = [
    (lambda path: path.symlink_to("check"), "is a symbolic link"),
    (lambda path: path.symlink_to("nowhere"), "is a symbolic link"),
    (lambda path: path.symlink_to("/etc"), "is a symbolic link"),
    (os.mkfifo, "is a special file"),
    (listen, "is a special file"),
]
"""What makes something that is no file and no directory, and what is said about it."""

REFUSED_NAMES = [
    "new\nline",
    "tab\t",
    "back\\slash",
    "esc\x1b[2J",
    "\udcff",
    "a\u202eb",
    "/".join("d" * 16),
    "/".join(["d" * 200] * 3),
]
"""Names that an agent takes from nobody."""
