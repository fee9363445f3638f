"""`monagent sensor keygen`, run as its users do. How keys are read: test_sensor_packages.py."""

from __future__ import annotations

import json
import re
import stat
from pathlib import Path

from monagent.config import values
from tests.unit.cli.program import monagent


def test_a_key_is_for_its_owner_alone(tmp_path: Path, config: Path) -> None:
    """Its public half is a line of client.cfg, and nothing secret is printed."""
    done = monagent("sensor", "keygen", "my.key", cwd=tmp_path)
    path = tmp_path / "my.key"
    config.write_text(config.read_text() + f"[sensor]\n{done.stdout}")

    assert done.returncode == 0
    assert re.fullmatch(r"public_key = [A-Za-z0-9+/]{43}=\n", done.stdout)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert path.read_text().startswith("-----BEGIN PRIVATE KEY-----\n")
    assert path.read_text().splitlines()[1] not in done.stdout + done.stderr
    assert "[sensor] of client.cfg" in done.stderr
    assert monagent("check-config", "-c", config).returncode == 0
    assert done.stdout in monagent("config", "-c", config).stdout


def test_a_key_can_be_told_to_programs(tmp_path: Path) -> None:
    """As JSON, with the file."""
    told = json.loads(monagent("sensor", "keygen", "--json", cwd=tmp_path).stdout)

    assert told["file"] == "sensor-signing.key"
    assert len(values.public_key(told["public_key"], tmp_path)) == 32


def test_a_key_is_never_overwritten(tmp_path: Path) -> None:
    """1; nor is a link followed."""
    key = tmp_path / "sensor-signing.key"
    key.write_text("mine")
    (tmp_path / "link").symlink_to("elsewhere")
    again, link = monagent("sensor", "keygen", cwd=tmp_path), monagent("sensor", "keygen", "link", cwd=tmp_path)

    assert (again.returncode, again.stdout) == (1, "")
    assert again.stderr == "monagent: sensor-signing.key exists; a key is never overwritten\n"
    assert (link.returncode, link.stdout) == (1, "")
    assert key.read_text() == "mine"
    assert not (tmp_path / "elsewhere").exists()
