"""Run a stock sensor as the agent would: no shell, a clean environment, nothing on stdin."""

from __future__ import annotations

import dataclasses
import math
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NoReturn

import pytest

SENSORS = Path(__file__).resolve().parents[3] / "sensors"

SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
# Where the system has no Python of its own, the one that runs the tests takes its place.
CLEAN_ENVIRONMENT = {
    "PATH": f"{SYSTEM_PATH}:{Path(sys.executable).parent}",
    "LANG": "C.UTF-8",
    "HOME": "/",
}

# The agent ends a sensor after this time.
AGENT_TIMEOUT_SECONDS = 30.0

ONE_NUMBER = re.compile(r"-?[0-9]+(\.[0-9]+)?\n")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Outcome:
    """What one run of a sensor left behind."""

    status: int
    stdout: str
    stderr: str
    seconds: float

    def is_refusal(self) -> bool:
        """Whether the arguments were refused the way the contract wants it."""
        return self.status == 2 and self.stdout == "" and self.stderr.strip() != ""

    def is_unavailable(self) -> bool:
        """Whether the sensor said that it has no reading the way the contract wants it."""
        return self.status == 1 and self.stdout == "" and self.stderr.strip() != ""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sensor:
    """One sensor's program with the interpreter and environment it is run in."""

    program: Path
    interpreter: tuple[str, ...] = ()
    environment: Mapping[str, str] = dataclasses.field(default_factory=lambda: CLEAN_ENVIRONMENT)
    directory: Path = Path("/")

    def run(self, *arguments: str) -> Outcome:
        """Run the sensor to its end."""
        start = time.monotonic()
        done = subprocess.run(
            [*self.interpreter, str(self.program), *arguments],
            env=dict(self.environment),
            cwd=self.directory,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            timeout=AGENT_TIMEOUT_SECONDS,
            check=False,
        )
        return Outcome(
            status=done.returncode,
            stdout=done.stdout,
            stderr=done.stderr,
            seconds=time.monotonic() - start,
        )

    def number(self, *arguments: str) -> float:
        """Run the sensor and return its reading, which must be one finite number and all it prints."""
        outcome = self.run(*arguments)
        assert (outcome.status, outcome.stderr) == (0, ""), outcome
        assert ONE_NUMBER.fullmatch(outcome.stdout), outcome
        assert math.isfinite(float(outcome.stdout)), outcome
        return float(outcome.stdout)

    def within(self, **environment: str) -> Sensor:
        """Return this sensor with more in its environment."""
        return dataclasses.replace(self, environment={**self.environment, **environment})

    def started_in(self, directory: Path) -> Sensor:
        """Return this sensor with another working directory."""
        return dataclasses.replace(self, directory=directory)

    def altered(self, copy: Path, original: str, replacement: str) -> Sensor:
        """Return a copy of this sensor that differs in one place, mostly in the path of a file in /proc."""
        text = self.program.read_text(encoding="utf-8")
        assert original in text, f"{self.program} does not contain {original}"
        copy.write_text(text.replace(original, replacement), encoding="utf-8")
        copy.chmod(0o755)
        return dataclasses.replace(self, program=copy)


def bracketed(
    independent: Callable[[], float], reading: Callable[[], float], tolerance: float = 0.0, tries: int = 10
) -> None:
    """Require a reading that lies between what an independent source says before and after it.

    A number may be disturbed in between, so there are several tries, all of which must miss to fail.
    """
    misses = []
    for _ in range(tries):
        before = independent()
        value = reading()
        after = independent()
        if min(before, after) - tolerance <= value <= max(before, after) + tolerance:
            return
        misses.append((before, value, after))
    pytest.fail(f"no reading lay between what was seen before and after it: {misses}")


def missing(what: str) -> NoReturn:
    """Skip the test for want of a program, or fail it where everything must be tested for real."""
    if os.environ.get("MONAGENT_REQUIRE_REAL") == "1":
        pytest.fail(f"{what} is needed, and MONAGENT_REQUIRE_REAL forbids to go without")
    pytest.skip(f"{what} is not on this machine")
