"""What an outcome, and the checks after it, say of a host."""

from __future__ import annotations

import pytest

from monagent.server.rollouts import states
from monagent.server.rollouts.verdicts import Answer, ProbeRuns, Reading, Verdict, another_version, health, verdict_on

GOOD, BAD = Reading(0, 1.0, None), Reading(1, None, "not-a-number")


def verdict(state: str, outcome: dict[str, object] | None = None, *, late: str = "") -> Verdict | None:
    """On a ticket that is in this state."""
    ended = None if state in ("issued", "sent", "acknowledged") else 1.0
    return verdict_on(Answer("cmd_update_sensor_code", state, "why", ended, outcome), done=states.INSTALLED, late=late)


def test_what_a_command_made_of_its_host() -> None:
    """Who says error has failed, who could not be reached is away."""
    assert verdict("done", {"status": "ok", "message": "in\nplace"}) == Verdict(states.INSTALLED, "in place")
    assert verdict("failed", {"status": "error", "message": "no"}) == Verdict(states.FAILED, "no")
    assert verdict("failed") == Verdict(states.AWAY, "why")
    assert verdict("refused") == Verdict(states.FAILED, "the agent refused: why")
    assert verdict("expired") == Verdict(states.FAILED, "its ticket is expired")
    assert verdict_on(None, done="", late="") == Verdict(states.FAILED, "its ticket is gone")


def test_who_takes_too_long_has_failed_and_who_does_not_even_answer_is_away() -> None:
    """Until then nothing is said."""
    assert verdict("acknowledged") is None
    assert verdict("acknowledged", late="too late") == Verdict(states.FAILED, "too late")
    assert verdict("sent", late="too late") == Verdict(states.AWAY, "it does not answer: why")


def test_who_was_given_another_version_has_failed() -> None:
    """An agent that tells no digest is believed."""

    def told(**outcome: str) -> Answer:
        return Answer("cmd_update_sensor_code", "done", None, 1.0, {"status": "ok", **outcome})

    found = another_version(told(digest="sha256:0123456789abcdef"), "sha256:b")
    assert found == Verdict(states.FAILED, "it has installed another version, sha256:0123456789ab")
    assert another_version(told(digest="sha256:b"), "sha256:b") is None
    assert another_version(told(), "sha256:b") is None


def runs(before: Reading | None, *after: Reading, nagios: bool = False) -> ProbeRuns:
    """Of a probe."""
    return ProbeRuns("space", nagios, before, after)


def test_a_host_is_well_when_each_probe_has_run_well() -> None:
    """Not when only some have."""
    assert health([runs(GOOD, GOOD), runs(None, GOOD)], late="") == Verdict(states.HEALTHY)
    assert health([runs(GOOD, GOOD), runs(GOOD)], late="") is None
    assert health([runs(GOOD, GOOD), runs(GOOD)], late="slow") == Verdict(states.FAILED, "slow")
    assert health([], late="") == Verdict(states.HEALTHY)


@pytest.mark.parametrize("before", [GOOD, None])
def test_a_bad_reading_after_a_good_one_or_none_is_the_new_versions_fault(before: Reading | None) -> None:
    """Also when others were good meanwhile: an agent may have gone back by itself."""
    found = health([runs(before, BAD, GOOD)], late="")

    assert found == Verdict(states.FAILED, "its check space is bad with the new version: not-a-number, exit 1")


def test_what_was_bad_before_is_not_the_new_versions_fault() -> None:
    """It is no worse."""
    assert health([runs(BAD, BAD)], late="") == Verdict(states.HEALTHY)


@pytest.mark.parametrize(
    ("code", "state"), [(0, "healthy"), (1, "healthy"), (2, "healthy"), (3, "failed"), (127, "failed")]
)
def test_a_plug_ins_warning_is_no_failure_of_the_plug_in(code: int, state: str) -> None:
    """But that it cannot tell is, and so is that it cannot run."""
    found = health([runs(GOOD, Reading(code, None, "not-a-number"), nagios=True)], late="")

    assert found is not None
    assert found.state == state
