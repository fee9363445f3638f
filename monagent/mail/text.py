"""Make text from elsewhere fit to be shown: nothing in it controls, hides or turns what stands beside it."""

from __future__ import annotations

import re

ROW_LIMIT, TEXT_LIMIT = 500, 20_000
"""Characters of one line and of a text; what is longer is cut."""
_BLANK = re.compile(r"[\t\n\v\f\r\x85\u2028\u2029]+")
_UNFIT = re.compile(
    "[\x00-\x08\x0e-\x1f\x7f-\x84\x86-\x9f"  # controls
    "\ud800-\udfff"  # halves of characters
    "\ufdd0-\ufdef\ufffe\uffff"  # not characters
    "\ufff9-\ufffb\U000e0000-\U000e007f]"  # annotations and tags, which nobody sees
)
_TURNING = re.compile("[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ufeff\u00ad\u180e\u200b\u2060-\u2064]")
"""Marks that change the direction of what follows, or have no width. Joiners stay: words and pictures are made of them."""


def one_line(value: object, limit: int = ROW_LIMIT) -> str:
    """A value as one line of text, at most `limit` characters."""
    return _cut(_clean(_BLANK.sub(" ", str(value)[: limit * 2])).strip(), limit)


def paragraph(value: object, limit: int = TEXT_LIMIT) -> str:
    """A value as text that may have several lines."""
    lines = str(value)[: limit * 2].replace("\r\n", "\n").replace("\r", "\n").split("\n")
    return _cut("\n".join(_clean(_BLANK.sub(" ", line)).rstrip() for line in lines).strip("\n"), limit)


def _clean(text: str) -> str:
    return _TURNING.sub("", _UNFIT.sub("\N{REPLACEMENT CHARACTER}", text))


def _cut(text: str, limit: int) -> str:
    return text if len(text) <= limit else text[: limit - 1] + "…"
