"""A journal in a directory of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from monagent.agent.journal import Journal
from tests.unit.agent.parts import ROOMY

OpenJournal = Callable[..., Journal]


@pytest.fixture
def open_journal(tmp_path: Path) -> Iterator[OpenJournal]:
    """Opens the journal in the test's directory; also again, after `stop()`."""
    opened: list[Journal] = []

    def start(limit: int = ROOMY, **settings: Any) -> Journal:
        journal = Journal(tmp_path / "journal.db", limit, **settings)
        journal.start()
        opened.append(journal)
        return journal

    yield start
    for journal in opened:
        if journal._writer._thread is not None and journal._writer._thread.is_alive():
            journal.stop()


@pytest.fixture
def journal(open_journal: OpenJournal) -> Journal:
    """A journal that was just made."""
    return open_journal()
