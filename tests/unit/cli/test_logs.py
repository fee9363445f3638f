"""The log's forms, and what becomes of repetition."""

from __future__ import annotations

import json
import logging

from monagent.cli import logs
from monagent.cli.logs import BURST, PERIOD_SECONDS, Restraint


def record(level: int, text: str, *values: object, name: str = "monagent.x") -> logging.LogRecord:
    """As a logger makes it."""
    return logging.LogRecord(name, level, "file", 1, text, values, None)


def test_warnings_that_repeat_are_counted_and_told_later() -> None:
    """They differ in their details alone."""
    now = 0.0
    restraint = Restraint(lambda: now)
    passed = [restraint.filter(record(logging.WARNING, "from %s", number)) for number in range(BURST + 30)]
    now = PERIOD_SECONDS + 1
    last = record(logging.WARNING, "from %s", "100 %")

    assert passed == [True] * BURST + [False] * 30
    assert restraint.filter(last)
    assert last.getMessage() == "from 100 % (and 30 more like this before)"


def test_what_is_not_a_warning_is_never_left_out() -> None:
    """There is a line for each command, and for each piece of work."""
    restraint = Restraint(lambda: 0.0)

    assert all(restraint.filter(record(logging.INFO, "done %s", number)) for number in range(1000))


def test_other_warnings_are_not_affected() -> None:
    """Of another text, or of another part."""
    restraint = Restraint(lambda: 0.0)
    for number in range(100):
        restraint.filter(record(logging.WARNING, "from %s", number))

    assert restraint.filter(record(logging.ERROR, "another"))
    assert restraint.filter(record(logging.WARNING, "from %s", 1, name="monagent.y"))


def test_json_is_one_object_a_line_whatever_it_holds() -> None:
    """Line ends, quotes, and tracebacks."""
    one = record(logging.ERROR, "said %s", 'a\n"b"\x1b[31m')
    try:
        int("x")
    except ValueError as error:
        one.exc_info = (ValueError, error, error.__traceback__)
    text = logs._Json().format(one)

    told = json.loads(text)
    assert "\n" not in text
    assert told["message"] == 'said a\n"b"\x1b[31m'
    assert (told["level"], told["logger"]) == ("error", "monagent.x")
    assert "ValueError: invalid literal" in told["traceback"]


def test_json_has_the_values_of_a_line_as_fields() -> None:
    """By the names that stand before them; none can take the place of the record's own."""
    one = record(logging.INFO, "done %s ticket=%s code=%d seconds=%.3f level=%s", "x", "t 1", 3, 0.25, "evil")
    told = json.loads(logs._Json().format(one))

    assert {name: told[name] for name in ("ticket", "code", "seconds", "level")} == {
        "ticket": "t 1", "code": 3, "seconds": 0.25, "level": "info"
    }  # fmt: skip
