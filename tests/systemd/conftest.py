"""These tests run on a host whose service manager they may use: see tests/integration/test_systemd.py, which runs them."""

from __future__ import annotations

import os

if os.environ.get("MONAGENT_ON_SYSTEMD_HOST") != "1":
    collect_ignore_glob = ["test_*"]
