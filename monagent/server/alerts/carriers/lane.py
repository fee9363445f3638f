"""The thread that sends the notifications of one channel: claim, send outside of any transaction, write down how it ended.

A row is claimed by moving its next try ahead, so each goes through one process; one that is killed leaves it to whoever
finds it after the lease, who sends it again under the same identity.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from typing import Protocol

from monagent.errors import Refused, StoreAway, StoreError, Unavailable
from monagent.mail.text import one_line
from monagent.server.alerts.carriers import parcels
from monagent.server.alerts.carriers.gates import Gates
from monagent.server.alerts.carriers.parcels import FAILED, LATER, SENT, Parcel, Verdict
from monagent.server.alerts.carriers.shelf import LEASE_SECONDS, Shelf
from monagent.server.database import Database

log = logging.getLogger(__name__)

LOOK_SECONDS = 1.0
"""Other processes put notifications there, too."""
AWAY_SECONDS = (1.0, 60.0)
"""Between tries to reach the database: the first, and the longest."""


class Channel(Protocol):
    """One way out. Used by its own thread alone. `shared`: all of its targets are reached through one server."""

    shared: bool

    def send(self, parcel: Parcel) -> Verdict:
        """Send it once.

        Raises:
            Unavailable: nobody is there to take it; the target is left alone for a while.
            Refused: it cannot be sent as it is.
            StoreAway: what it tells cannot be read now.
        """

    def rest(self) -> None:
        """There is nothing to send for now."""


class Lane:
    """Sends what waits for one channel, and whatever is for none that there is. `wake()` may be called from any thread."""

    def __init__(
        self, database: Database, name: str, channel: Channel, others: Collection[str], clock: Callable[[], float]
    ) -> None:
        """
        Args:
            database: where the notifications are.
            name: of the channel, as the rows say it.
            channel: the way out.
            others: channels that have lanes of their own.
            clock: seconds since the epoch.
        """
        self.name = name
        self._shelf = Shelf(database)
        self._channel = channel
        self._others = others
        self._clock = clock
        self._woken = threading.Event()
        self._stopping = threading.Event()
        self._gates = Gates(shared=channel.shared)
        self._thread = threading.Thread(target=self._run, name=f"carrier-{name}", daemon=True)
        self.trouble = ""
        """What keeps it from sending anything."""

    def start(self) -> None:
        """Start sending."""
        self._thread.start()

    def stop(self) -> None:
        """Stop after what is under way."""
        self._stopping.set()
        self._woken.set()

    def join(self, deadline: float) -> None:
        """Wait for the end, until `deadline` (monotonic seconds) at most; what is left waits in the database."""
        if self._thread.is_alive():
            self._thread.join(max(0.0, deadline - time.monotonic()))

    def wake(self) -> None:
        """There is something new to send."""
        self._woken.set()

    @property
    def is_alive(self) -> bool:
        """Whether its thread is at work."""
        return self._thread.is_alive()

    # -- the loop -----------------------------------------------------------------------------------------------

    def _run(self) -> None:
        away = 0.0
        while not self._stopping.is_set():
            self._woken.clear()
            try:
                wait = self._turn()
                away, self.trouble = 0.0, ""
            except StoreError as error:
                if not away:
                    log.warning("no notification can be sent now: %s", error)
                wait = away = min(max(away * 2, AWAY_SECONDS[0]), AWAY_SECONDS[1])
                self.trouble = str(error)
            except Exception:  # the top of the thread
                log.exception("sending notifications failed unexpectedly; it goes on")
                wait = LOOK_SECONDS
            if wait:
                self._woken.wait(wait)
        self._channel.rest()

    def _turn(self) -> float:
        """Send one parcel; seconds to wait before the next turn."""
        now = self._clock()
        if self._gates.is_shut(now):
            return self._rest(None, now)
        due = self._shelf.next_due(self._others)
        if due is None or due > now:
            return self._rest(due, now)
        parcel, ripe_at = self._shelf.claim(now, self._others, self._gates.targets(now))
        if parcel is None:
            return self._rest(ripe_at, now)
        with self._kept(parcel):
            verdict = parcels.judged(parcel, self._sent(parcel), self._clock())
        self._settle(parcel, verdict)
        return 0.0

    def _rest(self, until: float | None, now: float) -> float:
        self._channel.rest()
        return LOOK_SECONDS if until is None else min(max(until - now, 0.05), LOOK_SECONDS)

    # -- one parcel ---------------------------------------------------------------------------------------------

    def _sent(self, parcel: Parcel) -> Verdict:
        if parcel.channel != self.name:
            return Verdict(FAILED, f'this server has no way to send by "{one_line(parcel.channel, 20)}"')
        # One of many may be what the others suffer from.
        is_many = len(parcel.notes) > 1
        try:
            return self._channel.send(parcel)
        except Unavailable as error:
            return Verdict(LATER, str(error), away=True)
        except Refused as error:
            return Verdict(LATER if is_many else FAILED, str(error), apart=is_many)
        except StoreError:
            raise
        except Exception as error:  # whatever one notification does, it must not be tried for ever without a trace
            log.exception("notification %d cannot be sent", parcel.ids[0])
            return Verdict(LATER, f"{type(error).__name__}; the log tells more", apart=is_many)

    def _settle(self, parcel: Parcel, verdict: Verdict) -> None:
        """Write it down, however long the database is away: the target has it now, and must not get it again."""
        now = self._clock()
        next_try = now + parcels.pause(parcel.attempts)
        _tell(parcel, verdict, next_try - now)
        pause = AWAY_SECONDS[0]
        while True:
            try:
                self._shelf.settle(parcel, verdict, now, next_try)
                break
            except StoreAway as error:
                self.trouble = str(error)
                if self._stopping.wait(pause):
                    raise
                pause = min(pause * 2, AWAY_SECONDS[1])
        if verdict.away:
            self._gates.shut(parcel.target, now)
        elif self._gates.open(parcel.target):
            self._shelf.hurry(parcel.channel, None if self._channel.shared else parcel.target, now)

    @contextmanager
    def _kept(self, parcel: Parcel) -> Iterator[None]:
        """A slow mail server may take longer than a lease; nobody else is to send it meanwhile."""
        done = threading.Event()

        def keep() -> None:
            while not done.wait(LEASE_SECONDS / 3):
                try:
                    self._shelf.renew(parcel, self._clock())
                except StoreError as error:
                    log.warning("the claim on notification %d cannot be renewed: %s", parcel.ids[0], error)

        keeper = threading.Thread(target=keep, name="carrier-lease", daemon=True)
        keeper.start()
        try:
            yield
        finally:
            done.set()
            keeper.join(LEASE_SECONDS)


def _tell(parcel: Parcel, verdict: Verdict, pause: float) -> None:
    level, more = {
        SENT: (logging.INFO, verdict.trouble),
        LATER: (logging.WARNING, f"again in {pause:.0f} s: {verdict.trouble}"),
        FAILED: (logging.ERROR, f"{verdict.trouble}; monserver notification retry sends it again"),
    }[verdict.outcome]
    log.log(
        level,
        "notification %s id=%d count=%d rule=%s channel=%s attempt=%d %s",
        verdict.outcome,
        parcel.ids[0],
        len(parcel.notes),
        one_line(parcel.rule, 100),
        parcel.channel,
        parcel.attempts,
        one_line(more),
    )
