"""Send what the queue holds, oldest first, until a mail server has taken each mail or nobody ever will.

At least once: a mail leaves the queue after the server's answer. A repeat after a crash has the same Message-ID.
"""

from __future__ import annotations

import contextlib
import logging
import random
import threading
import time
from collections.abc import Callable, Mapping, Sequence

from monagent.errors import JournalError, Unavailable
from monagent.mail import queue
from monagent.mail.queue import Due, Fate, Queue
from monagent.mail.settings import Server
from monagent.mail.transport import LoginRefused, MailTooLarge, Reply, Session, connect

log = logging.getLogger(__name__)

GIVE_UP_SECONDS = 3 * 86_400.0
FIRST_PAUSE, LAST_PAUSE = 5.0, 1800.0
HOLD_SECONDS = 300.0
"""Between logins, once one was refused: some servers shut out who tries too often."""
IDLE_SECONDS = 5.0
"""How long a connection is kept with nothing to send."""
TIDY_SECONDS = 3600.0
ROUND_SECONDS = 60.0
SAVE_SECONDS = 1.0


class Outbox:
    """The thread that sends. `wake()` may be called from any thread."""

    def __init__(
        self,
        mails: Queue,
        servers: Sequence[Server],
        *,
        on_settled: Callable[[Fate], None] = lambda _fate: None,
        clock: Callable[[], float] = time.time,
        join: Callable[[Server], Session] = connect,
    ) -> None:
        """
        Args:
            mails: where they wait.
            servers: to be tried in this order.
            on_settled: called from this thread when each recipient of a mail has it, or never will.
            clock: seconds since the epoch.
            join: connects to a server.
        """
        self._queue = mails
        self._servers = tuple(servers)
        self._on_settled = on_settled
        self._clock = clock
        self._join = join
        self._woken = threading.Event()
        self._stopping = False
        self._session: Session | None = None
        self._pause = 0.0
        self._resume = 0.0
        self._tidied = 0.0
        self._complaint = ""
        self._thread = threading.Thread(target=self._run, name="outbox", daemon=True)
        self.held = ""
        self.away = ""
        self.sent = 0

    def start(self) -> None:
        """Start sending."""
        self._thread.start()

    def wake(self) -> None:
        """There is something new to send."""
        self._woken.set()

    def use(self, servers: Sequence[Server]) -> None:
        """From now on send by these; what was held for a wrong login is tried at once."""
        self._servers = tuple(servers)
        self._resume, self._pause = 0.0, 0.0
        self._woken.set()

    def stop(self, deadline: float) -> None:
        """Stop after the mail under way, or at `deadline` (monotonic seconds). What is left stays in the queue."""
        self._stopping = True
        self._woken.set()
        if self._thread.is_alive():
            self._thread.join(max(0.0, deadline - time.monotonic()))

    # -- the loop -----------------------------------------------------------------------------------------------

    def _run(self) -> None:
        while not self._stopping:
            try:
                self._turn()
            except JournalError as error:
                log.error("%s", error)  # noqa: TRY400 - the disk's fault
                self._wait(ROUND_SECONDS)
            except Exception:  # the top of the thread: sending must go on whatever one mail did
                log.exception("sending mail failed unexpectedly")
                self._wait(ROUND_SECONDS)
        self._part()

    def _turn(self) -> None:
        """Send one mail, or wait for one."""
        self._woken.clear()
        if time.monotonic() - self._tidied > TIDY_SECONDS or not self._tidied:
            self._queue.tidy()
            self._tidied = time.monotonic()
        left = self._resume - time.monotonic()
        due = self._queue.next_due() if left <= 0 else None
        if due is None:
            self._idle(left)
            return
        try:
            self._send(due)
        except LoginRefused as error:
            self._hold(str(error))
        except Unavailable as error:
            self._go_away(str(error))

    def _idle(self, left: float) -> None:
        when = self._queue.next_time()
        seconds = ROUND_SECONDS if when is None else min(max(when - self._clock(), 0.2), ROUND_SECONDS)
        if left > 0:
            seconds = min(left, ROUND_SECONDS)
        if self._session is not None and seconds > IDLE_SECONDS:
            if self._wait(IDLE_SECONDS):
                return
            self._part()
            seconds -= IDLE_SECONDS
        self._wait(seconds)

    def _wait(self, seconds: float) -> bool:
        return self._stopping or self._woken.wait(seconds)

    def _part(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            session.close()

    # -- one mail -----------------------------------------------------------------------------------------------

    def _send(self, due: Due) -> None:
        session = self._joined()
        try:
            replies = session.send(due.sender, due.recipients, due.data)
        except MailTooLarge as error:
            if due.has_lean:
                log.warning(
                    "mail %d of [mail:%s] is too large for %s, sent without attachments",
                    due.id,
                    due.report,
                    session.server,
                )
                self._queue.shrink(due.id)
                return
            replies = dict.fromkeys(due.recipients, Reply(552, str(error)))
        except Unavailable:
            self._part()
            raise
        if any(reply.taken for reply in replies.values()):
            self._back()
        self._settle(due, replies)

    def _joined(self) -> Session:
        """The session there is, or one with the first server that lets us in."""
        if self._session is not None:
            return self._session
        refused: LoginRefused | None = None
        away: list[str] = []
        for server in self._servers:
            try:
                self._session = self._join(server)
            except LoginRefused as error:
                refused = refused or error
            except Unavailable as error:
                away.append(str(error))
            else:
                return self._session
        if refused:
            raise refused
        raise Unavailable("; ".join(away) or "no mail server is configured")

    def _settle(self, due: Due, replies: Mapping[str, Reply]) -> None:
        expired = self._clock() - due.made > GIVE_UP_SECONDS
        verdicts = {address: _verdict(reply, expired=expired) for address, reply in replies.items()}
        until = self._clock() + _pause(due.attempts)
        self._note(due, replies)
        # The server has it now: sending it again because our disk is full would be wrong.
        while True:
            try:
                fate = self._queue.settle(due.id, verdicts, until=until)
                break
            except JournalError as error:
                log.error("%s; nothing is sent until it can be", error)  # noqa: TRY400
                if self._stopping:
                    raise
                time.sleep(SAVE_SECONDS)
        if fate.settled is not None:
            self._on_settled(fate)

    def _note(self, due: Due, replies: Mapping[str, Reply]) -> None:
        taken = sum(reply.taken for reply in replies.values())
        self.sent += bool(taken)
        log.info(
            "mail done id=%d report=%s taken=%d of=%d attempt=%d",
            due.id,
            due.report,
            taken,
            len(replies),
            due.attempts + 1,
        )
        for address, reply in replies.items():
            if not reply.taken:
                again = "it is tried again" if reply.passing else "it is dropped"
                log.warning("mail %d for %s was not taken, %s: %s", due.id, address, again, reply)

    # -- when nothing can be sent -------------------------------------------------------------------------------

    def _hold(self, reason: str) -> None:
        if self.held != reason:
            self.held = reason
            log.error(
                "no mail is sent: %s; see [mail] user and password_file. Tried again every %.0f s", reason, HOLD_SECONDS
            )
        self._resume = time.monotonic() + HOLD_SECONDS
        self._give_up(reason)

    def _go_away(self, reason: str) -> None:
        self._part()
        self.away = reason
        if self._complaint != reason:
            self._complaint = reason
            log.warning("no mail can be sent now: %s; mails are kept and tried again", reason)
        self._pause = min(max(self._pause * 2, FIRST_PAUSE), LAST_PAUSE)
        self._resume = time.monotonic() + self._pause * random.uniform(0.7, 1.0)
        self._give_up(reason)

    def _back(self) -> None:
        if self.held or self.away:
            log.warning("mail can be sent again")
            self._queue.hurry()
        self.held = self.away = self._complaint = ""
        self._pause = 0.0

    def _give_up(self, reason: str) -> None:
        """Mails that waited for too long are not sent any more."""
        for fate in self._queue.old(self._clock() - GIVE_UP_SECONDS):
            waiting = [address for address, (state, _) in fate.recipients.items() if state == queue.WAITING]
            settled = self._queue.settle(fate.id, dict.fromkeys(waiting, (queue.GIVEN_UP, reason)))
            log.error(
                "mail %d of [mail:%s] was given up after %.0f days: %s",
                fate.id,
                fate.report,
                GIVE_UP_SECONDS / 86_400,
                reason,
            )
            with contextlib.suppress(Exception):
                self._on_settled(settled)


def _verdict(reply: Reply, *, expired: bool) -> tuple[str, str]:
    if reply.taken:
        return queue.TAKEN, str(reply)
    if not reply.passing:
        return queue.REFUSED, str(reply)
    return (queue.GIVEN_UP if expired else queue.WAITING), str(reply)


def _pause(attempts: int) -> float:
    """Seconds until the next try of one mail."""
    return min(FIRST_PAUSE * 2.0 ** min(attempts, 20), LAST_PAUSE) * random.uniform(0.7, 1.0)


def result_of(fate: Fate) -> dict[str, object]:
    """What a job is told of its mail, once that is settled."""
    taken = [address for address, (state, _) in fate.recipients.items() if state == queue.TAKEN]
    lost = [f"{address} ({reply})" for address, (state, reply) in fate.recipients.items() if state != queue.TAKEN]
    message = f"[mail:{fate.report}] was taken for {len(taken)} of {len(fate.recipients)} recipients"
    if lost:
        message += f"; not for {', '.join(lost)}"
    return {
        "status": "error" if lost else "ok",
        "message": message[:900],
        "report": fate.report,
        "subject": fate.subject,
        "message_id": fate.message_id,
        "recipients": [
            {"address": address, "state": state, "reply": reply} for address, (state, reply) in fate.recipients.items()
        ],
    }
