"""Give long lists in pages: each names where the next one begins."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from sqlalchemy import ColumnElement, and_, or_

from monagent.server.api.question import TEXT_LIMIT, Parameter

T = TypeVar("T")

_LONGEST = 2_000
_WHOLE_LIMIT = 2**63


def cursor(*kinds: type) -> Parameter:
    """The parameter that asks for the page that begins behind a key with members of these kinds."""

    def read(given: str) -> list[Any]:
        try:
            key = json.loads(base64.b64decode(given[:_LONGEST].encode("ascii"), altchars=b"-_", validate=True))
        except (RecursionError, UnicodeError, ValueError):
            key = None
        if not isinstance(key, list) or [type(one) for one in key] != list(kinds) or not all(map(_is_fit, key)):
            raise ValueError("must be what the former page named as its next one")
        return key

    return Parameter("cursor", read, "where the page begins: `next` of the one before")


def page(
    found: Sequence[T], limit: int, key: Callable[[T], Sequence[Any]], shown: Callable[[T], Any]
) -> dict[str, Any]:
    """A page of what was found; one more than the limit is to be looked for, to know whether there is a next one.

    Args:
        found: in order.
        limit: how many belong to the page.
        key: where something stands in the order.
        shown: what is told of it.
    """
    here = found[:limit]
    more = len(found) > limit
    return {"items": [shown(one) for one in here], "next": _written(key(here[-1])) if more else None}


def behind(columns: Sequence[ColumnElement[Any]], key: Sequence[Any], *, falling: bool = False) -> ColumnElement[bool]:
    """Whether a row stands behind a key, in the order of one or two columns."""
    first, *rest = columns
    past: ColumnElement[bool] = first < key[0] if falling else first > key[0]
    if not rest:
        return past
    # Said twice, so that an index of the first column is of use.
    reached: ColumnElement[bool] = first <= key[0] if falling else first >= key[0]
    return and_(reached, or_(past, rest[0] < key[1] if falling else rest[0] > key[1]))


def _written(key: Sequence[Any]) -> str:
    return base64.urlsafe_b64encode(json.dumps(list(key)).encode("ascii")).decode("ascii")


def _is_fit(member: Any) -> bool:
    if isinstance(member, str):
        return len(member) <= TEXT_LIMIT and "\0" not in member and member.isprintable()
    return bool(-_WHOLE_LIMIT < member < _WHOLE_LIMIT)  # no infinities and no NaN, either
