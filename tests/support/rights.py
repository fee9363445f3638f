"""Who runs the tests."""

from __future__ import annotations

import os

import pytest

AS_ROOT = os.geteuid() == 0

needs_root = pytest.mark.skipif(not AS_ROOT, reason="only root may do that")
