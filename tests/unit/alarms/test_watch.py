"""Which changes of a reading are worth telling."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monagent.alarms.ranges import parse
from monagent.alarms.watch import CALM_SECONDS, FLAP_CHANGES, LEVELS, OK, Rule, Told, Watch, observe, step

RULE = Rule(parse("~:80"), parse("~:90"))
NAN = float("nan")


def told(rule: Rule, numbers: list[float | None], seconds: float = 60.0, watch: Watch | None = None) -> list[str]:
    """What each reading makes us tell: the kind and the state."""
    watch, found = watch or Watch(), []
    for turn, number in enumerate(numbers):
        watch, what = observe(watch, rule, number, 1000.0 + turn * seconds)
        found.append(f"{what} {watch.state}" if what else "")
    return found


def test_a_change_is_told_once() -> None:
    """And a worse one again, and its end."""
    assert told(RULE, [50, 85, 85, 95, 95, 85, 50, 50], 1000) == [
        "", "problem warning", "", "problem critical", "", "problem warning", "recovery ok", "",
    ]  # fmt: skip


@pytest.mark.parametrize("untrusted", [None, NAN])
def test_no_number_is_unknown(untrusted: float | None) -> None:
    """That is a problem of its own."""
    assert told(RULE, [50, untrusted, 50]) == ["", "problem unknown", "recovery ok"]


def test_so_many_in_a_row_make_a_problem() -> None:
    """One good one in between begins the count anew; one is enough to be well again."""
    rule = Rule(parse("~:80"), parse("~:90"), runs=3)

    assert told(rule, [95, 95, 50, 95, 95, 95, 50]) == ["", "", "", "", "", "problem critical", "recovery ok"]


def test_what_all_of_them_were_is_believed() -> None:
    """Two critical ones after a warning are at least three warnings."""
    rule = Rule(parse("~:80"), parse("~:90"), runs=3)

    assert told(rule, [85, 95, 95, 95]) == ["", "", "problem warning", "problem critical"]


def test_the_margin_must_be_passed_to_be_well_again() -> None:
    """A number that trembles at the threshold is told once."""
    rule = Rule(parse("~:80"), parse("~:90"), margin=3)

    assert told(rule, [81, 79, 81, 78, 76.9]) == ["problem warning", "", "", "", "recovery ok"]
    assert told(rule, [91, 89, 86.9, 79, 76]) == ["problem critical", "", "problem warning", "", "recovery ok"]


def test_a_problem_that_lasts_is_told_again() -> None:
    """Every so often, and not when it is over."""
    rule = Rule(None, parse("~:90"), remind=150)

    assert told(rule, [95, 95, 95, 95, 95, 95, 95, 50, 50]) == [
        "problem critical", "", "", "reminder critical", "", "", "reminder critical", "recovery ok", "",
    ]  # fmt: skip


def test_flapping_is_told_once_and_then_what_it_settled_at() -> None:
    """A day of it; a real outage in its middle is told, too."""
    day = [95, 50] * 200 + [95] * 30 + [50, 95] * 100 + [50] * 30
    found = [what for what in told(RULE, day) if what]

    assert found == [
        *["problem critical", "recovery ok"] * 2, "problem critical", "flapping ok",
        "settled critical",
        "recovery ok", *["problem critical", "recovery ok"] * 2, "flapping critical",
        "recovery ok",
    ]  # fmt: skip


def test_slow_changes_are_no_flapping() -> None:
    """Each is told."""
    assert told(RULE, [95, 50] * 20, 1000).count("problem critical") == 20


def test_a_clock_that_steps_back_ends_nothing() -> None:
    """Neither does it make flapping of what happened long ago, nor does it keep it for ever."""
    watch = Watch(state="critical", told="critical", flapping=True, changes=(5000.0,) * FLAP_CHANGES)
    watch, what = step(watch, RULE, OK, 1000.0)
    watch, what = step(watch, RULE, OK, 1000.0 + CALM_SECONDS)

    assert (what, watch.flapping) == (Told.RECOVERY, False)


@given(st.lists(st.tuples(st.floats(0, 200) | st.none(), st.floats(0.1, 4000)), max_size=60), st.integers(1, 4))
def test_what_people_know_is_what_is(readings: list[tuple[float | None, float]], runs: int) -> None:
    """Outside of flapping the state that was told last is the one in force; nothing is told twice."""
    watch, now, known = Watch(), 1000.0, OK
    for number, seconds in readings:
        now += seconds
        watch, what = observe(watch, Rule(parse("~:80"), parse("~:90"), runs), number, now)
        assert watch.base in LEVELS
        if what in (Told.PROBLEM, Told.RECOVERY):
            assert watch.state != known or what is Told.RECOVERY
            known = watch.state
        elif what is Told.SETTLED:
            known = watch.state
        if not watch.flapping:
            assert watch.state == known


def test_one_run_that_failed_changes_nothing_where_more_are_asked_for() -> None:
    """Neither does it end an outage, nor does it let the next number pass without its margin."""
    rule = Rule(None, parse("~:8"), runs=3, margin=2)

    assert told(rule, [9, 9, 9, None, 7, 9, 9, 5]) == ["", "", "problem critical", "", "", "", "", "recovery ok"]
    assert told(rule, [None, None, None, 9, 9, 9, 7, 5]) == [
        "", "", "problem unknown", "", "", "problem critical", "", "recovery ok",
    ]  # fmt: skip


def test_nothing_to_do_is_well_whatever_the_margin() -> None:
    """A queue that is empty is not near the lower end of its range."""
    assert told(Rule(None, parse("10"), margin=2), [50, 0, 1]) == ["problem critical", "recovery ok", ""]


def test_a_run_that_failed_does_not_count_as_a_bad_number() -> None:
    """Three in a row are three numbers in a row."""
    assert told(Rule(None, parse("~:8"), runs=3), [1, None, None, 9, 9, 9]) == ["", "", "", "", "", "problem critical"]
