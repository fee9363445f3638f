"""The sensors that come with monagent."""

from __future__ import annotations

import shutil
from pathlib import Path

import monagent

_PACKAGE = Path(monagent.__file__).parent


def stock_directory() -> Path:
    """Where they are: inside the installed package, or beside it in a checkout."""
    installed = _PACKAGE / "stock_sensors"
    return installed if installed.is_dir() else _PACKAGE.parent / "sensors"


def copy_stock_sensors(target: Path) -> list[str]:
    """Copy each sensor that `target` does not have yet, ready to run.

    Returns:
        The names of those that were copied.
    """
    copied = []
    for source in sorted(stock_directory().iterdir()):
        program = source / "check"
        if not program.is_file() or (target / source.name).exists():
            continue
        (target / source.name).mkdir(parents=True)
        copy = target / source.name / "check"
        shutil.copyfile(program, copy)
        # Installers may have dropped the bit.
        copy.chmod(0o755)
        copied.append(source.name)
    return copied
