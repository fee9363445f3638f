"""Make JSON answers."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from http import HTTPStatus
from typing import Any

JSON_TYPE = "application/json"


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer as it goes over the wire."""

    status: HTTPStatus
    body: bytes
    headers: tuple[tuple[str, str], ...] = ()
    content_type: str = JSON_TYPE

    def conditional(self, known: str) -> tuple[int, bytes, str, tuple[tuple[str, str], ...]]:
        """Status, body, type and headers for somebody who may have this answer already.

        Args:
            known: `If-None-Match` of the request, or nothing.
        """
        if self.status != HTTPStatus.OK:
            return self.status.value, self.body, self.content_type, self.headers
        tag = f'"{blake2b(self.body, digest_size=16).hexdigest()}"'
        headers = (*self.headers, ("ETag", tag))
        if known.strip() == "*" or tag in [one.strip().removeprefix("W/") for one in known.split(",")]:
            return HTTPStatus.NOT_MODIFIED.value, b"", self.content_type, headers
        return self.status.value, self.body, self.content_type, headers


def good(content: Any) -> Answer:
    """What was asked for."""
    return Answer(HTTPStatus.OK, _written(content))


def refused(
    status: HTTPStatus, error: str, parameter: str | None = None, headers: Sequence[tuple[str, str]] = ()
) -> Answer:
    """Why there is nothing, and which parameter is to blame."""
    return Answer(status, _written({"error": error} | ({"parameter": parameter} if parameter else {})), tuple(headers))


def _written(content: Any) -> bytes:
    return json.dumps(plain(content), allow_nan=False, separators=(",", ":")).encode("ascii") + b"\n"


def plain(value: Any) -> Any:
    """The value as JSON can hold it: what is no finite number is null."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {str(name): plain(member) for name, member in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value
