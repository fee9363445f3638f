"""Read a site from a TOML file; what is wrong in it is told with its line."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from monagent.errors import ConfigError, Problem
from monagent.private_file import read_file
from monagent.server.site import rules
from monagent.server.site.model import KINDS, Content, Key, Site, SiteProblem, WrongSite
from monagent.server.site.names import hint
from monagent.server.site.places import Places

SIZE_LIMIT = 16 * 1024 * 1024
TOLD = 50
"""Problems that are told; nobody reads more at once."""
_AT = re.compile(r" \(at line ([0-9]+), column [0-9]+\)")
_AT_END = " (at end of document)"


def read_site(path: Path) -> Site:
    """The site that a file defines.

    Raises:
        ConfigError: with every problem in it, in the order of the file (the first fifty).
        Refused: there is no such file, or it cannot be read.
    """
    data, _ = read_file(path, SIZE_LIMIT, "definitions (16 MiB at most)")
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
    try:
        text = data.decode("utf-8").replace("\r\n", "\n")
        return text, tomllib.loads(text)
    except UnicodeDecodeError as error:
        raise _unreadable(file, data.count(b"\n", 0, error.start) + 1, "is not UTF-8 from here on") from None
    except tomllib.TOMLDecodeError as error:
        at = _AT.search(str(error))
        said = _AT.sub("", str(error))
        if _AT_END in said:
            said = said.replace(_AT_END, " at the end of the file: what was begun before is not closed")
        line = int(at[1]) if at else len(text.rstrip("\n").split("\n"))
        raise _unreadable(file, line, f"is no TOML: {said[:1].lower()}{said[1:]}") from None
    except (ValueError, RecursionError):
        raise _unreadable(file, None, "is no TOML that can be read: a number too long, or lists too deep") from None


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
    path = [part for part in (one.kind, one.name, one.key) if part]
    section = f"{one.kind}.{one.name}" if one.name else one.kind
    return Problem(file, places.line(path, one.item), section, one.key, one.message)
