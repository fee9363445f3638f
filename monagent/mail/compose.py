"""Make a whole mail of a report's settings and a context. The only part that knows all the others."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from monagent.errors import JournalError, Refused
from monagent.mail import message
from monagent.mail.alert_view import alert_view
from monagent.mail.backup_view import backup_view, checked_run
from monagent.mail.context import STATES, Alert, alerts_of, cleaned, report_of
from monagent.mail.example import example
from monagent.mail.figures import Points, Series, summary
from monagent.mail.message import Envelope
from monagent.mail.queue import Mail
from monagent.mail.render import Rendered, Templates, inlined
from monagent.mail.report_view import report_view
from monagent.mail.settings import BUILT_IN, ReportSettings
from monagent.mail.text import one_line
from monagent.mail.views import PLOTS, View, moment
from monagent.mail.words import LANGUAGES, words

log = logging.getLogger(__name__)

HTML_LIMIT = 90_000
"""Bytes. Gmail cuts at 102 KB."""
ROWS = (50, 25, 12, 6, 3, 1)
"""How many rows are shown: the most that fit."""


@dataclass(frozen=True, slots=True)
class Sources:
    """Where what a context leaves out comes from.

    Attributes:
        history: the readings of sensors (None: of all) since a time (seconds since the epoch).
        recent: the latest readings of the check that an alert is about.
        last_run: the report of a backup job's last run; None when it never ran.
    """

    history: Callable[[Sequence[str] | None, float], Sequence[Series]] = lambda _names, _since: ()
    recent: Callable[[Alert], Points] = lambda _alert: ()
    last_run: Callable[[str], Mapping[str, Any] | None] = lambda _job: None


@dataclass(frozen=True, slots=True)
class Made:
    """A mail with its pieces, for those who want to look at them."""

    mail: Mail
    rendered: Rendered
    view: View

    @property
    def page(self) -> str:
        """The HTML with its pictures in it."""
        return inlined(self.rendered.html, [(picture.cid, picture.data) for picture in self.view.pictures])


class Composer:
    """Makes the mails of one host. One thread at a time."""

    def __init__(
        self,
        host: str,
        sender: tuple[str, str],
        templates: Path | None = None,
        sources: Sources = Sources(),
        clock: Callable[[], float] = time.time,
    ) -> None:
        """
        Args:
            host: its name.
            sender: name and address that mails come from.
            templates: a directory whose templates go before the built-in ones.
            sources: of what contexts leave out.
            clock: seconds since the epoch.
        """
        self._host = one_line(host, 100)
        self._sender = sender
        self._templates = Templates(templates)
        self._sources = sources
        self._clock = clock

    def check(self, report: ReportSettings) -> None:
        """Make sure that a report's templates are there and well formed, and can show what they are for.

        What is handed to a template of the site's own name is not known; its names are tried when it is filled in.

        Raises:
            Refused: they are not; says where.
        """
        self._templates.compile(report.template, report.subject)
        if report.template in BUILT_IN:
            self.compose(report, example(report.template, report.language))

    def compose(
        self,
        report: ReportSettings,
        context: Mapping[str, Any],
        *,
        references: Sequence[str] = (),
        incidents: Sequence[str] = (),
        key: str = "",
        held_back: int = 0,
    ) -> Made:
        """Make a mail.

        Args:
            report: its settings.
            context: what it tells; see `docs/reference/mail-contexts.md`.
            references: message ids of what it follows.
            incidents: what it belongs to.
            key: of the job that asks for it.
            held_back: how many mails were not sent since the last one.

        Raises:
            Refused: the context or a template is wrong, or too much is to be shown; says where.
        """
        language = context.get("language") or report.language
        if language not in LANGUAGES:
            raise Refused(f"the context's language must be one of {', '.join(LANGUAGES)}")
        now = self._clock()
        common = {
            "host": self._host, "made": moment(now), "report": report.name, "language": language,
            "w": words(language), "held_back": held_back, "lean": False,
        }  # fmt: skip
        view, rendered = self._fitting(report, context, common, now)
        envelope = Envelope(
            self._sender, report.to, self._host, report.name, message.new_message_id(self._sender[1]), references, now,
            {"State": view.state, "Template": report.template} | ({"Incident": incidents[0]} if incidents else {}),
        )  # fmt: skip
        whole = message.build(envelope, rendered, view.pictures, view.attachments)
        lean = None
        if view.attachments:
            without = self._render(report, view, {**common, "lean": True})
            lean = message.build(envelope, without, view.pictures, [])
        mail = Mail(
            report.name,
            rendered.subject,
            envelope.message_id,
            self._sender[1],
            report.to,
            whole,
            lean,
            tuple(incidents),
            key,
        )
        return Made(mail, rendered, view)

    def _fitting(
        self, report: ReportSettings, context: Mapping[str, Any], common: Mapping[str, Any], now: float
    ) -> tuple[View, Rendered]:
        """The view with as many rows as fit."""
        make = self._view_maker(report, context, common, now)
        size = 0
        for rows in ROWS:
            view = make(rows)
            rendered = self._render(report, view, common)
            size = len(rendered.html.encode())
            if size <= HTML_LIMIT:
                return view, rendered
        raise Refused(
            f"too much is to be shown: {size} bytes of HTML with one row of each table, the limit is {HTML_LIMIT}"
        )

    def _render(self, report: ReportSettings, view: View, common: Mapping[str, Any]) -> Rendered:
        return self._templates.render(report.template, {**view.variables, **common}, report.subject)

    def _view_maker(
        self, report: ReportSettings, context: Mapping[str, Any], common: Mapping[str, Any], now: float
    ) -> Callable[[int], View]:
        w = common["w"]
        if report.template == "alert":
            alerts = alerts_of(context)
            recent = {alert: self._recent(alert) for alert in alerts[:PLOTS] if alert.readings is None}
            return lambda rows: alert_view(alerts, lambda alert: recent.get(alert, ()), w, self._host, rows)
        if report.template == "report":
            record = report_of(context)
            sums = [summary(one) for one in self._sources.history(record.sensors, now - report.period)]
            period = f"{moment(now - report.period)} - {moment(now)}"
            return lambda rows: report_view(record, sums, period, w, rows)
        if report.template == "backup":
            run = self._backup(context)
            return lambda rows: backup_view(run, now, w, rows)
        members = cleaned(context)
        state = str(members.get("state"))
        return lambda _rows: View({**members, "context": members}, state if state in STATES else "ok")

    def _recent(self, alert: Alert) -> Points:
        """The readings for a plot; a mail without one is better than none."""
        try:
            return self._sources.recent(alert)
        except JournalError as error:
            log.warning("no plot of %s: %s", alert.subject, error)
            return ()

    def _backup(self, context: Mapping[str, Any]) -> Mapping[str, Any]:
        job = context.get("job")
        if not isinstance(job, str):
            raise Refused("the context's job must be a string: the name of a backup job")
        if set(context) - {"job", "language"}:
            return checked_run(context)
        run = self._sources.last_run(job)
        if run is None:
            raise Refused(f"the context's job: there is no backup job {one_line(job, 64)} here, or it never ran")
        return run
