"""Hand results to the server, oldest first, over one kept connection, until it has taken each of them.

At least once: a result leaves the journal's queue only after the server's answer. A repeat is harmless, because
the server keeps each ticket once.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from monagent.agent.journal import Journal
from monagent.errors import Busy, Fault, InternalFault, TooLarge, Unavailable
from monagent.models import Result, Value
from monagent.protocol import CAPABILITY, GET_CAPABILITIES, OK, STORE_COMMAND_RESULT, SUBMIT_READING, callback
from monagent.rpc.client import Client

log = logging.getLogger(__name__)

BATCH = 100
BATCH_BYTES = 512 * 1024
"""Roughly; what a multicall may hold by the outcomes' own text."""
GATHER_SECONDS = 0.008
IDLE_SECONDS = 5.0
"""How long the relay sleeps with nothing to do; a result that `monagent spool` put back waits no longer."""
FIRST_PAUSE, LAST_PAUSE = 1.0, 300.0
HINTED_PAUSE = 10.0
"""The least that lies between two tries when commands arrive, which only a server that is up can send."""
ASK_AGAIN_SECONDS = 60.0
"""How long a server without kept connections is taken for the same one."""
TRIES = 5
LONGEST_TURN = 3 * LAST_PAUSE
"""From one call, or one pause, to the next."""
_INEXPRESSIBLE = (KeyError, TypeError, ValueError, OverflowError)
"""What a result raises that a bug made wrong. It must not block those behind it either."""
REFUSED_PAUSES = (1.0, 3.0, 9.0, 27.0)
"""Seconds between the tries of a result that the server answers with a Fault."""


@dataclass(frozen=True, slots=True)
class _Verdict:
    """What the server said of one result: taken, or why not."""

    result: Result
    refusal: str = ""


class Relay:
    """The thread that delivers. `wake()` may be called from any thread."""

    def __init__(
        self,
        journal: Journal,
        client: Client,
        *,
        more_coming: Callable[[], bool] = lambda: False,
        on_taken: Callable[[str], None] = lambda _url: None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """
        Args:
            journal: where the results wait.
            client: the server.
            more_coming: whether more results will come within milliseconds, so that gathering a few pays.
            on_taken: called with the server's URL whenever it has taken results.
            clock: seconds since the epoch.
        """
        self._journal = journal
        self._client = client
        self._more_coming = more_coming
        self._on_taken = on_taken
        self._clock = clock
        self._woken = threading.Event()
        self._hinted = threading.Event()
        self._interrupted = threading.Event()
        self._handing = threading.Lock()
        self._stopping = False
        self._next: Client | None = None
        self._thread: threading.Thread | None = None
        self._extended: bool | None = None
        self._told: bool | None = None
        self._ask_again = 0.0
        self._pause = 0.0
        self._complaint = ""
        self._beat = time.monotonic()
        self.refusals = 0
        self.last_delivery: float | None = None
        self.delivered = 0
        self.refused = 0
        self.away_since: float | None = None

    def start(self) -> None:
        """Start delivering."""
        thread = threading.Thread(target=self._run, name="relay", daemon=True)
        thread.start()
        self._thread = thread

    def wake(self) -> None:
        """There is something new to deliver."""
        self._woken.set()

    def hint(self) -> None:
        """The server has just been heard of: a long pause need not be sat out."""
        self._hinted.set()

    def use(self, client: Client) -> None:
        """Hand in to another server from the next exchange on. What the former one did not take goes there, too."""
        self._next = client
        self._interrupt()

    def quiet(self) -> threading.Lock:
        """For `with`: waits for the exchange under way, and nothing is handed in meanwhile."""
        return self._handing

    def ailing(self, _seconds: float) -> str:
        """What is wrong, when the loop has stood still for longer than any of its waits."""
        if self._thread is not None and not self._thread.is_alive():  # None for a moment while the agent starts
            return "its thread is gone"
        silent = time.monotonic() - self._beat
        return f"it has stood still for {silent:.0f} s" if silent > LONGEST_TURN else ""

    def _interrupt(self) -> None:
        self._interrupted.set()
        self._hinted.set()
        self._woken.set()

    def hand_in_the_rest(self, deadline: float) -> None:
        """Wait until the server has been offered all that is due, unless it is away, at most until `deadline`."""
        self._journal.settle()
        while self.away_since is None and time.monotonic() < deadline and self._journal.due(1):
            self.wake()
            time.sleep(GATHER_SECONDS)

    def stop(self, deadline: float) -> None:
        """Stop after the exchange under way, or at `deadline` (monotonic seconds); what is left stays journaled."""
        self._stopping = True
        self._interrupt()
        if self._thread:
            self._thread.join(max(0.0, deadline - time.monotonic()))

    # -- the loop -----------------------------------------------------------------------------------------------

    def _run(self) -> None:
        while not self._stopping:
            self._beat = time.monotonic()
            try:
                self._change_server()
                self._turn()
            except Exception:  # the top of the thread: delivery must go on whatever one result did
                log.exception("delivery failed unexpectedly")
                self._interrupted.wait(LAST_PAUSE / 10)
        self._client.close()

    def _change_server(self) -> None:
        # In this order: what interrupts from now on is seen by the waits of the coming turn.
        self._interrupted.clear()
        if self._stopping:
            self._interrupted.set()
        client, self._next = self._next, None
        if client is None:
            return
        self._client.close()
        self._client = client
        self._extended, self._told, self._ask_again = None, None, 0.0
        self.refusals = 0
        self.away_since = None
        self._complaint = ""
        self._pause = 0.0

    def _turn(self) -> None:
        """Deliver one batch, or wait for something to do."""
        self._woken.clear()
        gather = self._more_coming()
        results = self._journal.due(1 if gather else BATCH)
        if not results:
            self._sleep()
            return
        if gather:
            self._interrupted.wait(GATHER_SECONDS)
            results = self._journal.due(BATCH)
        try:
            with self._handing:
                if not self._interrupted.is_set():
                    self._hand_in(results)
            self._back()
        except Unavailable as error:
            self._away(error)

    def _sleep(self) -> None:
        due = self._journal.next_due()
        seconds = IDLE_SECONDS if due is None else min(IDLE_SECONDS, max(due - self._clock(), 0.05))
        if not self._interrupted.is_set():
            self._woken.wait(seconds)

    def _away(self, error: Unavailable) -> None:
        self._extended = None
        if self.away_since is None:
            self.away_since = self._clock()
        if self._complaint != str(error):
            self._complaint = str(error)
            log.warning("server is away: %s; results are kept and tried again", error)
        self._pause = min(max(self._pause * 2, FIRST_PAUSE), LAST_PAUSE)
        pause = self._pause * random.uniform(0.7, 1.0)
        if not self._interrupted.wait(min(pause, HINTED_PAUSE)):
            self._hinted.clear()
            if not self._interrupted.is_set():
                self._hinted.wait(max(pause - HINTED_PAUSE, 0.0))

    def _back(self) -> None:
        if self.away_since is not None:
            log.warning("server is back after %.0f s", self._clock() - self.away_since)
        self.away_since = None
        self._complaint = ""
        self._pause = 0.0

    # -- one batch ----------------------------------------------------------------------------------------------

    def _hand_in(self, results: list[Result]) -> None:
        if not all(map(_is_reading, results)) and not self._extended:
            self._extended = None  # a plain server gets no such results: make sure that it still is one
        if self._speaks_extended():
            self._settle(self._together(_fitting(results)), extended=True)
            return
        for result in results:
            if self._interrupted.is_set():
                return
            with self._journal.handing_in([result]):
                self._settle([self._alone(result, extended=False)], extended=False)

    def _speaks_extended(self) -> bool:
        """Ask the server again when it may be another one than before; of a plain one, not before every result."""
        now = time.monotonic()
        if self._client.fresh() and (self._extended or now >= self._ask_again):
            self._extended = None
        if self._extended is None:
            self._ask_again = now + ASK_AGAIN_SECONDS
            try:
                capabilities = self._client.call(GET_CAPABILITIES)
                self._extended = isinstance(capabilities, dict) and CAPABILITY in capabilities
            except Fault as fault:
                if fault.code in (Busy.code, InternalFault.code):
                    raise Unavailable(f"the server cannot say what it speaks: fault {fault.code}") from fault
                self._extended = False
            if self._told != self._extended:
                self._told = self._extended
                log.info("server speaks the %s dialect", "extended" if self._extended else "original")
        return self._extended

    def _together(self, results: list[Result]) -> list[_Verdict]:
        if len(results) == 1:
            return [self._alone(results[0], extended=True)]
        try:
            answers = self._client.multicall([callback(result, extended=True) for result in results])
        except (Fault, TooLarge, *_INEXPRESSIBLE):
            # The multicall itself was refused: find out one by one whom the server means.
            return [self._alone(result, extended=True) for result in results]
        return [_verdict(result, answer) for result, answer in zip(results, answers, strict=True)]

    def _alone(self, result: Result, *, extended: bool) -> _Verdict:
        self._beat = time.monotonic()
        try:
            method, params = callback(result, extended=extended)
            if method == STORE_COMMAND_RESULT and not extended:
                return _Verdict(result)
            return _verdict(result, self._client.call(method, *params))
        except Fault as fault:
            return _verdict(result, fault)
        except TooLarge as error:
            return _Verdict(result, str(error))
        except _INEXPRESSIBLE as error:
            log.exception("result ticket=%s cannot be put into a call", result.command.ticket)
            return _Verdict(result, f"cannot be put into a call: {type(error).__name__}")

    def _settle(self, verdicts: list[_Verdict], *, extended: bool) -> None:
        taken = [verdict.result for verdict in verdicts if not verdict.refusal]
        if extended:
            self._taken(taken, remember=True)
        else:
            self._taken([result for result in taken if _is_reading(result)], remember=False)
            self._not_for_this_server([result for result in taken if not _is_reading(result)])
        for verdict in verdicts:
            if verdict.refusal:
                self._refused(verdict.result, verdict.refusal, extended=extended)

    def _taken(self, results: list[Result], *, remember: bool) -> None:
        if results:
            self._journal.delivered(results, remember=remember)
            self.last_delivery = self._clock()
            self.delivered += len(results)
            self._on_taken(self._client.url)
            log.debug("delivered %d results", len(results))

    def _not_for_this_server(self, results: list[Result]) -> None:
        for result in results:
            message = result.outcome.get("message")
            log.info("result kept here ticket=%s method=%s: %s", result.command.ticket, result.command.method, message)
        if results:
            self._journal.closed(results)

    def _refused(self, result: Result, refusal: str, *, extended: bool) -> None:
        self.refusals += 1
        self.refused += 1
        if result.attempts + 1 >= TRIES:
            log.error("result rejected ticket=%s after %d tries: %s", result.command.ticket, TRIES, refusal)
            self._journal.rejected(result, refusal, remember=extended)
            return
        pause = REFUSED_PAUSES[result.attempts] * random.uniform(0.8, 1.2)
        log.warning("result refused ticket=%s, tried again in %.0f s: %s", result.command.ticket, pause, refusal)
        self._journal.postpone(result, self._clock() + pause, refusal)


def _is_reading(result: Result) -> bool:
    return result.command.method == SUBMIT_READING


def _verdict(result: Result, answer: Value | Fault) -> _Verdict:
    if isinstance(answer, Fault):
        return _Verdict(result, f"fault {answer.code}: {answer.message[:200]!r}")
    if answer != OK:
        return _Verdict(result, f"the server answered {str(answer)[:50]!r} instead of OK")
    return _Verdict(result)


def _fitting(results: list[Result]) -> list[Result]:
    """As many results as fit into one request, at least one."""
    size, count = 0, 0
    for result in results:
        size += result.size + 500
        if count and size > BATCH_BYTES:
            break
        count += 1
    return results[:count]
