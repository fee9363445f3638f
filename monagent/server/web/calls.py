"""Count the calls that agents make, and notice when their results cannot be kept."""

from __future__ import annotations

import logging
import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from monagent.errors import Fault, HttpRefusal, StoreAway
from monagent.models import Value
from monagent.rpc.application import Answer
from monagent.rpc.audit import Audit

log = logging.getLogger(__name__)

_FAULT = re.compile(rb"<fault>.{0,200}?<name>faultCode</name>\s*<value><(?:int|i4)>(-?[0-9]{1,9})<", re.DOTALL)
_HEAD = 512


HITCH_SECONDS = 60.0
"""When results could not be kept, and none were since, it is taken for so long that they still cannot."""


@dataclass(frozen=True, slots=True)
class Hitch:
    """Results could not be kept: when (by the monotonic clock), why, and how many had been kept until then."""

    when: float
    reason: str
    taken: int


class Calls(Audit):
    """Counts by verdict: accepted, or the code of the fault. Any thread may use it."""

    def __init__(self, taken: Callable[[], int], monotonic: Callable[[], float] = time.monotonic) -> None:
        """
        Args:
            taken: results kept since the start.
            monotonic: seconds.
        """
        super().__init__()
        self._taken = taken
        self._monotonic = monotonic
        self._verdicts: Counter[str] = Counter()
        self._guard = threading.Lock()
        self._here = threading.local()
        self.put_off = 0
        """Requests that were told to come again."""
        self._hitch: Hitch | None = None

    def watching(self, answer: Answer) -> Answer:
        """The same, watched."""

        def watched(body: bytes, peer: str, names: Collection[str]) -> bytes:
            self._here.noted = False
            try:
                reply = answer(body, peer, names)
            except HttpRefusal as refusal:
                self._note_put_off(refusal)
                raise
            if not self._here.noted:
                self._note_reply(reply)
            return reply

        return watched

    def note(
        self,
        name: str,  # noqa: ARG002 - of all audits
        params: Sequence[Value],  # noqa: ARG002
        answer: Value | Fault,
        peer: str,
        names: Collection[str],  # noqa: ARG002
    ) -> None:
        """One call was judged. Those that are accepted come by the hundred in a second, and are not logged."""
        self._here.noted = True
        self._count(str(answer.code) if isinstance(answer, Fault) else "accepted")
        if isinstance(answer, Fault):
            log.info("call refused peer=%s code=%d reason=%s", peer, answer.code, answer.message)

    def counts(self) -> dict[str, int]:
        """How many calls were accepted, and how many were refused with each fault code."""
        with self._guard:
            return dict(self._verdicts)

    def hitch(self) -> str:
        """Why the database does not keep results now, as far as is known; empty when it does."""
        last = self._hitch
        if last is None or self._taken() > last.taken or self._monotonic() - last.when > HITCH_SECONDS:
            return ""
        return last.reason

    def _note_reply(self, reply: bytes) -> None:
        """What was no call at all is judged without being noted."""
        fault = _FAULT.search(reply[:_HEAD])
        self._count(fault[1].decode() if fault else "accepted")

    def _note_put_off(self, refusal: HttpRefusal) -> None:
        with self._guard:
            self.put_off += 1
            if isinstance(refusal.__cause__, StoreAway):
                self._hitch = Hitch(self._monotonic(), str(refusal.__cause__), self._taken())

    def _count(self, verdict: str) -> None:
        with self._guard:
            self._verdicts[verdict] += 1
