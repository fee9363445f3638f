"""`%(name)s` in configuration values, as configparser does it, but with a lone `%` left alone (`max_delete = 10%`)."""

from __future__ import annotations

import re
from collections.abc import Mapping, MutableMapping
from configparser import Interpolation, InterpolationDepthError, InterpolationMissingOptionError, RawConfigParser

_REFERENCE = re.compile(r"%%|%\(([^()]+)\)s")
_DEPTH = 10


class PercentInterpolation(Interpolation):
    """Names are looked up in the same section, then in `[DEFAULT]`; `%%` is a percent sign."""

    def before_get(
        self,
        parser: MutableMapping[str, Mapping[str, str]],
        section: str,
        option: str,
        value: str,
        defaults: Mapping[str, str],
    ) -> str:
        assert isinstance(parser, RawConfigParser)

        def expand(text: str, depth: int) -> str:
            if depth > _DEPTH:
                raise InterpolationDepthError(option, section, value)
            return _REFERENCE.sub(lambda match: referred(match, depth), text)

        def referred(match: re.Match[str], depth: int) -> str:
            if match[1] is None:
                return "%"
            raw = defaults.get(parser.optionxform(match[1]))
            if raw is None:
                raise InterpolationMissingOptionError(option, section, value, match[1])
            return expand(raw, depth + 1)

        return expand(value, 0)


def escape(value: str) -> str:
    """The text that reads back as `value`: nothing in it refers to another option."""
    return value.replace("%", "%%") if "%%" in value or "%(" in value else value
