"""Take results from many callers at once: whatever waits shares one transaction, and nobody is answered before it is kept."""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import TypeAlias

from monagent.errors import Fault, StoreAway, Unavailable
from monagent.models import Value
from monagent.protocol import OK
from monagent.server import results
from monagent.server.database import Database
from monagent.server.records import Delivery, Host
from monagent.server.results import Observer
from monagent.server.tickets import AddressBook, judge

log = logging.getLogger(__name__)

TOGETHER = 500
"""Results in one transaction."""
WAITING = 2_000
"""Requests that may wait; more are told to come again."""
ANSWER_SECONDS = 20.0
GATHER_SECONDS, GATHERED, BUSY_SECONDS = 0.08, 40, 0.2
"""What comes within a moment is kept together, up to so many results, once transactions follow each other so closely."""

_Verdict: TypeAlias = "Value | Fault"


class _Request:
    """What one caller handed in, and what is to be answered."""

    def __init__(self, deliveries: Sequence[Delivery]) -> None:
        self.deliveries = deliveries
        self.done = threading.Event()
        self.answers: Sequence[_Verdict] = ()
        self.unknown: set[Host] = set()
        self.error: Exception | None = None
        self.given_up = False


class Intake:
    """One thread that keeps results. Any thread may hand some in."""

    def __init__(
        self,
        database: Database,
        addresses: AddressBook,
        observers: Sequence[Observer] = (),
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._database = database
        self._addresses = addresses
        self._observers = observers
        self._clock = clock
        self._queue: queue.Queue[_Request | None] = queue.Queue(WAITING)
        self._thread = threading.Thread(target=self._run, name="intake")
        self._busy = False
        self._last = 0.0
        self.taken = 0
        """Results kept since the start."""
        self.refused: Counter[str] = Counter()
        """Results refused since the start, by reason."""

    def start(self) -> None:
        """Begin to take results."""
        self._thread.start()

    def stop(self) -> None:
        """Keep what waits, then end."""
        if self._thread.is_alive():
            self._queue.put(None)
            self._thread.join()

    def take(self, deliveries: Sequence[Delivery]) -> Sequence[_Verdict]:
        """Keep results; once this returns they are on disk.

        Returns:
            For each OK, or the fault to answer.

        Raises:
            StoreAway: they cannot be kept now.
            Unavailable: the name of a host cannot be looked up now.
        """
        request = self._settle(deliveries)
        if request.unknown:
            # Name servers are asked here, by the caller's own thread, and not while others wait.
            for host in request.unknown:
                self._addresses.look_up(host)
            request = self._settle(deliveries)
        if request.unknown:
            raise Unavailable("the names of its hosts cannot be kept in mind for long enough")
        return request.answers

    def _settle(self, deliveries: Sequence[Delivery]) -> _Request:
        if not self._thread.is_alive():
            raise StoreAway("the database is not there yet")
        request = _Request(deliveries)
        try:
            self._queue.put(request, timeout=ANSWER_SECONDS)
        except queue.Full:
            raise StoreAway("too many results wait to be kept") from None
        if not request.done.wait(ANSWER_SECONDS):
            request.given_up = True
            raise StoreAway(f"the results could not be kept within {ANSWER_SECONDS:.0f} s")
        if request.error is not None:
            raise request.error
        return request

    def _run(self) -> None:
        while (requests := self._waiting()) is not None:
            self._serve(requests)

    def _waiting(self) -> list[_Request] | None:
        first = self._queue.get()
        if first is None:
            return None
        requests, size = [first], len(first.deliveries)
        # When there is much to do it is worth waiting for a moment: a transaction costs as much as many results.
        until = time.monotonic() + (GATHER_SECONDS if self._busy else 0.0)
        while size < TOGETHER:
            left = until - time.monotonic() if size < GATHERED else 0.0
            try:
                one = self._queue.get(block=left > 0, timeout=max(left, 0.0))
            except queue.Empty:
                break
            if one is None:
                self._queue.put(None)
                break
            requests.append(one)
            size += len(one.deliveries)
        self._busy = len(requests) > 1 or time.monotonic() - self._last < BUSY_SECONDS
        self._last = time.monotonic()
        return requests

    def _serve(self, requests: Sequence[_Request]) -> None:
        # Whoever has given up will come again.
        requests = [request for request in requests if not request.given_up]
        if not requests:
            return
        try:
            self._keep(requests)
        except Exception as error:  # noqa: BLE001 - the top of a thread: whatever it was, the callers must hear of it
            if len(requests) > 1 and not isinstance(error, StoreAway):
                # What one of them handed in must not cost the others theirs.
                half = len(requests) // 2
                self._serve(requests[:half])
                self._serve(requests[half:])
                return
            for request in requests:
                request.error = error
        for request in requests:
            request.done.set()

    def _keep(self, requests: Sequence[_Request]) -> None:
        now = self._clock()
        deliveries = [delivery for request in requests for delivery in request.deliveries]
        with self._database.write() as db:
            found = results.find(db, self._database, [delivery.ticket for delivery in deliveries])
            unknown = {host for _, host in found.values() if not self._addresses.is_ready(host)}
            ready = [request for request in requests if not _wants(request, found, unknown)]
            verdicts = judge(
                [one for request in ready for one in request.deliveries], found, self._addresses.is_from, now
            )
            taken = [verdict for verdict in verdicts if isinstance(verdict, tuple)]
            results.keep(db, self._database, taken, now, self._observers)
        self.taken += len(taken)
        answers = iter(verdicts)
        for request in ready:
            request.answers = [self._answer(delivery, next(answers)) for delivery in request.deliveries]

    def _answer(self, delivery: Delivery, verdict: object) -> _Verdict:
        if not isinstance(verdict, Fault):
            return OK
        self.refused[type(verdict).__name__.lower()] += 1
        log.warning("result refused ticket=%.40r peer=%s: %s", delivery.ticket, delivery.peer, verdict.message)
        return verdict


def _wants(request: _Request, found: results.Found, unknown: set[Host]) -> bool:
    """Whether a request needs a name looked up first; its hosts are noted with it."""
    request.unknown = {
        found[one.ticket][1] for one in request.deliveries if one.ticket in found and found[one.ticket][1] in unknown
    }
    return bool(request.unknown)
