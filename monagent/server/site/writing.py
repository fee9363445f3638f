"""Write a site as TOML: the same site is always the same text."""

from __future__ import annotations

import json
import re
from typing import Any

from monagent.server.site.keys import declared
from monagent.server.site.model import Content, Site

WIDTH = 120
_BARE = re.compile(r"[A-Za-z0-9_-]+")


def to_toml(site: Site) -> str:
    """All definitions: kinds in a fixed order, names sorted."""
    tables = [table(kind, name, site.definitions[kind, name]) for kind, name in site.ordered()]
    return "\n".join(tables)


def table(kind: str, name: str, content: Content) -> str:
    """One definition."""
    return "".join(f"{line}\n" for line in [header(kind, name), *lines(kind, content).values()])


def header(kind: str, name: str) -> str:
    """The line that a definition begins with."""
    return f"[{kind}.{name if _BARE.fullmatch(name) else _text(name)}]"


def lines(kind: str, content: Content) -> dict[str, str]:
    """The lines of a definition, by key."""
    return {key: _line(key, content[key]) for key in declared(kind) if key in content}


def _line(key: str, value: Any) -> str:
    line = f"{key} = {_value(value)}"
    if len(line) <= WIDTH or not isinstance(value, list):
        return line
    return "\n".join([f"{key} = [", *[f"    {_value(item)}," for item in value], "]"])


def _value(value: Any) -> str:
    if isinstance(value, list):
        return f"[{', '.join(map(_value, value))}]"
    if isinstance(value, bool):
        return "true" if value else "false"
    return _text(value) if isinstance(value, str) else repr(value)


def _text(value: str) -> str:
    # JSON leaves this one as it is, and TOML does not allow it.
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
