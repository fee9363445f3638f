"""A short run of each fuzzer; a long one is started by hand."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.unit.sensors_stock.runner import missing

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("what", ["archive", "request"])
def test_fuzzing_finds_nothing(tmp_path: Path, what: str) -> None:
    """Ten seconds of changed packages and requests raise nothing but refusals, and those that are read keep the rules."""
    if importlib.util.find_spec("atheris") is None:
        missing("atheris")
    command = [sys.executable, "-m", f"tests.fuzz.fuzz_{what}", "-max_total_time=10", f"-artifact_prefix={tmp_path}/"]

    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)

    assert done.returncode == 0, done.stderr[-4000:]
    runs = re.search(r"Done (\d+) runs", done.stderr)
    assert runs is not None
    assert int(runs[1]) > 500
