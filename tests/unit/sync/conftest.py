"""Two directories and a job between them."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from monagent.sync.job import SYNC, SyncJob
from monagent.sync.report import Report
from monagent.sync.run import run
from monagent.sync.tally import Item, read_items
from tests.support.trees import write

FILES: dict[str, str | bytes] = {f"d{number % 3}/f{number}": f"content {number}" for number in range(20)}


def settle() -> None:
    """Let the clock of the file system move on: what changes now is not as young as what was there."""
    time.sleep(0.06)


class Pair:
    """A source, a target and what is remembered of them; `sync()` runs the job."""

    def __init__(self, base: Path) -> None:
        self.source, self.target, self.state = base / "source", base / "target", base / "state"
        self.source.mkdir()

    def sync(self, mode: str = SYNC, *, accept: bool = False, **options: Any) -> Report:
        return run(SyncJob("pair", self.source, self.target, self.state, **options), mode, accept=accept)

    def items(self) -> dict[str, str]:
        """What the last run says of each path."""
        return {item.path: item.action for item in read_items(self.state)}

    def told(self) -> list[Item]:
        return list(read_items(self.state))

    def bins(self) -> dict[str, str]:
        """The files in the bin, by their path behind its date."""
        place = self.target.with_name("target.monagent-bin")
        found = sorted(path for path in place.glob("*/**/*") if path.is_file() and not path.is_symlink())
        return {str(path.relative_to(place)).partition("/")[2]: path.read_text() for path in found}


@pytest.fixture(autouse=True)
def _umask(own_umask: None) -> None:
    """Every test here runs one."""


@pytest.fixture
def pair(tmp_path: Path) -> Pair:
    """With twenty small files."""
    made = Pair(tmp_path)
    write(made.source, FILES)
    settle()
    return made


@pytest.fixture
def empty_pair(tmp_path: Path) -> Pair:
    """With nothing in it."""
    return Pair(tmp_path)
