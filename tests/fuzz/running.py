"""Run a fuzzer, and tidy up behind it."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import atheris


def run(write_seeds: Callable[[Path], None], one_input: Callable[[bytes], None]) -> None:
    """Fuzz in a child, since libFuzzer ends its process; ends this one with the child's code.

    Args:
        write_seeds: writes inputs to begin with into a directory.
        one_input: reads one; an exception of its own is a find.
    """
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        write_seeds(Path(folder))
        child = os.fork()
        if not child:
            given = [argument for argument in sys.argv[1:] if not argument.startswith("-")]
            atheris.Setup([*sys.argv, *([] if given else [folder])], one_input)
            atheris.Fuzz()
        _, status = os.waitpid(child, 0)
    sys.exit(abs(os.waitstatus_to_exitcode(status)))
