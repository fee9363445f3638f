"""The built-in commands, one module each. A new command is a new module here with a `COMMAND`, and nothing else."""

from __future__ import annotations

import importlib
import pkgutil

from monagent.agent.commands.kind import CommandKind


def load() -> dict[str, CommandKind]:
    """Every command by its name on the wire."""
    kinds: dict[str, CommandKind] = {}
    for module in pkgutil.iter_modules(__path__, f"{__name__}."):
        kind = getattr(importlib.import_module(module.name), "COMMAND", None)
        if kind is not None:
            kinds[kind.method] = kind
    return kinds
