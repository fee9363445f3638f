"""Names as text that any terminal, page and parser takes."""

from __future__ import annotations

import os
import unicodedata

_PLACES = 4096


def shown(path: str) -> str:
    """A path as text that any terminal, page and parser takes: what cannot be shown is written as an escape."""
    text = os.fsencode(path).decode("utf-8", "backslashreplace")
    text = "".join(_visible(char) for char in text) if not text.isprintable() else text
    return text if len(text) <= _PLACES else f"{text[: _PLACES // 2]} … {text[-_PLACES // 2 :]}"


def _visible(char: str) -> str:
    if unicodedata.category(char)[0] != "C":
        return char
    return char.encode("unicode_escape").decode()
