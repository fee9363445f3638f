"""Threshold ranges, as https://www.monitoring-plugins.org/doc/guidelines.html#THRESHOLDFORMAT has them."""

from __future__ import annotations

import pytest

from monagent.alarms.ranges import parse


@pytest.mark.parametrize(
    ("text", "bad", "good"),
    [
        ("10", (-0.1, 10.1, 11), (0, 5, 10)),
        ("10:", (9.9, -1), (10, 1e9)),
        ("~:10", (10.1, 1e9), (10, -1e9)),
        ("10:20", (9.9, 20.1), (10, 15, 20)),
        ("@10:20", (10, 15, 20), (9.9, 20.1)),
        ("-5:-1", (-6, 0), (-5, -1)),
        (" 1.5e2 ", (151,), (150, 0)),
        ("@5", (0, 5), (-1, 6)),
        (":7", (-1, 8), (0, 7)),
    ],
)
def test_a_range_says_which_numbers_are_bad(text: str, bad: tuple[float, ...], good: tuple[float, ...]) -> None:
    """The examples of the guidelines, and their ends."""
    found = parse(text)
    assert found is not None

    assert [number for number in bad if not found.alerts(number)] == []
    assert [number for number in good if found.alerts(number)] == []


def test_nothing_is_no_range() -> None:
    """An option that is left out."""
    assert parse("") is None


@pytest.mark.parametrize("text", ["x", "10:5", "~", "@", ":", "1:2:3", "1_0", "nan", "inf", "10 20", "@~"])
def test_what_is_no_range_is_said(text: str) -> None:
    """With examples of what would do."""
    with pytest.raises(ValueError, match="examples: 10 = above 10 or below 0"):
        parse(text)


def test_a_margin_is_kept_from_the_bad_ones() -> None:
    """Who is to be well again must be so by the margin."""
    outside, inside = parse("~:90"), parse("@90:100")
    assert outside is not None
    assert inside is not None

    assert [outside.alerts(number, 5) for number in (84, 85, 85.1, 91)] == [False, False, True, True]
    assert [inside.alerts(number, 5) for number in (84, 85, 105, 106)] == [False, True, True, False]
