"""Read what a mail is to show from a JSON file."""

from __future__ import annotations

import json
import sys
from typing import Any

import click

CONTEXT_BYTES = 16 * 1024 * 1024


def context_of(file: str) -> dict[str, Any]:
    """The object in a file; `-` is standard input.

    Raises:
        UsageError: there is none.
        OSError: the file cannot be read.
    """
    try:
        if file == "-":
            text = sys.stdin.buffer.read(CONTEXT_BYTES + 1)
        else:
            with open(file, "rb") as stream:
                text = stream.read(CONTEXT_BYTES + 1)
        if len(text) > CONTEXT_BYTES:
            raise click.UsageError(f"{file}: more than {CONTEXT_BYTES} bytes are no context")
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise click.UsageError(f"{file}: is not JSON: {error}") from None
    if not isinstance(found, dict):
        raise click.UsageError(f"{file}: the context must be an object ({{…}})")
    return found
