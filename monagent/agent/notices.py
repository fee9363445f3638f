"""What the agent mails: on command, and by itself about readings, its server and its backups."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from monagent.agent.alerting import Surroundings, reading_of
from monagent.agent.alerts import Alerts
from monagent.agent.backups import Backups
from monagent.agent.mails import Mails
from monagent.agent.wiring import alerting, mail_sources, trusted_by
from monagent.config.settings import Settings
from monagent.mail.settings import Mailing
from monagent.models import Job, Outcome
from monagent.protocol import SUBMIT_READING, SYNC_BACKUP

if TYPE_CHECKING:
    from monagent.mail.compose import Sources


class Notices:
    """Mails, and the alerts that make some of them. Any thread may call it."""

    def __init__(
        self,
        settings: Settings,
        mailing: Mailing,
        backups: Backups,
        surroundings: Surroundings,
        finish: Callable[[Job, Outcome], None],
    ) -> None:
        """
        Args:
            settings: validated.
            mailing: what of them is about mails.
            backups: whose last runs are told.
            surroundings: what alerts look at.
            finish: takes the outcome of a job whose mail was taken, or given up.
        """
        self._state = settings.agent.state
        self._backups = backups
        self._trusted = trusted_by(settings)
        self.mails = Mails(self._state, mailing, self._sources, finish)
        self.alerts = Alerts(alerting(settings), self.mails, surroundings)

    def start(self) -> None:
        """Go on with what waits from before."""
        self.mails.start()
        self.alerts.start()

    def stop(self, deadline: float) -> None:
        """Stop at `deadline` (monotonic seconds) at the latest; what waits stays on disk."""
        self.alerts.stop(deadline)
        self.mails.stop(deadline)

    def use(self, settings: Settings, mailing: Mailing) -> None:
        """From now on work by these settings."""
        self._trusted = trusted_by(settings)
        self.mails.use(mailing)
        self.alerts.use(alerting(settings))

    def note(self, job: Job, outcome: Outcome, finished: float) -> None:
        """Let what watches readings and backups know of a job that has ended."""
        if job.command.method == SUBMIT_READING:
            name, arguments = job.command.arguments
            if self.alerts.watches(name):
                trusted = self._trusted(name, outcome["ret_code"])
                self.alerts.note_reading(reading_of(name, arguments, outcome, finished, trusted=trusted))
        elif job.command.method == SYNC_BACKUP:
            self.alerts.note_backup(job.command.arguments[0], outcome)

    def _sources(self) -> Sources:
        return mail_sources(self._state, self._trusted, lambda: self._backups.jobs)
