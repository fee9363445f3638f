"""Read the parameters of a question; what cannot be read is told with what would do."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from monagent.errors import MonagentError

PAGE = 100
PAGE_LIMIT = 1_000
"""Items in one answer: when nobody says, and at most."""
TEXT_LIMIT = 255
_WHOLE = re.compile(r"[0-9]{1,9}")
_SECONDS = re.compile(r"[0-9]{1,11}(\.[0-9]{1,6})?")
_UNFIT = re.compile("[\0\ud800-\udfff]")


class BadQuestion(MonagentError):
    """A parameter that cannot be used, and what would do."""

    def __init__(self, parameter: str, message: str) -> None:
        super().__init__(message)
        self.parameter = parameter


class NotThere(MonagentError):
    """What was asked for by name is not there."""


@dataclass(frozen=True, slots=True)
class Parameter:
    """What may be asked with.

    Attributes:
        read: makes it of its text, or raises ValueError saying what would do.
        schema: of OpenAPI.
        default: when it is not given.
        required: it must be given.
    """

    name: str
    read: Callable[[str], Any]
    help: str
    schema: Mapping[str, Any] = field(default_factory=lambda: {"type": "string"})
    default: Any = None
    required: bool = False


def values(known: Sequence[Parameter], given: Mapping[str, Any]) -> dict[str, Any]:
    """The values of all parameters.

    Args:
        known: that may be given.
        given: as they came: texts, or lists of texts where one came twice.

    Raises:
        BadQuestion: one is unknown, came twice, is missing or wrong.
    """
    names = [one.name for one in known]
    for name in given:
        if name not in names:
            shown = ", ".join(names) or "none"
            raise BadQuestion(name[:TEXT_LIMIT], f"there is no such parameter here; there are: {shown}")
    return {one.name: _value(one, given.get(one.name)) for one in known}


def _value(parameter: Parameter, given: Any) -> Any:
    if given is None:
        if parameter.required:
            raise BadQuestion(parameter.name, f"must be given: {parameter.help}")
        return parameter.default
    if not isinstance(given, str):
        raise BadQuestion(parameter.name, "must be given once only")
    try:
        return parameter.read(given)
    except ValueError as error:
        raise BadQuestion(parameter.name, str(error)) from None


# -- readers ----------------------------------------------------------------------------------------------------------


def text(given: str) -> str:
    """Any name."""
    if not given or len(given) > TEXT_LIMIT or _UNFIT.search(given):
        raise ValueError(f"must be 1 to {TEXT_LIMIT} characters")
    return given


def one_of(*words: str) -> Callable[[str], str]:
    """One of these words."""

    def read(given: str) -> str:
        if given not in words:
            raise ValueError(f"must be one of: {', '.join(words)}")
        return given

    return read


def whole(least: int, most: int) -> Callable[[str], int]:
    """A whole number between two."""

    def read(given: str) -> int:
        if not _WHOLE.fullmatch(given) or not least <= int(given) <= most:
            raise ValueError(f"must be a whole number from {least} to {most}")
        return int(given)

    return read


def moment(given: str) -> float:
    """A time as seconds since the epoch, of itself or of ISO 8601."""
    try:
        when = datetime.fromtimestamp(float(given), UTC) if _SECONDS.fullmatch(given) else datetime.fromisoformat(given)
    except (OSError, OverflowError, ValueError):
        raise ValueError(
            "must be a time in ISO 8601 (example: 2026-11-22T07:00:00Z; a + is written %2B), or seconds since 1970"
        ) from None
    return (when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp()


def named(name: str, help_text: str, *, required: bool = False) -> Parameter:
    """A parameter that takes a name."""
    return Parameter(name, text, help_text, required=required)


def worded(name: str, help_text: str, *words: str) -> Parameter:
    """A parameter that takes one of some words."""
    return Parameter(name, one_of(*words), help_text, {"type": "string", "enum": list(words)})


def timed(name: str, help_text: str) -> Parameter:
    """A parameter that takes a time."""
    return Parameter(name, moment, help_text, {"type": "string", "format": "date-time"})


LIMIT = Parameter(
    "limit", whole(1, PAGE_LIMIT), f"how many at most, {PAGE_LIMIT} and no more",
    {"type": "integer", "minimum": 1, "maximum": PAGE_LIMIT, "default": PAGE}, PAGE,
)  # fmt: skip
