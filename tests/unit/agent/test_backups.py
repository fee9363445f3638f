"""Backup jobs beside the agent: what becomes of runs that say nothing, or always the same."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from monagent.agent import backups
from monagent.agent.backups import Backups
from monagent.errors import SyncStopped
from monagent.sync.job import SyncJob


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    """What a run tells goes in at the second end."""
    ours, theirs = os.pipe()
    yield ours, theirs
    for descriptor in (ours, theirs):
        os.close(descriptor)


@pytest.fixture
def jobs(tmp_path: Path) -> Backups:
    """With a job that is under way."""
    made = Backups({"j": SyncJob("j", tmp_path / "s", tmp_path / "t", tmp_path / "state")})
    made._running["j"] = {}
    return made


def progress(count: int) -> bytes:
    """A sign of life."""
    told = {"round": 1, "entries": count, "total": 9, "bytes": 0, "seconds": time.monotonic()}
    return json.dumps({"progress": told}).encode() + b"\n"


def test_a_run_that_says_nothing_is_given_up(
    jobs: Backups, pipe: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk keeps it waiting."""
    monkeypatch.setattr(backups, "SILENCE_SECONDS", 0.2)
    with pytest.raises(SyncStopped, match="no sign of life"):
        jobs._follow("j", pipe[0])


def test_a_run_that_does_not_get_on_is_given_up(
    jobs: Backups, pipe: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its clock is no progress; as long as it gets on it is followed."""
    monkeypatch.setattr(backups, "STANDSTILL_SECONDS", 0.4)
    stop = threading.Event()

    def beat() -> None:
        for count in (1, 2, 3, 4, *[4] * 100):
            os.write(pipe[1], progress(count))
            if stop.wait(0.2):
                return

    beating = threading.Thread(target=beat)
    beating.start()
    with pytest.raises(SyncStopped, match="has not got on"):
        jobs._follow("j", pipe[0])
    stop.set()
    beating.join()

    assert jobs.progress()["j"]["entries"] == 4
