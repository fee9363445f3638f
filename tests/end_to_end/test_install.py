"""What `pip install .` brings."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
STOCK = {"cpu", "disk", "file", "http", "load", "memory", "network", "processes", "tcp", "uptime"}


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project built into a wheel, from a copy of what git knows, and unpacked where nothing else is."""
    source, target = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("installed")
    files = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True, timeout=30).stdout
    subprocess.run(
        ["cp", "--parents", *files.decode().rstrip("\0").split("\0"), source], cwd=ROOT, check=True, timeout=30
    )
    command: list[str | Path] = [
        "pip",
        "install",
        "--quiet",
        "--no-deps",
        "--no-build-isolation",
        "--no-index",
        "--target",
        target,
        source,
    ]
    subprocess.run([sys.executable, "-m", *command], check=True, timeout=180)
    return target


def monagent(installed: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the installed program from a directory that is not the checkout."""
    environment = {**os.environ, "PYTHONPATH": str(installed), "PYTHONSAFEPATH": "1"}
    command = [sys.executable, "-m", "monagent", *arguments]
    return subprocess.run(command, cwd="/", env=environment, capture_output=True, text=True, timeout=60, check=False)


def test_the_stock_sensors_travel_with_the_package(installed: Path, tmp_path: Path) -> None:
    """`monagent init` of an installed package writes a configuration that is valid and sensors that run."""
    made = monagent(installed, "init", str(tmp_path / "agent"))
    config = str(tmp_path / "agent" / "client.cfg")

    assert made.returncode == 0, made.stderr
    assert {path.name for path in (tmp_path / "agent" / "sensors").iterdir()} == STOCK
    assert monagent(installed, "check-config", "-c", config).returncode == 0
    uptime = monagent(installed, "sensor", "run", "uptime", "-c", config)
    assert uptime.returncode == 0, uptime.stderr
    assert float(uptime.stdout) > 0


def test_the_package_says_that_it_is_typed(installed: Path) -> None:
    """Type checkers of other projects may use our annotations."""
    assert (installed / "monagent" / "py.typed").exists()
