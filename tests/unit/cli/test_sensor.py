"""`monagent sensor`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from monagent.sensors.tree import content_of
from tests.unit.cli.program import monagent


def test_the_sensors_are_listed(config: Path) -> None:
    """With their programs; for programs as JSON."""
    config.write_text(config.read_text() + "[sensor:plugin]\ncommand = /bin/echo 5\ntimeout = 3\n")
    done, for_programs = monagent("sensor", "list", "-c", config), monagent("sensor", "list", "--json", "-c", config)
    check = f"{config.parent}/sensors/echo/check"

    assert (done.returncode, done.stderr) == (0, "")
    digest = content_of(config.parent / "sensors" / "echo").digest
    assert done.stdout == f"echo    -  {digest[7:19]}  {check}\nplugin  -  -             /bin/echo 5\n"
    unknown = {"version": "", "digest": "", "changed": False}
    assert json.loads(for_programs.stdout) == [
        {"name": "echo", "command": [check], "timeout": 30.0, **unknown, "digest": digest},
        {"name": "plugin", "command": ["/bin/echo", "5"], "timeout": 3.0, **unknown},
    ]


def test_a_reading_is_printed(config: Path) -> None:
    """The number on stdout, the sensor's complaints on stderr, exit code 0."""
    done = monagent("sensor", "run", "echo", "2.50", "grumble", "-c", config)

    assert (done.returncode, done.stdout, done.stderr) == (0, "2.50\n", "grumble\n")


def test_a_reading_can_be_had_as_json(config: Path) -> None:
    """All that would travel."""
    done = monagent("sensor", "run", "echo", "2.50", "--json", "-c", config)
    reading = json.loads(done.stdout)

    assert (done.returncode, done.stderr) == (0, "")
    assert set(reading) == {"ret_code", "data", "started", "duration", "error", "stderr", "metrics"}
    assert (reading["ret_code"], reading["data"], reading["error"]) == (0, "2.50", "")


@pytest.mark.parametrize(
    ("arguments", "printed", "talk"),
    [
        (["5", "", "3"], "5\n", "(ended with 3)\n"),
        (["text"], "nan\n", "(ended with 0, not-a-number)\n"),
        (["", "why", "2"], "nan\n", "why\n(ended with 2, not-a-number)\n"),
    ],
)
def test_a_number_that_cannot_be_trusted_is_a_negative_answer(
    config: Path, arguments: list[str], printed: str, talk: str
) -> None:
    """1, and stderr says how it ended."""
    done = monagent("sensor", "run", "-c", config, "echo", *arguments)

    assert (done.returncode, done.stdout, done.stderr) == (1, printed, talk)


@pytest.mark.parametrize(
    ("arguments", "code", "printed", "talk"),
    [
        (["DISK OK | /=2.50MB;5 b=1"], 0, "2.50\n", "DISK OK\n"),
        (["DISK OK | /=2.50MB;5", "grumble"], 0, "2.50\n", "DISK OK\ngrumble\n"),
        (["DISK WARNING | /=6MB;5", "", "1"], 1, "6\n", "DISK WARNING\n(ended with 1)\n"),
        (["DISK OK"], 1, "nan\n", "DISK OK\n(ended with 0, not-a-number)\n"),
    ],
)
def test_a_plug_in_is_run_as_the_agent_would(
    config: Path, arguments: list[str], code: int, printed: str, talk: str
) -> None:
    """Its first value on stdout, what it says to people on stderr."""
    config.write_text(config.read_text() + "[sensor:echo]\nformat = nagios\n")
    done = monagent("sensor", "run", "-c", config, "echo", *arguments)

    assert (done.returncode, done.stdout, done.stderr) == (code, printed, talk)


def test_options_behind_the_name_belong_to_the_sensor(config: Path) -> None:
    """Those that we do not know, and all behind two dashes."""
    done = monagent("sensor", "run", "-c", config, "echo", "--", "-1", "--json")

    assert (done.returncode, done.stdout, done.stderr) == (0, "-1\n", "--json\n")
    assert monagent("sensor", "run", "-c", config, "echo", "-5").stdout == "-5\n"


def test_a_sensor_that_is_not_there_is_a_negative_answer(config: Path) -> None:
    """1, and the sentence says where to look."""
    done = monagent("sensor", "run", "nothing", "-c", config)

    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "monagent: there is no sensor 'nothing' here; monagent sensor list names them all\n"


def test_a_reader_that_goes_away_is_no_error_of_ours(config: Path) -> None:
    """No traceback when the pipe is closed."""
    import subprocess  # noqa: PLC0415 - the one test that needs a pipe of its own
    import sys  # noqa: PLC0415

    command = f"{sys.executable} -m monagent sensor list -c {config} | true"
    done = subprocess.run(["/bin/sh", "-c", command], capture_output=True, text=True, timeout=60, cwd="/")

    assert done.stderr == ""
