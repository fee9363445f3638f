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
from monagent.mail.servers import HOLD_SECONDS, Servers
from monagent.mail.settings import Server
from monagent.mail.transport import LoginRefused, MailTooLarge, Reply, Session, connect

log = logging.getLogger(__name__)

GIVE_UP_SECONDS = 3 * 86_400.0
FIRST_PAUSE, LAST_PAUSE = 5.0, 1800.0
TROUBLE = "trouble"
"""What the queue remembers while nothing can be sent: why."""
CHANCE_SECONDS = 3600.0
"""How long sending must have failed here before anything is given up."""
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
        self._servers = Servers(servers, join)
        self._on_settled = on_settled
        self._clock = clock
        self._woken = threading.Event()
        self._stopping = False
        self._pause = 0.0
        self._resume = 0.0
        self._tidied = 0.0
        self._renewed: tuple[Server, ...] | None = None
        self._told = ""
        self._broken: set[int] = set()
        self._first_tried: dict[int, float] = {}
        self._trouble_since: float | None = None
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
        self._renewed = tuple(servers)
        self._woken.set()

    def ailing(self) -> str:
        """What is wrong with the thread."""
        return "" if self._thread.is_alive() else "the thread that sends mail is gone"

    def stop(self, deadline: float) -> None:
        """Stop after the mail under way, or at `deadline` (monotonic seconds). What is left stays in the queue."""
        self._stopping = True
        self._woken.set()
        if self._thread.is_alive():
            self._thread.join(max(0.0, deadline - time.monotonic()))

    # -- the loop -----------------------------------------------------------------------------------------------

    def _run(self) -> None:
        begun = False
        while not self._stopping:
            try:
                if not begun:
                    self._queue.put([], {TROUBLE: None})  # a former process's word; nobody knows yet
                    begun = True
                self._turn()
            except JournalError as error:
                log.error("%s", error)  # noqa: TRY400 - the disk's fault
                self._wait(ROUND_SECONDS)
            except Exception:  # the top of the thread: sending must go on whatever one mail did
                log.exception("sending mail failed unexpectedly")
                self._wait(ROUND_SECONDS)
        self._servers.part()

    def _turn(self) -> None:
        """Send one mail, or wait for one."""
        self._woken.clear()
        if self._renewed is not None:
            servers, self._renewed = self._renewed, None
            self._servers.use(servers)
            self._resume, self._pause = 0.0, 0.0
            self._broken.clear()
        if time.monotonic() - self._tidied > TIDY_SECONDS or not self._tidied:
            self._queue.tidy()
            self._tidied = time.monotonic()
        left = self._resume - time.monotonic()
        if left > 0:
            self._idle(min(left, ROUND_SECONDS))
            return
        due, when = self._queue.next_due()
        if due is None:
            self._idle(ROUND_SECONDS if when is None else min(max(when - self._clock(), 0.05), ROUND_SECONDS))
            return
        try:
            self._send(due)
        except LoginRefused as error:
            self._hold(error)
        except Unavailable as error:
            self._go_away(str(error))
        except JournalError:
            raise
        except Exception:  # whatever is wrong with one mail, or one server, must not keep the others
            log.exception("mail %d of [mail:%s] cannot be sent now", due.id, due.report)
            self._servers.part()
            self._save(due, {}, self._clock() + _pause(due.attempts))

    def _idle(self, seconds: float) -> None:
        if self._servers.is_connected and seconds > IDLE_SECONDS:
            if self._wait(IDLE_SECONDS):
                return
            self._servers.part()
            seconds -= IDLE_SECONDS
        self._wait(seconds)

    def _wait(self, seconds: float) -> bool:
        return self._stopping or self._woken.wait(seconds)

    # -- one mail -----------------------------------------------------------------------------------------------

    def _send(self, due: Due) -> None:
        """Offer a mail to each server in turn, until each recipient has it, or is refused for good."""
        replies: dict[str, Reply] = {}
        broken: Unavailable | None = None
        left = list(due.recipients)
        for session in self._servers.sessions():
            try:
                replies |= session.send(due.sender, left, due.data)
            except MailTooLarge as error:
                if due.has_lean:
                    self._shrink(due, replies, session.server)
                    return
                replies |= dict.fromkeys(left, Reply(552, str(error)))
            except Unavailable as error:
                broken = error
                self._servers.part()
                continue
            left = [address for address in left if replies[address].passing]
            if not left:
                break
        if replies:
            self._settle(due, replies)
        elif broken is not None:
            self._hung_up(due, broken)

    def _shrink(self, due: Due, replies: Mapping[str, Reply], server: Server) -> None:
        """From now on without attachments, for those whom no server before this one has settled."""
        log.warning("mail %d of [mail:%s] is too large for %s, sent without attachments", due.id, due.report, server)
        done = {address: reply for address, reply in replies.items() if not reply.passing}
        if done:
            self._settle(due, done)
        self._queue.shrink(due.id)

    def _hung_up(self, due: Due, error: Unavailable) -> None:
        """The servers hang up on this mail, or on all: the next one shows which."""
        log.warning("mail %d of [mail:%s] is tried again: %s", due.id, due.report, error)
        given_up = dict.fromkeys(due.recipients, (queue.GIVEN_UP, str(error))) if self._expired(due) else {}
        self._told_fate(self._save(due, given_up, self._clock() + _pause(due.attempts)))
        self._broken.add(due.id)
        if len(self._broken) > 1:
            raise error

    def _expired(self, due: Due) -> bool:
        """Whether a mail waited for too long, and had its chance here: the host may have been off for days."""
        first = self._first_tried.setdefault(due.id, time.monotonic())
        return self._clock() - due.made > GIVE_UP_SECONDS and time.monotonic() - first >= CHANCE_SECONDS

    def _settle(self, due: Due, replies: Mapping[str, Reply]) -> None:
        expired = self._expired(due)
        verdicts = {address: _verdict(reply, expired=expired) for address, reply in replies.items()}
        self._note(due, replies)
        fate = self._save(due, verdicts, self._clock() + _pause(due.attempts))
        self._back(due.id)
        self._told_fate(fate)

    def _told_fate(self, fate: Fate) -> None:
        if fate.settled is not None:
            self._first_tried.pop(fate.id, None)
            self._on_settled(fate)

    def _save(self, due: Due, verdicts: Mapping[str, tuple[str, str]], until: float) -> Fate:
        """Write down what the server said, however long the disk is full: it has the mail now, and must not get it again."""
        while True:
            try:
                return self._queue.settle(due.id, verdicts, until=until)
            except JournalError as error:
                log.error("%s; nothing is sent until it can be", error)  # noqa: TRY400
                if self._stopping:
                    raise
                time.sleep(SAVE_SECONDS)

    def _note(self, due: Due, replies: Mapping[str, Reply]) -> None:
        taken = sum(reply.taken for reply in replies.values())
        self.sent += bool(taken)
        log.info(
            "mail tried id=%d report=%s taken=%d of=%d attempt=%d",
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

    def _hold(self, error: LoginRefused) -> None:
        if not self.held:
            log.error("no mail is sent: %s", error)
        self.held = str(error)
        self._rest(HOLD_SECONDS, self.held)

    def _go_away(self, reason: str) -> None:
        self._servers.part()
        if not self.away:
            log.warning("no mail can be sent now: %s; mails are kept and tried again", reason)
        self.away = reason
        self._pause = min(max(self._pause * 2, FIRST_PAUSE), LAST_PAUSE)
        self._rest(self._pause * random.uniform(0.7, 1.0), reason)

    def _rest(self, seconds: float, reason: str) -> None:
        if self._told != reason:
            self._told = reason
            self._queue.put([], {TROUBLE: reason})
        self._resume = time.monotonic() + seconds
        if self._trouble_since is None:
            self._trouble_since = time.monotonic()
        # The host may have been off for days: what waits gets a chance first.
        if time.monotonic() - self._trouble_since >= CHANCE_SECONDS:
            self._give_up(reason)

    def _back(self, number: int) -> None:
        """A server has answered, whatever it said: there is one that can be spoken to."""
        trouble = self.held or self.away
        self.held = self.away = ""
        self._told = ""
        self._trouble_since, self._pause = None, 0.0
        self._broken.clear()
        if trouble:
            log.warning("mail can be sent again")
            with contextlib.suppress(JournalError):  # they are tried later then
                self._queue.hurry(number)
                self._queue.put([], {TROUBLE: None})

    def _give_up(self, reason: str) -> None:
        """Mails that waited for too long are not sent any more."""
        for fate in self._queue.old(self._clock() - GIVE_UP_SECONDS):
            waiting = [address for address, (state, _) in fate.recipients.items() if state == queue.WAITING]
            settled = self._queue.settle(fate.id, dict.fromkeys(waiting, (queue.GIVEN_UP, reason)))
            self._first_tried.pop(fate.id, None)
            log.error(
                "mail %d of [mail:%s] was given up after %.0f days: %s",
                fate.id,
                fate.report,
                GIVE_UP_SECONDS / 86_400,
                reason,
            )
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
