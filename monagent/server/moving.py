"""The rules of moves: what the signs that are seen here say about a host that was told to move. No database, no clock."""

from __future__ import annotations

from dataclasses import dataclass

from monagent.server import tickets
from monagent.server.rollouts.verdicts import Answer, one_line

WAITING, SENT, ASKED, MOVED, BACK, FAILED = "waiting", "sent", "asked", "moved", "back", "failed"
"""It is being told; it was told; it asked where to go; nothing more came here; it is here again, or never left; it could
not be told."""

QUIET_SECONDS = 60.0
"""A host that asked, and then handed in nothing for so long, has gone. What it tried with the new server comes sooner."""
STAYED_SECONDS = 300.0
"""A host that still hands in so long after it asked has not gone."""
SEEN_SECONDS = 10.0
"""That a host was seen is not written down for each result; what is later than that is new."""
SILENT_SECONDS = 120.0
"""For an agent that was told and did not answer; it may have heard it all the same."""


@dataclass(frozen=True, slots=True)
class Standing:
    """What is known of a host's move; times in seconds since the epoch.

    Attributes:
        ticket: of the command to move.
        asked: when it asked where to go.
        ended: when the move was held to be over.
        seen: when it last handed something in.
        answer: how far the command has come.
    """

    host_id: int
    ticket: str | None
    state: str
    started: float
    asked: float | None
    ended: float | None
    seen: float | None
    answer: Answer | None


@dataclass(frozen=True, slots=True)
class Verdict:
    """The state that a move comes to, and why."""

    state: str
    reason: str | None = None

    @property
    def is_over(self) -> bool:
        """Nothing more is expected."""
        return self.state in (MOVED, BACK, FAILED)


def judge(move: Standing, now: float) -> Verdict | None:
    """What has become of a move; None: nothing new."""
    if move.answer is not None and move.answer.outcome is not None and not _is_old(move, move.answer):
        return _by_outcome(move, move.answer)
    if move.state in (WAITING, SENT):
        return _by_ticket(move, now)
    if move.state == ASKED:
        return _after_asking(move, now)
    if move.state == MOVED and (move.seen or 0.0) > (move.ended or 0.0) + SEEN_SECONDS:
        return Verdict(BACK, "it hands in its results here again")
    return None


def _is_old(move: Standing, answer: Answer) -> bool:
    """Whether the outcome came before the host asked once more: it is of the try before that."""
    return answer.ended is not None and move.asked is not None and answer.ended < move.asked


def _by_outcome(move: Standing, answer: Answer) -> Verdict | None:
    said = one_line(str((answer.outcome or {}).get("message", "")))
    # An outcome that says ok comes here only when both servers have one database, or it was here already.
    state = MOVED if answer.is_ok else BACK
    return Verdict(state, said) if state != move.state else None


def _by_ticket(move: Standing, now: float) -> Verdict | None:
    answer = move.answer
    if answer is None:
        return Verdict(FAILED, "its ticket is gone")
    if answer.state == tickets.REFUSED:
        return Verdict(FAILED, f"the agent refused: {one_line(answer.reason or '?')}")
    if answer.ended is not None:
        return Verdict(FAILED, one_line(answer.reason or f"its ticket is {answer.state}"))
    if answer.state == tickets.SENT and answer.reason and now - move.started > SILENT_SECONDS:
        return Verdict(FAILED, f"it does not answer: {one_line(answer.reason)}")
    return Verdict(SENT) if answer.state == tickets.ACKNOWLEDGED and move.state == WAITING else None


def _after_asking(move: Standing, now: float) -> Verdict | None:
    asked = move.asked if move.asked is not None else move.started
    if now - max(asked, move.seen or 0.0) > QUIET_SECONDS:
        return Verdict(MOVED, "it asked where to go, and has handed in nothing here since")
    if now - asked > STAYED_SECONDS:
        return Verdict(BACK, "it asked where to go, and still hands in its results here")
    return None
