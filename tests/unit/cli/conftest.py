"""Directories that the programs are run in."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.agent import write_sensor
from tests.support.ports import free_port


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A valid client.cfg on a free port, with a sensor."""
    write_sensor(tmp_path, "echo", '#!/bin/sh\n[ "$2" ] && echo "$2" >&2\necho "$1"\nexit "${3:-0}"\n')
    path = tmp_path / "client.cfg"
    path.write_text(f"[monitor]\nurl = http://127.0.0.1:{free_port()}/xmlrpc/\n[agent]\nport = {free_port()}\n")
    return path
