"""What goes into every view: pictures, attachments, times, and the words for readings."""

from __future__ import annotations

import csv
import io
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from monagent.mail.context import Cell
from monagent.mail.figures import Points, number_text

PLOTS = 3
"""Charts in one mail."""
Words = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Picture:
    """A plot in the mail; `alt` has its numbers, `bars` is the same as text."""

    cid: str
    data: bytes
    width: int
    height: int
    alt: str
    bars: str = ""


@dataclass(frozen=True, slots=True)
class Attachment:
    """A file beside the mail."""

    name: str
    data: bytes


@dataclass(slots=True)
class View:
    """What a template is filled in with, and what goes with it."""

    variables: dict[str, Any]
    state: str
    pictures: list[Picture] = field(default_factory=list)
    attachments: list[Attachment] = field(default_factory=list)


def moment(when: float) -> str:
    """A time as it is shown: local, with its distance from UTC."""
    return time.strftime("%Y-%m-%d %H:%M:%S %z", time.localtime(when))


def told(points: Points, count: int, w: Words) -> str:
    """What a plot shows, in words; `count` is how many readings it was drawn from."""
    numbers = [value for _, value in points if value is not None]
    if not numbers:
        return w["only failures"].format(count=number_text(count))
    last = points[-1][1]
    return w["readings told"].format(
        count=number_text(count),
        first=moment(points[0][0]),
        last=moment(points[-1][0]),
        low=number_text(min(numbers)),
        high=number_text(max(numbers)),
        now=w["no number"] if last is None else number_text(last),
    )


def csv_file(name: str, columns: Sequence[str], rows: Sequence[Sequence[Cell]]) -> Attachment:
    """A table as a file that spreadsheets open, in any language, without taking text for a formula."""
    stream = io.StringIO()
    writer = csv.writer(stream)
    writer.writerow([_harmless(name) for name in columns])
    writer.writerows([[_harmless(cell) for cell in row] for row in rows])
    return Attachment(f"{name}.csv", stream.getvalue().encode("utf-8-sig"))


def _harmless(cell: Cell) -> Cell:
    """What a spreadsheet would compute gets an apostrophe (https://owasp.org/www-community/attacks/CSV_Injection)."""
    return f"'{cell}" if isinstance(cell, str) and cell[:1] in ("=", "+", "-", "@", "\t", "\r") else cell
