"""The readings that the journal still holds, for plots and reports."""

from __future__ import annotations

import contextlib
import json
import math
import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from monagent.errors import JournalError
from monagent.protocol import SUBMIT_READING

if TYPE_CHECKING:
    from monagent.mail.figures import Series

CHECKS, READINGS = 1_000, 1_000_000
"""What is looked at; the checks that come first in the alphabet of their age, the newest readings."""
_ROWS = (
    "select arguments, json_extract(outcome, '$.data'), json_extract(outcome, '$.error'),"
    " json_extract(outcome, '$.ret_code'), finished from command"
    " where method = ? and finished >= ? and outcome is not null and arguments is not null"
    " and (? is null or json_extract(arguments, '$[0]') in (select value from json_each(?)))"
    " order by id desc limit ?"
)

Trusted = Callable[[str, int], bool]
"""Whether the number of a sensor counts when it exits with that code."""


def readings(journal: Path, sensors: Sequence[str] | None, since: float, trusted: Trusted) -> list[Series]:
    """The readings of some sensors, or of all, by check.

    Args:
        journal: the file.
        sensors: names; None means all.
        since: seconds since the epoch.
        trusted: says whether a number counts.

    Raises:
        JournalError: it cannot be read.
    """
    found: dict[str, Series] = {}
    if not journal.exists():  # no agent has run here yet
        return []
    names = None if sensors is None else json.dumps(list(sensors))
    try:
        with contextlib.closing(sqlite3.connect(f"file:{quote(str(journal))}?mode=ro", uri=True)) as database:
            rows = database.execute(_ROWS, (SUBMIT_READING, since, names, names, READINGS))
            for arguments, data, error, code, finished in rows:
                series = found.get(arguments) or _begin(found, arguments)
                if series is not None:
                    number = number_of(data) if not error and trusted(series.sensor, code) else None
                    series.add(finished, number, failed=number is None)
    except sqlite3.Error as error:
        raise JournalError(f"{journal}: cannot be read: {error}") from error
    for series in found.values():  # the newest came first
        series.times.reverse()
        series.values.reverse()
    return sorted(found.values(), key=lambda series: series.name)


def _begin(found: dict[str, Series], arguments: str) -> Series | None:
    if len(found) >= CHECKS:
        return None
    from monagent.mail.figures import Series  # noqa: PLC0415 - only where mail is made

    name, words = json.loads(arguments)
    found[arguments] = Series(str(name), tuple(map(str, words)))
    return found[arguments]


def number_of(data: object) -> float | None:
    """The number that a reading is, or None."""
    try:
        number = float(str(data))
    except ValueError:
        return None
    return number if math.isfinite(number) else None
