"""One line in the log for each command that somebody sent, and counters of what became of them."""

from __future__ import annotations

import logging
import re
import threading
import time
from collections import Counter, deque
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from monagent.errors import Fault
from monagent.models import Value

log = logging.getLogger("monagent.audit")

_QUIET = ("healthcheck",)
_SHOWN = 128
_REMEMBERED = 20
_PLAIN = re.compile(r"[A-Za-z0-9_.:/@,+-]+")


@dataclass(frozen=True, slots=True)
class Refusal:
    """A call that was refused: when (seconds since the epoch), by whom, what, with which fault and why."""

    when: float
    peer: str
    command: str
    verdict: str
    reason: str


class Audit:
    """Who sent what, under which ticket, and what they were told. Any thread may call it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: Counter[str] = Counter()
        self._refusals: deque[Refusal] = deque(maxlen=_REMEMBERED)

    def note(
        self, name: str, params: Sequence[Value], answer: Value | Fault, peer: str, names: Collection[str]
    ) -> None:
        """One call was judged. What the caller wrote is quoted, so that it cannot look like anything but itself.

        Args:
            name: of the method, as it was called.
            params: its parameters; the first may be a ticket.
            answer: what goes back.
            peer: the address.
            names: of the caller's certificate.
        """
        verdict = str(answer.code) if isinstance(answer, Fault) else "accepted"
        with self._lock:
            self._counts[verdict] += 1
            if isinstance(answer, Fault):
                self._refusals.appendleft(Refusal(time.time(), peer, _quoted(name), verdict, answer.message))
        if verdict == "accepted" and (name in _QUIET or name.startswith("system.")):
            return
        if not log.isEnabledFor(logging.INFO):
            return
        ticket = params[0] if params and isinstance(params[0], str | int) else "-"
        log.info(
            "command=%s ticket=%s peer=%s certificate=%s verdict=%s%s",
            _quoted(name),
            _quoted(ticket),
            peer,
            _quoted(",".join(sorted(names)) or "-"),
            verdict,
            f" reason={answer.message}" if isinstance(answer, Fault) else "",
        )

    def counts(self) -> dict[str, int]:
        """How many calls were accepted, and how many were refused with each fault code."""
        with self._lock:
            return dict(self._counts)

    def refusals(self) -> list[Refusal]:
        """The newest ones, the last first."""
        with self._lock:
            return list(self._refusals)


def _quoted(text: str | int) -> str:
    shown = str(text)[:_SHOWN]
    return shown if _PLAIN.fullmatch(shown) else ascii(shown)
