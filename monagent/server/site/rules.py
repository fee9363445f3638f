"""Check all definitions of a site, and give them the form in which they are kept."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

from monagent.server.site import readers, together
from monagent.server.site.keys import Declared, declared
from monagent.server.site.model import KINDS, Content, Site, SiteProblem, WrongSite
from monagent.server.site.names import hint
from monagent.server.site.overrides import GROUP


def checked(site: Site) -> Site:
    """The site in the form in which it is kept: each value in one form only, defaults left out.

    Raises:
        WrongSite: with every problem in it.
    """
    problems: list[SiteProblem] = []
    definitions = {}
    for (kind, name), content in site.definitions.items():
        found = list(_problems_of_name(kind, name))
        if not found:
            definitions[kind, name] = read_content(kind, name, content, found)
        problems += found
    read = Site(definitions)
    spoilt = {(problem.kind, problem.name) for problem in problems}
    found = together.problems(read, spoilt, frozenset(site.definitions))
    problems += [_as_written(problem, site, read) for problem in found]
    if problems:
        raise WrongSite(problems)
    return read


def _as_written(problem: SiteProblem, written: Site, read: Site) -> SiteProblem:
    """The problem with its item counted in the list as it was written, which may have been in another order."""
    if problem.item is None:
        return problem
    key = problem.kind, problem.name
    item = read.definitions[key][problem.key][problem.item]
    return replace(problem, item=written.definitions[key][problem.key].index(item))


def read_content(kind: str, name: str, content: Content, problems: list[SiteProblem]) -> Content:
    """What a definition says, each value read; problems are added to the list."""
    known = declared(kind)
    unknown = [key for key in content if key not in known]
    problems += [SiteProblem(kind, name, key, _unknown_key(kind, name, key, content[key])) for key in unknown]
    found: dict[str, Any] = {}
    for key in known.values():
        if key.name in content:
            _read(kind, name, key, content[key.name], found, problems)
        elif key.required:
            problems.append(SiteProblem(kind, name, key.name, f"must be given: {key.meaning}"))
    if kind == "schedule" and found.get("splay") == found.get("every", "0s"):
        found.pop("splay", None)
    return found


def _read(kind: str, name: str, key: Declared, value: Any, found: dict[str, Any], problems: list[SiteProblem]) -> None:
    if type(value) is type(key.default) and value == key.default and not key.required:
        return
    try:
        read = key.read(value)
    except ValueError as error:
        problems.append(SiteProblem(kind, name, key.name, str(error), getattr(error, "item", None)))
        return
    if key.required or read != key.default:
        found[key.name] = read


def _unknown_key(kind: str, name: str, key: str, value: Any) -> str:
    if isinstance(value, dict):
        return f'there is no such key; a name with dots is written in quotes: [{kind}."{name}.{key}"]'
    return f"there is no such key{hint(key, declared(kind))}"


_NAMES: dict[str, Callable[[Any], str]] = {"host": readers.host_name, "sensor": readers.sensor_name}


def _problems_of_name(kind: str, name: str) -> Iterator[SiteProblem]:
    if kind not in KINDS:
        yield SiteProblem(kind, name, "", f"there is no such kind of definition{hint(kind, KINDS)}")
        return
    try:
        (_override_name if kind == "override" else _NAMES.get(kind, readers.word))(name)
    except ValueError as error:
        yield SiteProblem(kind, name, "", str(error))


def _override_name(name: str) -> str:
    owner, _, probe = name.rpartition("/")
    is_group = owner.startswith(GROUP)
    try:
        readers.word(probe)
        (readers.word if is_group else readers.host_name)(owner.removeprefix(GROUP))
    except ValueError:
        raise ValueError('must be named "HOST/PROBE" or "group:GROUP/PROBE" (example: "web1/root-disk")') from None
    return name
