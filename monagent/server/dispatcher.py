"""Send what is due: one thread turns the database's rows into commands, another one carries them to the agents."""

from __future__ import annotations

import asyncio
import logging
import ssl
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from monagent.errors import StoreAway
from monagent.server.courier import Courier, Sent
from monagent.server.database import Database
from monagent.server.marks import mark
from monagent.server.names import Names
from monagent.server.scheduler import Batches, Scheduler
from monagent.server.ticketing import LIFETIME_SECONDS

log = logging.getLogger(__name__)

POLL_SECONDS = 0.2
AWAY_SECONDS = (0.5, 10.0)
"""Pauses while the database is away: the first, and the longest."""
MARKS = 5_000
"""Written down at once; a statement has only so many parameters."""
JUMP_SECONDS = 5.0
"""A wall clock that ran so much faster or slower than it should was set."""
FINISH_SECONDS = 3.0


class Dispatcher:
    """Two threads: `dispatcher` asks the database, `courier` talks to agents."""

    def __init__(
        self,
        database: Database,
        names: Names,
        tls: ssl.SSLContext | None = None,
        lifetime: float = LIFETIME_SECONDS,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._database = database
        self._clock = clock
        self._names = names
        self._tls = tls
        self.scheduler = Scheduler(database, lifetime)
        self._loop = asyncio.new_event_loop()
        self._courier: Courier | None = None
        self._sent: list[Sent] = []
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._threads = (
            threading.Thread(target=self._run, name="dispatcher"),
            threading.Thread(target=self._loop.run_forever, name="courier"),
        )
        self._offset = 0.0
        self._realign = True
        self.away: StoreAway | None = None
        """Why the database cannot be asked now."""
        self.beat = 0.0
        """When it was last asked, by the monotonic clock."""
        self.counts: Counter[str] = Counter()
        """Commands since the start: acknowledged, refused, trouble."""

    @property
    def busy(self) -> int:
        """Hosts that something is being sent to."""
        return self._courier.busy if self._courier is not None else 0

    def start(self) -> None:
        """Begin to send."""
        self._courier = Courier(self._note, self._names, self._tls)
        self._offset = self._clock() - time.monotonic()
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Finish the exchanges under way and write down what became of them."""
        self._stopping.set()
        dispatcher, courier = self._threads
        if not dispatcher.is_alive() or self._courier is None:
            return
        dispatcher.join()
        finished = asyncio.run_coroutine_threadsafe(self._courier.finish(FINISH_SECONDS), self._loop)
        with suppress(TimeoutError):
            finished.result(2 * FINISH_SECONDS)
        self._loop.call_soon_threadsafe(self._loop.stop)
        courier.join()
        self._loop.close()
        try:
            while self._sent:
                self._write_marks()
        except StoreAway as error:
            log.warning("what was sent last cannot be written down, and may be sent once more: %s", error)

    def _note(self, sent: list[Sent]) -> None:
        with self._lock:
            self._sent += sent

    def _run(self) -> None:
        pause = POLL_SECONDS
        while not self._stopping.wait(pause):
            try:
                pause = 0.0 if self._turn() else POLL_SECONDS
                if self.away is not None:
                    log.info("the database is back")
                    self.away = None
            except StoreAway as error:
                if self.away is None:
                    log.error("nothing can be sent: %s", error)  # noqa: TRY400 - a state, not a bug
                self.away = error
                pause = min(max(pause * 2, AWAY_SECONDS[0]), AWAY_SECONDS[1])
            except Exception:
                log.exception("a turn of the dispatcher failed")
                pause = AWAY_SECONDS[1]
            self.beat = time.monotonic()

    def _turn(self) -> bool:
        """Ask once; whether to ask again at once."""
        now = self._clock()
        self._watch_clock(now)
        with self._lock:
            marks = bool(self._sent)
        if not (marks or self._realign or self.scheduler.anything(now)):
            return False
        batches: Batches = {}
        with self._taken() as sent, self._database.write() as db:
            mark(db, self._database, sent, now)
            if self._realign:
                brought_back = self.scheduler.realign(db, now)
                self._realign = False
                log.info("schedules looked over, brought back: %d", brought_back)
            batches, more = self.scheduler.claim(db, now)
            more = more or bool(self._sent)
        if batches:
            self._loop.call_soon_threadsafe(self._send, batches)
        return more

    def _send(self, batches: Batches) -> None:
        assert self._courier is not None
        for host, commands in batches.items():
            self._courier.send(host, commands)

    @contextmanager
    def _taken(self) -> Iterator[list[Sent]]:
        """What became of commands since the last time, to be written down; kept if that cannot be done."""
        with self._lock:
            sent, self._sent = self._sent[:MARKS], self._sent[MARKS:]
        try:
            yield sent
        except BaseException:
            with self._lock:
                self._sent = sent + self._sent
            raise
        for one in sent:
            self.counts["trouble" if one.trouble else "refused" if one.refusal else "acknowledged"] += 1

    def _write_marks(self) -> None:
        with self._taken() as sent, self._database.write() as db:
            mark(db, self._database, sent, self._clock())

    def _watch_clock(self, now: float) -> None:
        offset = now - time.monotonic()
        if abs(offset - self._offset) > JUMP_SECONDS:
            log.warning("the clock was set by %.0f s", offset - self._offset)
            self._realign = True
        self._offset = offset
