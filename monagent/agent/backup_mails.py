"""Mail the reports of backup runs: each run that is wanted, and after a bad one the first good one."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping

from monagent.agent.backups import BUSY
from monagent.agent.mails import Mails
from monagent.agent.telling import Telling
from monagent.errors import Busy, JournalError
from monagent.models import Outcome

log = logging.getLogger(__name__)

RETRY_SECONDS = 5.0
DUE, BACKUP = "backup-due", "backup"
"""What is remembered under these words: reports that are to be told, and the incident of a job that is not well."""


class BackupMails:
    """`note` may be called from any thread, the rest by the one that watches.

    Attributes:
        jobs: the report for each job that is mailed about, and when: never, problems, changes or always.
        due: reports that are to be told, by what they are remembered under.
        incidents: of jobs whose last run was bad.
    """

    def __init__(
        self,
        jobs: Mapping[str, tuple[str, str]],
        mails: Mails,
        telling: Telling,
        clock: Callable[[], float],
        timer: Callable[[], float],
    ) -> None:
        self.jobs = jobs
        self._mails = mails
        self._telling = telling
        self._clock = clock
        self._timer = timer
        self.due: dict[str, Outcome] = {}
        self.incidents: dict[str, str] = {}
        self._not_before: dict[str, float] = {}

    def note(self, job: str, outcome: Outcome) -> None:
        """A run has ended. On disk when this returns."""
        if job not in self.jobs or outcome.get("result") == BUSY:
            return
        key, told = f"{DUE}\0{job}\0{time.time_ns()}", {**outcome, "job": job}
        try:
            self._mails.put([], {key: told})
        except (Busy, JournalError) as error:
            log.error("the report of backup %s cannot be kept: %s", job, error)  # noqa: TRY400 - the disk's fault
        self.due[key] = told

    def tell(self) -> None:
        """Mail what has ended since, where that is wanted; what cannot be kept now is tried again later."""
        for key, outcome in list(self.due.items()):
            if self._timer() < self._not_before.get(key, 0.0):
                continue
            try:
                self._tell(key, str(outcome["job"]), outcome)
            except (Busy, JournalError) as error:
                log.error("the report of a backup waits: %s", error)  # noqa: TRY400 - the disk's fault, or the queue's
                self._not_before[key] = self._timer() + RETRY_SECONDS

    def _tell(self, key: str, job: str, outcome: Outcome) -> None:
        """Mail the report of a run, and after a bad one that of the first good one."""
        report, when = self.jobs.get(job, ("", "never"))
        incident = self.incidents.get(job, "")
        bad = outcome.get("status") != "ok"
        changed = bad or any(outcome.get(name) for name in ("done", "left", "differences"))
        wanted = incident or bad or when == "always" or (when == "changes" and changed)
        if bad and not incident:
            incident = f"{self._telling.host}/backup/{job}/{self._clock():.3f}"
        mails, memory = [], {key: None, f"{BACKUP}\0{job}": incident if bad else None}
        if wanted and when != "never":
            made = self._telling.made(report, "backup", outcome, incidents=[incident] if incident else [])
            mails = [made] if made else []
        self._mails.put(mails, memory)
        self.incidents[job] = incident if bad else ""
        self.due.pop(key, None)
        self._not_before.pop(key, None)
