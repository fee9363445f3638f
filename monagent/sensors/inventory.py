"""What version of a sensor is installed, told without running it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from monagent.errors import Refused
from monagent.models import Value
from monagent.sensors import manifest, tree


@dataclass(frozen=True, slots=True)
class Installed:
    """A sensor on disk: its manifest's version (empty without one) and the digest of what is there (see `tree`).

    `changed` tells that the files are not those that the manifest describes.
    """

    version: str
    digest: str
    changed: bool = False

    def as_value(self) -> dict[str, Value]:
        """As it is told to a server."""
        return {"version": self.version, "digest": self.digest, "changed": self.changed}


UNKNOWN = Installed("", "")
"""Of a sensor that cannot be read, or whose program stands elsewhere."""


def installed(directory: str | os.PathLike[str]) -> Installed:
    """What stands in a sensor's directory; `UNKNOWN` when it cannot be told."""
    try:
        described = manifest.read(Path(directory))
        content = tree.content_of(directory)
    except (OSError, Refused):
        return UNKNOWN
    if described is None:
        return Installed("", content.digest)
    return Installed(described.version, content.digest, changed=described.digest != content.digest)
