"""Who runs the tests."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

NOBODY = 65534
AS_ROOT = os.geteuid() == 0

needs_root = pytest.mark.skipif(not AS_ROOT, reason="only root may do that")


@contextlib.contextmanager
def as_nobody(place: Path) -> Iterator[None]:
    """Act as a user to whom something is forbidden, in a directory that is given to that user."""
    if not AS_ROOT:
        yield
        return
    os.chown(place, NOBODY, NOBODY)
    os.setegid(NOBODY)
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)


def needs_program(name: str) -> pytest.MarkDecorator:
    """Skips a test where a program is missing; in CI it runs, and fails."""
    missing = shutil.which(name) is None and os.environ.get("MONAGENT_REQUIRE_REAL") != "1"
    return pytest.mark.skipif(missing, reason=f"{name} is not installed")
