"""The units under a real systemd: a throw-away host where there is a tool that boots one, or this very host."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.unit.sensors_stock.runner import missing

ROOT = Path(__file__).parents[2]
INNER = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-p", "no:xdist", "-q", "tests/systemd"]


@pytest.mark.timeout(280)
def test_the_units_work_under_a_real_systemd() -> None:
    """$MONAGENT_SYSTEMD_HOST names a tool: `TOOL run --bind SRC:DST … -- COMMAND` boots a host and runs a command in it."""
    tool = os.environ.get("MONAGENT_SYSTEMD_HOST", "")
    if os.geteuid() != 0:
        missing("root, to install units as,")
    if Path("/proc/1/comm").read_text().strip() == "systemd":
        command = INNER
    elif tool:
        command = [tool, "run", "--bind", str(ROOT), "--chdir", str(ROOT), "--env", "MONAGENT_ON_SYSTEMD_HOST=1"]
        names = ("MONAGENT_INSTALLED", "MONAGENT_REQUIRE_REAL")
        command += [word for name in names if name in os.environ for word in ("--env", name)]
        command += ["--timeout", "240", "--", *INNER]
    else:
        missing("systemd, or a tool that boots one ($MONAGENT_SYSTEMD_HOST),")
    environment = {**os.environ, "MONAGENT_ON_SYSTEMD_HOST": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=270)

    assert done.returncode == 0, done.stdout + done.stderr
    assert "skipped" not in done.stdout or os.environ.get("MONAGENT_REQUIRE_REAL") != "1", done.stdout
