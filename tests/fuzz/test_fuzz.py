"""A short run of each fuzzer; a long one is started by hand."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

from tests.unit.sensors_stock.runner import missing

ROOT = Path(__file__).parents[2]


def test_fuzzing_packages_finds_nothing(tmp_path: Path) -> None:
    """Ten seconds of changed packages raise nothing but refusals, and those that are read keep the rules."""
    if importlib.util.find_spec("atheris") is None:
        missing("atheris")
    command = [sys.executable, "-m", "tests.fuzz.fuzz_archive", "-max_total_time=10", f"-artifact_prefix={tmp_path}/"]

    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)

    assert done.returncode == 0, done.stderr[-4000:]
    runs = re.search(r"Done (\d+) runs", done.stderr)
    assert runs is not None
    assert int(runs[1]) > 500
