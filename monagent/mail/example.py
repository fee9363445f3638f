"""The contexts that are shipped as examples, in each language."""

from __future__ import annotations

import json
from importlib import resources
from typing import Any

EXAMPLES = {"alert": "alert", "report": "report", "site": "report", "backup": "backup"}
"""By name: the template that shows it. `site` is a web site's traffic report."""


def example(name: str, language: str) -> dict[str, Any]:
    """One of `EXAMPLES` in one of `words.LANGUAGES`."""
    file = resources.files(__package__).joinpath("examples", f"{name}.{language}.json")
    found: dict[str, Any] = json.loads(file.read_text("utf-8"))
    return found
