"""Read what a Nagios-style plug-in prints: text for people, and performance data.

The grammar is that of the Monitoring Plugins Development Guidelines, `'label'=value[UOM];[warn];[crit];[min];[max]`, and
of the Nagios Core plug-in API for output of several lines:

    text | item item          performance data of this line
    long text
    long text | item item     from the second mark on, all that follows is performance data
    item item

An item that does not follow the grammar is left out; those around it are kept. Everything here takes a time that grows
with the length of the output and no faster, whatever the output is.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from monagent.protocol import number_in

METRICS = 200
"""How many are kept."""
LABEL_LIMIT = 255
UNDETERMINED = "U"

_WORD = re.compile(r"\S+", re.ASCII)
_REST = re.compile(r"\S*", re.ASCII)
_VALUE = re.compile(r"([-+.0-9]+(?:[eE][-+]?[0-9]+)?)((?:[^\W\d_]|%){0,16})")
_MALFORMED = ""
"""The label of an item that has none by the grammar."""


@dataclass(frozen=True, slots=True)
class Metric:
    """One item of performance data.

    Attributes:
        label: without its quotes.
        text: the value as printed, without its unit.
        value: the same as a number; None when the plug-in could not determine it (`U`).
        unit: any letters, or `%`; empty for a plain number.
        warn: the range `[@][start:][end]` that is no warning, as printed; empty when there is none.
        crit: likewise.
        min: the least that the value can be; None when the plug-in does not say.
        max: the most.
    """

    label: str
    text: str
    value: float | None
    unit: str
    warn: str
    crit: str
    min: float | None
    max: float | None


@dataclass(frozen=True, slots=True)
class Parsed:
    """What a plug-in printed.

    Attributes:
        text: all lines without their performance data, for people.
        metrics: the items that follow the grammar, at most `METRICS`.
        number: the value of the first item as printed, when it is a number. The value of a later item never takes the
            place of a first one that cannot be read: it measures something else.
    """

    text: str
    metrics: tuple[Metric, ...]
    number: str | None


def parse(output: str) -> Parsed:
    """Take the output of a plug-in apart. Never raises."""
    text, data = _apart(output)
    read = [_metric(label, rest) for line in data for label, rest in _items(line)]
    first = read[0] if read else None
    metrics = tuple(metric for metric in read if metric is not None)[:METRICS]
    return Parsed(text, metrics, None if first is None or first.value is None else first.text)


def _apart(output: str) -> tuple[str, list[str]]:
    """The text, and the lines of performance data."""
    lines = output.split("\n")
    status, _, status_data = lines[0].partition("|")
    text, data = [status], [status_data]
    for number, line in enumerate(lines[1:], start=1):
        long_text, mark, line_data = line.partition("|")
        text.append(long_text)
        if mark:
            data += [line_data, *lines[number + 1 :]]
            break
    return "\n".join(line.rstrip() for line in text).strip(), data


def _items(line: str) -> Iterator[tuple[str, str]]:
    """The label of each item in a line, and what follows its equals sign. A word without one is no item."""
    at = 0
    while word := _WORD.search(line, at):
        end = _end_of_quoted(line, word.start())
        if line.startswith("=", end):
            rest = _REST.match(line, end + 1)
            assert rest is not None
            yield line[word.start() + 1 : end - 1].replace("''", "'"), rest[0]
            at = rest.end()
            continue
        # Not quoted, or quoted wrongly: then nothing but this word is lost.
        label, equals, after = word[0].partition("=")
        if equals:
            yield _MALFORMED if "'" in label else label, after
        at = word.end()


def _end_of_quoted(line: str, start: int) -> int:
    """Where the quoted text that begins at `start` is over, or the end of the line when none does.

    No stretch of the line is searched again and again: what is passed over here holds quotes in pairs alone, and for a
    word that begins with pairs the search ends among them.
    """
    if line[start] != "'":
        return len(line)
    end = line.find("'", start + 1)
    while end >= 0 and line.startswith("''", end):
        end = line.find("'", end + 2)
    return len(line) if end < 0 else end + 1


def _metric(label: str, rest: str) -> Metric | None:
    """An item by its label and what follows the equals sign, or None when it does not follow the grammar."""
    printed, *fields = rest.rstrip(";").split(";", 5)
    if not 1 <= len(label) <= LABEL_LIMIT or len(fields) > 4:
        return None
    warn, crit, least, most = (*fields, "", "", "", "")[:4]
    match = _VALUE.fullmatch(printed)
    text, unit = match.groups() if match else (printed, "")
    if not (text == UNDETERMINED or _is_number(text)):
        return None
    if not (_is_range(warn) and _is_range(crit) and _is_number_or_nothing(least) and _is_number_or_nothing(most)):
        return None
    return Metric(
        label=label,
        text=text,
        value=None if text == UNDETERMINED else float(text),
        unit=unit,
        warn=warn,
        crit=crit,
        min=float(least) if least else None,
        max=float(most) if most else None,
    )


def _is_number(text: str) -> bool:
    return number_in(text.encode("ascii", "replace")) is not None


def _is_number_or_nothing(text: str) -> bool:
    return not text or _is_number(text)


def _is_range(text: str) -> bool:
    start, _, end = text.removeprefix("@").rpartition(":")
    return (start == "~" or _is_number_or_nothing(start)) and _is_number_or_nothing(end)
