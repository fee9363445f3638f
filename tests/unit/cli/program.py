"""Run the two programs as their users do."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

SECONDS = 60
Done = subprocess.CompletedProcess[str]
MODULES = {"monagent": "monagent", "monserver": "monagent.cli.server"}


def run(program: str, *arguments: str | Path, cwd: Path | str = "/", **environment: str) -> Done:
    """Run one of the programs to its end; none of our own variables are inherited."""
    return subprocess.run(
        _command(program, *arguments),
        cwd=cwd,
        env=_environment(environment),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )


def monagent(*arguments: str | Path, cwd: Path | str = "/", **environment: str) -> Done:
    """Run `monagent`."""
    return run("monagent", *arguments, cwd=cwd, **environment)


def monserver(*arguments: str | Path, cwd: Path | str = "/", **environment: str) -> Done:
    """Run `monserver`."""
    return run("monserver", *arguments, cwd=cwd, **environment)


@contextmanager
def running(program: str, *arguments: str | Path, log: Path) -> Iterator[subprocess.Popen[str]]:
    """One of the programs while it runs; killed at the end."""
    with log.open("ab") as stderr:
        process = subprocess.Popen(
            _command(program, *arguments), env=_environment({}), stdout=stderr, stderr=stderr, text=True
        )
    try:
        yield process
    finally:
        process.kill()
        process.wait(20)


def as_nobody(command: str, *arguments: str | Path) -> Done:
    """Run `monagent` as an ordinary user although this is root.

    The user may not be able to read the checkout: what it needs is imported before root is given up.
    """
    script = (
        "import os, sys, encodings.utf_8_sig; from monagent.cli import main; import monagent.agent.service; "
        "[main.cli.get_command(None, name) for name in main.cli.list_commands(None)]; "
        "os.setgroups([]); os.setgid(65534); os.setuid(65534); sys.argv[0] = 'monagent'; main.main()"
    )
    return subprocess.run(
        [sys.executable, "-c", script, command, *map(str, arguments)],
        cwd="/",
        env=_environment({}),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )


def _command(program: str, *arguments: str | Path) -> list[str]:
    return [sys.executable, "-m", MODULES[program], *map(str, arguments)]


def _environment(extra: dict[str, str]) -> dict[str, str]:
    own = ("MONAGENT_CONFIG", "MONSERVER_CONFIG", "JOURNAL_STREAM")
    return {**{name: value for name, value in os.environ.items() if name not in own}, **extra}
