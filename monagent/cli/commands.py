"""Commands that are loaded when they are wanted: most of what a program could do it does not do this time."""

from __future__ import annotations

import importlib
from typing import ClassVar

import click


class Commands(click.Group):
    """The commands of a program, by name: where each one is (`module.attribute`), and what it does in a few words."""

    table: ClassVar[dict[str, tuple[str, str]]] = {}

    def list_commands(self, _context: click.Context) -> list[str]:
        return list(self.table)

    def get_command(self, _context: click.Context, name: str) -> click.Command | None:
        if name not in self.table:
            return None
        module, _, attribute = self.table[name][0].partition(".")
        command = getattr(importlib.import_module(f"monagent.cli.{module}"), attribute)
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, _context: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, summary) for name, (_, summary) in self.table.items()])
