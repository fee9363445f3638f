"""Make each value of a definition what it is kept as: the same meaning always has the same form.

A reader takes what a TOML file, a command line or JSON gives, and raises ValueError saying what would do.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any, TypeAlias

from monagent.addresses import address as mail_address
from monagent.alarms import ranges
from monagent.config import values
from monagent.models import is_sensor_name
from monagent.server.site.names import hint

Reader: TypeAlias = Callable[[Any], Any]

NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")
HOST_NAME = re.compile(r"[A-Za-z0-9_.-]{1,255}")
_UNFIT = re.compile("[\0\ud800-\udfff]")
TEXT_LIMIT = 4096
LIST_LIMIT = 100_000
ARGUMENTS_LIMIT = 100
_HERE = Path("/")
_TYPES = {
    bool: "true or false", int: "a whole number", float: "a number", str: "a text", list: "a list", dict: "a table",
}  # fmt: skip


class WrongItem(ValueError):
    """One item of a list is wrong; `item` counts from 0."""

    def __init__(self, item: int, message: str) -> None:
        super().__init__(message)
        self.item = item


def _shown(value: Any) -> str:
    return _TYPES.get(type(value), "a date or a time")


def text(value: Any) -> str:
    """Text that a database and a command line can hold."""
    if type(value) is not str:
        raise ValueError(f'must be a text in quotes, not {_shown(value)} (example: "text")')
    if len(value) > TEXT_LIMIT:
        raise ValueError(f"is too long: {len(value)} characters, {TEXT_LIMIT} at most")
    if _UNFIT.search(value):
        raise ValueError("holds a character that no text can hold (NUL, or bytes that are not UTF-8)")
    return value


def boolean(value: Any) -> bool:
    """True or false."""
    if type(value) is not bool:
        raise ValueError(f"must be true or false, not {_shown(value)}")
    return value


def whole(lowest: int, highest: int) -> Reader:
    """A whole number within bounds, both included."""

    def read(value: Any) -> int:
        if type(value) is not int or not lowest <= value <= highest:
            shown = value if type(value) is int and abs(value) < 10**9 else "this"
            raise ValueError(f"must be a whole number from {lowest} to {highest}, which {shown} is not")
        return value

    return read


def amount(value: Any) -> float:
    """A number that is 0 or more."""
    if type(value) not in (int, float) or not 0 <= value < 1e15:
        raise ValueError("must be a number that is 0 or more (example: 2.5)")
    return float(value)


def word(value: Any) -> str:
    """A name."""
    if not NAME.fullmatch(text(value)):
        raise ValueError(f'"{value[:40]}" is no name (letters, digits, _ . - and at most 64 of them)')
    return str(value)


def host_name(value: Any) -> str:
    """A host's name."""
    if not HOST_NAME.fullmatch(text(value)):
        raise ValueError(f'"{value[:40]}" is no host\'s name (letters, digits, _ . - and at most 255 of them)')
    return str(value)


def sensor_name(value: Any) -> str:
    """A sensor's name."""
    if not is_sensor_name(text(value)):
        raise ValueError(
            f'"{value[:40]}" is no sensor\'s name (letters, digits, _ - . and at most 64; not starting with . or -)'
        )
    return str(value)


def choice(*allowed: str) -> Reader:
    """One of a few words."""

    def read(value: Any) -> str:
        if text(value) not in allowed:
            raise ValueError(f'"{value[:40]}" is none of: {", ".join(allowed)}{hint(value, allowed, listing=False)}')
        return str(value)

    return read


def many(reader: Reader, *, ordered: bool = False) -> Reader:
    """A list of such values, each once; sorted, unless their order means something."""

    def read(value: Any) -> list[Any]:
        items = dict.fromkeys(_each(value, reader, LIST_LIMIT))
        return list(items) if ordered else sorted(items)

    return read


def _each(value: Any, reader: Reader, limit: int) -> list[Any]:
    if not isinstance(value, list | tuple):
        raise ValueError(f'must be a list, not {_shown(value)} (example: ["one", "two"])')  # noqa: TRY004 - as all readers
    if len(value) > limit:
        raise ValueError(f"has {len(value)} items, {limit} at most")
    found = []
    for item, one in enumerate(value):
        try:
            found.append(reader(one))
        except ValueError as error:
            raise WrongItem(item, str(error)) from None
    return found


def arguments(value: Any) -> list[Any]:
    """What a sensor is given: strings or numbers."""
    return _each(value, _argument, ARGUMENTS_LIMIT)


def _argument(value: Any) -> Any:
    if type(value) is int and -(2**63) <= value < 2**63:
        return value
    if type(value) is float and math.isfinite(value):
        return value
    if type(value) is not str:
        raise ValueError("an argument is a text or a number")
    if re.search("[\x01-\x08\x0b\x0c\x0e-\x1f\x7f\ufffe\uffff]", text(value)):
        raise ValueError("holds a control character, which cannot be sent to an agent")
    return value


def threshold(value: Any) -> str:
    """A range as Nagios plug-ins know it; empty: none."""
    written = str(value) if type(value) in (int, float) else text(value).strip()
    if len(written) > 255:
        raise ValueError("is too long for a range (example: 10:20)")
    ranges.parse(written)
    return written


def address(value: Any) -> str:
    """A host's name or address alone."""
    written = text(value)
    if ":" in written:
        try:
            ip_address(written)
        except ValueError:
            raise ValueError(f'"{written[:80]}": it is a name or an address alone; its port goes with port') from None
    elif not HOST_NAME.fullmatch(written):
        raise ValueError(f'"{written[:80]}" is neither a name nor an address (examples: web1.example.org, 192.0.2.10)')
    return written


def network(value: Any) -> str:
    """A network or an address."""
    written = text(value)
    try:
        ip_network(written)
    except ValueError:
        raise ValueError(f'"{written[:80]}" is not a network (example: 192.0.2.0/24)') from None
    return written


def mail(value: Any) -> str:
    """A mail address."""
    return mail_address(text(value))


def url(value: Any) -> str:
    """An http or https URL."""
    return values.url(text(value), _HERE)


def absolute_path(value: Any) -> str:
    """A path that means the same wherever a server was started."""
    if not text(value).startswith("/") or not value.isprintable():
        raise ValueError(f'"{value[:80]}" must be a whole path (example: /etc/monagent/{"webhook.secret"})')
    return str(value)


def filled(reader: Reader) -> Reader:
    """What the reader makes of it, which must not be empty."""

    def read(value: Any) -> Sequence[Any]:
        found: Sequence[Any] = reader(value)
        if not found:
            raise ValueError("must not be empty")
        return found

    return read


def or_empty(reader: Reader) -> Reader:
    """What the reader makes of it, or nothing where it is empty."""

    def read(value: Any) -> Any:
        return "" if value == "" else reader(value)

    return read
