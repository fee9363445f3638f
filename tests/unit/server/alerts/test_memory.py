"""What is remembered of a probe survives the way through its row."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monagent.alarms.watch import CRITICAL, OK, UNKNOWN, WARNING, Rule, Watch, step
from monagent.server.alerts.memory import STALE, from_json, gone_stale, is_quiet, to_json

LEVELS = st.sampled_from([OK, WARNING, CRITICAL, UNKNOWN])


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(LEVELS, st.integers(1, 900)), max_size=40), st.integers(1, 4))
def test_watching_goes_on_as_if_nothing_had_been_written(readings: list[tuple[str, int]], runs: int) -> None:
    """Through JSON and back after each reading: the same states are told."""
    rule, now = Rule(runs=runs), 1000.0
    plain, kept = Watch(since=now), to_json(Watch(since=now))
    for level, later in readings:
        now += later
        plain, told = step(plain, rule, level, now)
        watch, told_by_kept = step(from_json(kept, now), rule, level, now)
        kept = to_json(watch)

        assert (told, plain.state, plain.since) == (told_by_kept, watch.state, watch.since)


def test_a_probe_that_is_well_takes_few_bytes() -> None:
    """Its good readings leave no trace."""
    watch, _ = step(Watch(since=5.0), Rule(), OK, 10.0)

    assert to_json(watch) == {"v": 1, "n": 5.0}
    assert is_quiet(to_json(watch))


@pytest.mark.parametrize(
    "memory", [None, [], "", {"v": 2, "n": 1.0}, {"v": 1}, {"v": 1, "n": "x"}, {"v": 1, "n": 1, "s": "?"}]
)
def test_what_cannot_be_understood_is_forgotten(memory: Any) -> None:
    """Watching begins anew."""
    assert from_json(memory, 7.0) == Watch(since=7.0)


def test_a_stale_probe_remembers_its_state() -> None:
    """The next reading is always told, as what it is."""
    memory = gone_stale(to_json(Watch(state=CRITICAL, base=CRITICAL, since=1.0, told=CRITICAL)), 9.0)

    watch = from_json(memory, 10.0)
    assert (watch.state, watch.told) == (CRITICAL, STALE)
    assert step(watch, Rule(), CRITICAL, 10.0)[1] == "problem"
    assert step(watch, Rule(), OK, 10.0)[1] == "recovery"
