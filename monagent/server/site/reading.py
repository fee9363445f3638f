"""Read a site from a TOML file; what is wrong in it is told with its line."""

from __future__ import annotations

import codecs
import re
import tomllib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from monagent.errors import ConfigError, Problem, Refused
from monagent.private_file import read_file
from monagent.server.site import rules
from monagent.server.site.model import KINDS, Content, Key, Site, SiteProblem, Unreadable, WrongSite
from monagent.server.site.names import hint
from monagent.server.site.places import DIGITS, Places

SIZE_LIMIT = 16 * 1024 * 1024
TOLD = 50
"""Problems that are told; nobody reads more at once."""
_AT = re.compile(r" \(at line ([0-9]+), column [0-9]+\)")
_AT_END = " (at end of document)"


def read_site(path: Path) -> Site:
    """The site that a file defines.

    Raises:
        ConfigError: with every problem in it, in the order of the file (the first fifty).
        Unreadable: there is no such file, or it cannot be read.
    """
    try:
        data, _ = read_file(path, SIZE_LIMIT, "definitions (16 MiB at most)")
    except Refused as error:
        raise Unreadable(str(error)) from error
    return site_from(data, str(path))


def site_from(data: bytes, file: str) -> Site:
    """The site that a file's bytes define.

    Raises:
        ConfigError: with every problem in it, in the order of the file (the first fifty).
    """
    text, tables = _parsed(data, file)
    problems: list[SiteProblem] = []
    site = Site(dict(_definitions(tables, problems)))
    try:
        site = rules.checked(site)
    except WrongSite as wrong:
        problems += wrong.problems
    if problems:
        raise ConfigError(_placed(problems, text, file))
    return site


def _parsed(data: bytes, file: str) -> tuple[str, dict[str, Any]]:
    data = data.removeprefix(codecs.BOM_UTF8)
    try:
        text = data.decode("utf-8").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        raise _unreadable(file, data.count(b"\n", 0, error.start) + 1, "is not UTF-8 from here on") from None
    try:
        return text, tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        at = _AT.search(str(error))
        said = _AT.sub("", str(error))
        if _AT_END in said:
            said = said.replace(_AT_END, " at the end of the file: what was begun before is not closed")
        line = int(at[1]) if at else len(text.rstrip("\n").split("\n"))
        raise _unreadable(file, line, f"is no TOML: {said[:1].lower()}{said[1:]}") from None
    except RecursionError:
        raise _unreadable(file, None, "is no TOML that can be read: its lists are too deep") from None
    except ValueError:
        why = f"is no TOML that can be read: a number has more than {DIGITS} digits"
        raise _unreadable(file, Places(text).long_number, why) from None


def _unreadable(file: str, line: int | None, message: str) -> ConfigError:
    return ConfigError([Problem(file, line, "", "", message)])


def _definitions(tables: dict[str, Any], problems: list[SiteProblem]) -> Iterable[tuple[Key, Content]]:
    for kind, named in tables.items():
        if kind not in KINDS:
            problems.append(SiteProblem(kind, "", "", f"there is no such kind of definition{hint(kind, KINDS)}"))
        elif not isinstance(named, dict):
            problems.append(SiteProblem(kind, "", "", f"must be tables with names, like [{kind}.NAME]"))
        else:
            for name, content in named.items():
                if isinstance(content, dict):
                    yield (kind, name), content
                else:
                    problems.append(SiteProblem(kind, name, "", f"must be a table, [{kind}.NAME]"))


def _placed(problems: Sequence[SiteProblem], text: str, file: str) -> list[Problem]:
    places = Places(text)
    told = [_problem(one, places, file) for one in problems[:TOLD]]
    told.sort(key=lambda problem: problem.line or 0)
    if len(problems) > TOLD:
        told.append(Problem(file, None, "", "", f"{len(problems) - TOLD} more problems follow from here on"))
    return told


def _problem(one: SiteProblem, places: Places, file: str) -> Problem:
    path = [one.kind, one.name, one.key, *(() if one.item is None else (one.item,))]
    section = f"{one.kind}.{one.name}" if one.name else one.kind
    return Problem(file, places.line(path), section, one.key, one.message)
