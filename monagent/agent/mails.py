"""The agent's mails: made when something asks for one, kept on disk, sent beside all other work.

Jinja and what else makes mails is loaded with the first mail; an agent that sends none stays as small as it was.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from monagent.agent.receipts import token_of
from monagent.errors import Busy, JournalError, Refused
from monagent.mail.settings import QUEUE_FILE, Mailing, incidents_of, template_for
from monagent.models import Job, Outcome

if TYPE_CHECKING:
    from monagent.mail.compose import Composer, Sources
    from monagent.mail.outbox import Outbox
    from monagent.mail.queue import Fate, Mail, Queue

log = logging.getLogger(__name__)


class Mails:
    """Any thread may call it."""

    def __init__(
        self,
        directory: Path,
        mailing: Mailing,
        sources: Callable[[], Sources],
        finish: Callable[[Job, Outcome], None],
    ) -> None:
        """
        Args:
            directory: of the queue.
            mailing: what mails are made and sent by.
            sources: makes what mails draw on; called with the first one.
            finish: takes the outcome of a job whose mail was taken, or given up.
        """
        self._file = directory / QUEUE_FILE
        self.mailing = mailing
        self._sources = sources
        self._finish = finish
        self._lock = threading.RLock()
        self._making = threading.Lock()
        self._composers: dict[bool, Composer] = {}
        self._queue: Queue | None = None
        self._outbox: Outbox | None = None
        self._expected: dict[str, Job] = {}
        self._stopped = False

    # -- life ---------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Go on with what waits from before, and be ready where there is a report to be sent."""
        if self.mailing.reports or self._file.exists():
            try:
                self._opened()
            except JournalError as error:
                log.error("%s", error)  # noqa: TRY400 - said again by whoever wants to send

    def stop(self, deadline: float) -> None:
        """Stop after the mail under way, or at `deadline` (monotonic seconds); what is left stays on disk."""
        with self._lock:
            self._stopped = True
            outbox = self._outbox
        if outbox is not None:
            outbox.stop(deadline)

    def use(self, mailing: Mailing) -> None:
        """From now on make and send mails by these settings."""
        with self._making, self._lock:
            self.mailing = mailing
            self._composers.clear()
            if self._outbox is not None:
                self._outbox.use(mailing.servers)
        self.start()

    def _opened(self) -> Queue:
        with self._lock:
            if self._stopped:
                raise JournalError("no mail is taken any more: the agent is ending")
            if self._queue is None:
                from monagent.mail.outbox import Outbox  # noqa: PLC0415 - only where mail is sent
                from monagent.mail.queue import Queue  # noqa: PLC0415

                self._queue = Queue(self._file)
                self._outbox = Outbox(self._queue, self.mailing.servers, on_settled=self._settled)
                self._outbox.start()
            return self._queue

    # -- sending ------------------------------------------------------------------------------------------------

    def send(self, job: Job, name: str, context: Mapping[str, Any]) -> Outcome | None:
        """Send a report for a job; None: its outcome comes once a mail server has taken the mail.

        A job that brought its mail before, and was taken up again after a restart, brings no second one.
        """
        # The arguments may be a megabyte; the key stays for a week.
        key = hashlib.sha256(token_of(job).encode()).hexdigest()
        try:
            queue = self._opened()
            self._expected[key] = job
            fate = queue.fate(key)
            if fate is None:
                self.put([self.make(name, "", context, incidents=incidents_of(context), key=key)])
                return None
        except (Refused, Busy, JournalError) as error:
            self._expected.pop(key, None)
            return {"status": "error", "message": str(error), "report": name}
        # It may have been settled while we looked.
        if fate.settled is not None and self._expected.pop(key, None) is not None:
            return self._result(fate)
        return None

    def make(
        self,
        name: str,
        template: str,
        context: Mapping[str, Any],
        *,
        to: Sequence[str] | None = None,
        incidents: Sequence[str] = (),
        key: str = "",
        held_back: int = 0,
        built_in: bool = False,
    ) -> Mail:
        """Make a mail, without sending it.

        Args:
            name: of the report.
            template: what it is shown by, unless the site has one of its own; "": as its section or the context says.
            context: what it tells.
            to: recipients other than the section's.
            incidents: what it belongs to.
            key: of the job that asks for it.
            held_back: how many were not sent since the last one.
            built_in: leave the site's templates and subjects alone.

        Raises:
            Refused: there is no such report, or the context or a template is wrong.
        """
        report = self.mailing.reports.get(name)
        if report is None:
            raise Refused(f"the configuration has no [mail:{name}] any more")
        if not report.to and not to:
            raise Refused(f"[mail:{name}] to is empty: there is nobody to send it to")
        if built_in:
            report = replace(report, template=template, subject="")
        elif template or not report.template:
            report = report.shown_by(template or template_for(context))
        if to is not None:
            report = replace(report, to=tuple(to))
        references = self._opened().thread(incidents) if incidents else ()
        with self._making:
            return (
                self._composer(built_in=built_in)
                .compose(report, context, references=references, incidents=incidents, key=key, held_back=held_back)
                .mail
            )

    def put(self, mails: Sequence[Mail], memory: Mapping[str, Any] | None = None) -> None:
        """Take mails and change what is remembered, all or nothing, on disk when this returns.

        Raises:
            Busy: too many wait already.
            JournalError: they cannot be written.
        """
        self._opened().put(mails, memory)
        if mails and self._outbox is not None:
            self._outbox.wake()

    def remembered(self) -> dict[str, Any]:
        """What `put` was given to remember; nothing where no mail was ever sent."""
        return self._opened().remembered() if self.mailing.reports or self._file.exists() else {}

    def _composer(self, *, built_in: bool) -> Composer:
        if built_in not in self._composers:
            from monagent.mail.compose import Composer  # noqa: PLC0415 - 10 MB

            mailing = self.mailing
            templates = None if built_in else mailing.templates
            self._composers[built_in] = Composer(mailing.host, mailing.sender, templates, self._sources())
        return self._composers[built_in]

    # -- what became of them ------------------------------------------------------------------------------------

    def _settled(self, fate: Fate) -> None:
        job = self._expected.pop(fate.key, None) if fate.key else None
        if job is not None:
            self._finish(job, self._result(fate))

    @staticmethod
    def _result(fate: Fate) -> Outcome:
        from monagent.mail.outbox import result_of  # noqa: PLC0415 - loaded long ago

        return result_of(fate)

    def ailing(self, _seconds: float) -> str:
        """What is wrong with the thread that sends."""
        return self._outbox.ailing() if self._outbox is not None and not self._stopped else ""

    def status(self) -> dict[str, Any]:
        """How many mails wait, and why; what `cmd_status` reports."""
        if self._queue is None or self._outbox is None:
            return {"waiting": 0, "sent": 0, "problem": ""}
        waiting = 0
        with contextlib.suppress(JournalError):
            waiting = self._queue.count()
        return {"waiting": waiting, "sent": self._outbox.sent, "problem": self._outbox.held or self._outbox.away}
