"""When telling has to wait."""

from __future__ import annotations

import time

import pytest

from monagent.alarms.caps import room
from monagent.alarms.quiet import parse

DAY = 86_400.0


def test_a_cap_keeps_room_for_an_outage_and_for_the_end_of_all_that_began() -> None:
    """Of ten: seven begin, an eighth is grave, and the ends of all go through."""
    sent = [1000.0] * 7

    assert room(sent[:6], 10, 1000, grave=False, ends=False)
    assert not room(sent, 10, 1000, grave=False, ends=False)
    assert room(sent, 10, 1000, grave=True, ends=False)
    assert room(sent, 10, 1000, grave=False, ends=True)
    assert not room([1000.0] * 10, 10, 1000, grave=True, ends=True)


def test_only_time_makes_room() -> None:
    """A day later; a clock that steps back makes none."""
    sent = [1000.0] * 10

    assert not room(sent, 10, 1000 + DAY - 1, grave=True, ends=True)
    assert not room(sent, 10, 0, grave=True, ends=True)
    assert room(sent, 10, 1000 + DAY, grave=False, ends=False)


def at(hours: int, minutes: int) -> float:
    """A time of some day here."""
    return time.mktime((2026, 3, 10, hours, minutes, 0, 0, 0, -1))


def test_quiet_hours_go_over_midnight() -> None:
    """From the first minute to before the last."""
    night, noon = parse("22:00-07:00"), parse("12:00 - 13:30")
    assert night is not None
    assert noon is not None

    assert [night.covers(at(*when)) for when in ((21, 59), (22, 0), (3, 0), (6, 59), (7, 0))] == [
        False, True, True, True, False,
    ]  # fmt: skip
    assert [noon.covers(at(*when)) for when in ((11, 59), (12, 0), (13, 29), (13, 30))] == [False, True, True, False]
    assert (str(night), parse("")) == ("22:00-07:00", None)


@pytest.mark.parametrize("text", ["22-7", "25:00-01:00", "22:00", "10:00-10:00", "x"])
def test_other_hours_are_refused(text: str) -> None:
    """With an example, or why."""
    with pytest.raises(ValueError, match=r"example: 22:00-07:00|the whole day"):
        parse(text)
