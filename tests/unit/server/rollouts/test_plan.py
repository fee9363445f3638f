"""How hosts are split into stages, and what comes next."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monagent.server.rollouts import plan, states
from monagent.server.rollouts.plan import Advance, Halt, HostState, Send, Wait, goals_of, next_step, split


def test_two_hundred_hosts_are_one_then_a_tenth_then_all() -> None:
    """Per cent count those of the stages before."""
    stages = split(range(200), goals_of("1,10%,100%"))

    assert [len(stage) for stage in stages] == [1, 19, 180]
    assert list(range(200)) == [host for stage in stages for host in stage]


@pytest.mark.parametrize(("count", "sizes"), [(0, []), (1, [1]), (2, [1, 1]), (3, [1, 1, 1]), (5, [1, 1, 3])])
def test_with_few_hosts_each_stage_still_has_one(count: int, sizes: list[int]) -> None:
    """And there are no stages without any."""
    assert sizes == [len(stage) for stage in split(range(count), goals_of("1,10%,100%"))]


@given(st.integers(0, 500), st.lists(st.sampled_from(["1", "3", "50", "1%", "10%", "33%", "99%"]), max_size=5))
def test_every_host_is_in_one_stage_and_no_stage_is_empty(count: int, goals: list[str]) -> None:
    """Whatever the stages are, also in an odd order."""
    stages = split(range(count), goals_of(",".join([*goals, "100%"])))

    assert list(range(count)) == [host for stage in stages for host in stage]
    assert all(stages)


@pytest.mark.parametrize("text", ["", "0", "1,10%", "101%", "-1,100%", "1;100%", "a,100%", "1,,100%", "0%,100%", "100"])
def test_stages_that_make_no_sense_are_refused(text: str) -> None:
    """The sentence shows what would do."""
    with pytest.raises(ValueError, match="example: 1,10%,100%"):
        goals_of(text)


def hosts(*found: str) -> list[HostState]:
    """Hosts of a stage in these states."""
    return [HostState(number, f"web{number}", state, "because") for number, state in enumerate(found)]


def test_hosts_are_sent_to_in_bounded_numbers() -> None:
    """Those that are waited for count."""
    found = hosts(*[states.UPDATING] * 20, *[states.INSTALLED] * 20, *[states.WAITING] * 100)

    assert Send(tuple(range(40, 50))) == next_step(1, found, push=False)


def test_a_stage_is_over_when_each_host_is_well() -> None:
    """Not before."""
    assert Wait() == next_step(0, hosts(states.HEALTHY, states.INSTALLED), push=False)
    assert Advance() == next_step(0, hosts(states.HEALTHY, states.HEALTHY), push=False)


def test_one_host_that_fails_stops_it_and_the_reason_names_it() -> None:
    """Those that wait are not sent to."""
    assert Halt("stage 3: web1: because") == next_step(2, hosts(states.WAITING, states.FAILED), push=False)


def test_in_the_first_stage_nobody_may_be_away() -> None:
    """It proves nothing without its hosts."""
    step = next_step(0, hosts(states.AWAY), push=False)

    assert step == Halt("stage 1: 1 of 1 hosts cannot be reached, 0 may be: web0")


@pytest.mark.parametrize(("size", "away", "goes_on"), [(3, 1, True), (3, 2, False), (40, 4, True), (40, 5, False)])
def test_later_a_tenth_may_be_away_and_always_one(size: int, away: int, goes_on: bool) -> None:
    """They are left out."""
    step = next_step(1, hosts(*[states.AWAY] * away, *[states.HEALTHY] * (size - away)), push=False)

    assert goes_on == (step == Advance())
    assert goes_on != isinstance(step, Halt)


def test_a_push_goes_on_whatever_happens() -> None:
    """It is for everybody who was named."""
    assert Send((2,)) == next_step(0, hosts(states.FAILED, states.AWAY, states.WAITING), push=True)
    assert plan.TOGETHER > 1
