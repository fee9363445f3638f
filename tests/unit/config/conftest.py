"""Configuration files to read and write."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from textwrap import dedent

import pytest

Write = Callable[[str], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes a client.cfg, given as an indented text."""
    path = tmp_path / "client.cfg"

    def make(text: str) -> Path:
        path.write_text(dedent(text).removeprefix("\n"), "utf-8")
        return path

    return make
