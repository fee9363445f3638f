"""Judge what came of a host's update, and the runs of its own checks after it. Rules alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from monagent.server import tickets
from monagent.server.rollouts import states

_SAID = 300
_NO_NUMBER = "not-a-number"


@dataclass(frozen=True, slots=True)
class Answer:
    """How far a command has come.

    Attributes:
        state: of its ticket, see `tickets`.
        reason: why it failed, or was refused.
        ended: when it was over here, in seconds since the epoch.
        outcome: what the agent handed in.
    """

    method: str
    state: str
    reason: str | None
    ended: float | None
    outcome: dict[str, Any] | None

    @property
    def is_ok(self) -> bool:
        """The agent has done it."""
        return self.outcome is not None and self.outcome.get("status") == "ok"


@dataclass(frozen=True, slots=True)
class Verdict:
    """The state that a host comes to, and why."""

    state: str
    reason: str | None = None


def verdict_on(answer: Answer | None, *, done: str, late: str) -> Verdict | None:
    """What a command made of its host.

    Args:
        answer: None: its ticket is gone.
        done: the state for an agent that has done it.
        late: what to say when the time is up; empty: it is not.

    Returns:
        None: nothing yet.
    """
    if answer is None:
        return Verdict(states.FAILED, "its ticket is gone")
    if answer.outcome is not None:
        said = one_line(str(answer.outcome.get("message", "")))
        return Verdict(done, said) if answer.is_ok else Verdict(states.FAILED, said or "the agent said error")
    if answer.ended is not None:
        return _ended(answer)
    if late and answer.state != tickets.ACKNOWLEDGED:
        return Verdict(states.AWAY, f"it does not answer: {one_line(answer.reason or 'it was not asked in time')}")
    return Verdict(states.FAILED, late) if late else None


def _ended(answer: Answer) -> Verdict:
    """Of a ticket that is over without an outcome."""
    if answer.state == tickets.FAILED:
        return Verdict(states.AWAY, one_line(answer.reason or "it could not be reached"))
    if answer.state == tickets.REFUSED:
        return Verdict(states.FAILED, f"the agent refused: {one_line(answer.reason or '?')}")
    return Verdict(states.FAILED, f"its ticket is {answer.state}")


def another_version(answer: Answer | None, digest: str) -> Verdict | None:
    """Whether an agent says that it has installed something else than the contents of this digest.

    It was given the current version when its roll-out had stopped meanwhile, or when its call came from an address that is
    not known to be its own.
    """
    told = answer.outcome.get("digest") if answer is not None and answer.outcome is not None else None
    if not isinstance(told, str) or told in ("", digest):
        return None
    return Verdict(states.FAILED, f"it has installed another version, {one_line(told[:19])}")


@dataclass(frozen=True, slots=True)
class Reading:
    """What a check gave."""

    ret_code: int
    value: float | None
    error: str | None


@dataclass(frozen=True, slots=True)
class ProbeRuns:
    """The runs of one probe around an update.

    Attributes:
        probe: its name.
        nagios: its exit status tells a state: warning and critical are no failure of the sensor.
        before: the last run that began before the update; None: there was none.
        after: the runs that began after it.
    """

    probe: str
    nagios: bool
    before: Reading | None
    after: Sequence[Reading]


def is_good(reading: Reading, *, nagios: bool) -> bool:
    """Whether the sensor did its work."""
    if nagios:
        return reading.ret_code in (0, 1, 2) and reading.error in (None, "", _NO_NUMBER)
    return reading.ret_code == 0 and reading.value is not None and not reading.error


def health(probes: Sequence[ProbeRuns], *, late: str) -> Verdict | None:
    """What a host's own checks say of the new version: every probe of the sensor must have run, and none gone bad.

    A probe that was bad before is not held against the new version.

    Args:
        probes: those of the sensor that are scheduled; none: there is nothing to wait for.
        late: what to say when the time is up; empty: it is not.

    Returns:
        None: not all have run yet.
    """
    for runs in probes:
        was_good = runs.before is None or is_good(runs.before, nagios=runs.nagios)
        bad = next((one for one in runs.after if not is_good(one, nagios=runs.nagios)), None)
        if was_good and bad is not None:
            how = f"{bad.error}, " if bad.error else ""
            return Verdict(
                states.FAILED, f"its check {runs.probe} is bad with the new version: {how}exit {bad.ret_code}"
            )
    if all(runs.after for runs in probes):
        return Verdict(states.HEALTHY)
    return Verdict(states.FAILED, late) if late else None


def one_line(text: str) -> str:
    """What somebody else said, fit for a line that people read."""
    return "".join(letter if letter.isprintable() else " " for letter in text[:_SAID])
