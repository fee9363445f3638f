"""Who runs the tests."""

from __future__ import annotations

import os
import shutil

import pytest

AS_ROOT = os.geteuid() == 0

needs_root = pytest.mark.skipif(not AS_ROOT, reason="only root may do that")
needs_ordinary_user = pytest.mark.skipif(AS_ROOT, reason="nothing is forbidden to root")


def needs_program(name: str) -> pytest.MarkDecorator:
    """Skips a test where a program is missing; in CI it runs, and fails."""
    missing = shutil.which(name) is None and os.environ.get("MONAGENT_REQUIRE_REAL") != "1"
    return pytest.mark.skipif(missing, reason=f"{name} is not installed")
