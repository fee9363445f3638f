"""`monagent sensor new`, run as its users do."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.unit.cli.program import monagent


@pytest.mark.parametrize("language", ["sh", "python"])
def test_a_new_sensor_works(config: Path, language: str) -> None:
    """Where the agent looks for sensors; it prints a number, explains itself and says what it cannot do."""
    done = monagent("sensor", "new", "queue", "--language", language, "-c", config)
    (config.parent / "three").mkdir()
    for name in ("a b", "-c", ".d"):
        (config.parent / "three" / name).touch()

    def run(*arguments: str | Path) -> tuple[int, str]:
        ran = monagent("sensor", "run", "-c", config, "queue", *arguments)
        return ran.returncode, ran.stdout.strip()

    assert (done.returncode, done.stdout) == (0, f"{config.parent}/sensors/queue\n")
    assert f"monagent sensor lint {config.parent}/sensors/queue" in done.stderr
    assert run(config.parent / "three") == (0, "3")
    (config.parent / "none").mkdir()
    assert run(config.parent / "none") == (0, "0")
    assert run()[0] == 0
    assert run("/no/such/directory") == (1, "nan")
    assert run("a", "b") == (1, "nan")
    assert monagent("sensor", "lint", config.parent / "sensors" / "queue", "-c", config).returncode == 0
    assert sorted(os.listdir(config.parent / "sensors")) == ["echo", "queue"]


def test_a_new_sensor_is_as_the_configuration_wants_it(config: Path) -> None:
    """Its program's name, and the word for help."""
    config.write_text(config.read_text() + "[sensor]\nexecutable = probe\nhelp = --help\n")
    monagent("sensor", "new", "queue", "-c", config)
    program = config.parent / "sensors" / "queue" / "probe"

    assert program.stat().st_mode & 0o777 == 0o755
    assert subprocess.run([program, "--help"], capture_output=True, timeout=20).returncode == 0
    assert monagent("sensor", "lint", program.parent, "-c", config).returncode == 0


def test_what_is_there_is_not_made_new(tmp_path: Path) -> None:
    """1, and it stays as it is."""
    (tmp_path / "disk").mkdir()
    (tmp_path / "disk" / "check").write_text("mine")
    (tmp_path / "link").symlink_to("nowhere")
    for name in ("disk", "link"):
        done = monagent("sensor", "new", name, "--directory", tmp_path)

        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr == f"monagent: {tmp_path}/{name} exists, and stays as it is\n"
    assert (tmp_path / "disk" / "check").read_text() == "mine"
    assert not (tmp_path / "nowhere").exists()


def test_a_new_sensor_needs_a_name_and_a_place(tmp_path: Path, config: Path) -> None:
    """2 for a name that is none, 1 when there is no directory, 78 when there is no configuration to name one."""
    shutil.rmtree(config.parent / "sensors")

    assert monagent("sensor", "new", "../x", "--directory", tmp_path).returncode == 2
    assert monagent("sensor", "new", "x", "--directory", tmp_path / "none").returncode == 2
    assert monagent("sensor", "new", "x", "-c", config).stderr.startswith("monagent: there is no directory")
    assert monagent("sensor", "new", "x", "-c", config).returncode == 1
    assert monagent("sensor", "new", "x", "-c", tmp_path / "none.cfg").returncode == 78
