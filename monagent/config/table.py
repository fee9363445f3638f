"""Declare the options of a section once: their readers, defaults and meanings, as a dataclass.

The same declaration validates a file, fills in what it leaves out and writes the commented example.
"""

from __future__ import annotations

import dataclasses
from difflib import get_close_matches
from typing import Any, TypeVar

from monagent.config.manager import ConfigManager
from monagent.config.values import Reader
from monagent.errors import ConfigError, Problem

T = TypeVar("T")


@dataclasses.dataclass(frozen=True)
class Declared:
    """One option: its name in the file, how it is read, its default as text (None = must be given), its meaning."""

    name: str
    reader: Reader
    default: str | None
    meaning: str


def option(reader: Reader, default: str | None, meaning: str) -> Any:
    """A field of a section's dataclass, see `Declared`. A name that Python reserves ends with `_` there."""
    return dataclasses.field(metadata={"reader": reader, "default": default, "meaning": meaning}, kw_only=True)


def options_of(section: type) -> dict[str, Declared]:
    """The options of a section's dataclass, by the field's name."""
    return {
        field.name: Declared(name=field.name.rstrip("_"), **field.metadata) for field in dataclasses.fields(section)
    }


class Collector:
    """Reads sections and gathers every problem on the way, so that all are told together."""

    def __init__(self, manager: ConfigManager) -> None:
        self._manager = manager
        self._base = manager.path.absolute().parent
        self.problems: list[Problem] = []

    def complain(self, section: str, option: str, message: str) -> None:
        """Note a problem, with the line of its option, or of its section when the option is not there."""
        line = self._manager.line(section, option) or self._manager.line(section)
        self.problems.append(Problem(str(self._manager.path), line, section, option, message))

    def names(self, known: list[str], prefixes: list[str]) -> dict[str, list[str]]:
        """Complain about sections that nobody knows; give the names behind each prefix (`sensor:` → disk, load)."""
        named: dict[str, list[str]] = {prefix: [] for prefix in prefixes}
        for section in self._manager.sections():
            prefix, colon, name = section.partition(":")
            if section in known:
                continue
            if colon and f"{prefix}:" in named and name.strip():
                named[f"{prefix}:"].append(name)
            else:
                shown = [*known, *(f"{prefix}NAME" for prefix in prefixes)]
                self.complain(section, "", f"unknown section{_hint(section, shown)}")
        return named

    def read(self, section: str, cls: type[T]) -> T | None:
        """Make the section's record; None when something in it is wrong."""
        before = len(self.problems)
        declared = options_of(cls)
        known = [option.name for option in declared.values()]
        for name in self._manager.options(section):
            if name not in known:
                self.complain(section, name, f"unknown option{_hint(name, known)}")
        values = {field: self._value(section, option) for field, option in declared.items()}
        return cls(**values) if len(self.problems) == before else None

    def read_what_can_be(self, section: str, cls: type[T]) -> T:
        """Make the section's record with the defaults in place of what is wrong. All its options must have one."""
        values = {}
        for field, option in options_of(cls).items():
            before = len(self.problems)
            values[field] = self._value(section, option)
            if len(self.problems) > before:
                values[field] = option.reader(option.default or "", self._base)
        return cls(**values)

    def is_frame(self, section: str) -> bool:
        """Whether nothing is set in a section: all its options are empty."""
        return not any(self._manager.value(section, name) for name in self._manager.options(section))

    def _value(self, section: str, option: Declared) -> Any:
        try:
            text = self._manager.value(section, option.name)
        except ConfigError as error:
            self.problems.extend(error.problems)
            return None
        if text is None:
            text = option.default
        if text is None:
            self.complain(section, option.name, f"must be given: {option.meaning}")
            return None
        try:
            return option.reader(text.strip(), self._base)
        except ValueError as error:
            self.complain(section, option.name, str(error))
            return None


def _hint(word: str, known: list[str]) -> str:
    close = get_close_matches(word, known, n=1, cutoff=0.6)
    return f"; did you mean {close[0]}?" if close else f" (known: {', '.join(known)})"


def example(section: str, cls: type) -> str:
    """The section as it stands in a commented example file: every option with its default and its meaning."""
    lines = [f"[{section}]"]
    for option in options_of(cls).values():
        lines += [f"; {option.meaning}", f"{option.name} = {option.default or ''}".rstrip()]
    return "\n".join(lines) + "\n"
