"""Notifications as mail: made when they are sent, handed to the first mail server that takes them."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from monagent.addresses import address
from monagent.errors import Refused, Unavailable
from monagent.mail.alert_view import alert_view
from monagent.mail.context import alerts_of
from monagent.mail.servers import Servers
from monagent.mail.settings import Mailing, Server
from monagent.mail.transport import LoginRefused, MailTooLarge, Reply, Session, connect
from monagent.mail.views import View
from monagent.server.alerts.carriers.digest import digest_view
from monagent.server.alerts.carriers.events import alert_context, language_of
from monagent.server.alerts.carriers.history import recent
from monagent.server.alerts.carriers.letters import About, Letter, Letters
from monagent.server.alerts.carriers.parcels import FAILED, LATER, SENT, Note, Parcel, Progress, Verdict, is_digest
from monagent.server.alerts.carriers.shelf import Shelf
from monagent.server.alerts.carriers.words import words
from monagent.server.database import Database

IDLE_SECONDS = 5.0
"""How long a connection is kept with nothing to send."""
REFUSAL = 552
ReportView = Callable[[Mapping[str, Any]], Callable[[int], View]]
"""Makes what a report shows out of a notification's content."""


class MailChannel:
    """Sends parcels whose target is recipients, separated by commas."""

    shared = True

    def __init__(
        self,
        database: Database,
        mailing: Mailing,
        report_view: ReportView,
        *,
        clock: Callable[[], float] = time.time,
        join: Callable[[Server], Session] = connect,
    ) -> None:
        """
        Args:
            database: of readings, and of what was sent before.
            mailing: what mails are made and sent by.
            report_view: what a report shows.
            clock: seconds since the epoch.
            join: connects to a mail server.
        """
        self._database = database
        self._shelf = Shelf(database)
        self._host = mailing.host
        self._letters = Letters(mailing, clock)
        self._report_view = report_view
        self._clock = clock
        self._servers = Servers(mailing.servers, join)
        self._used = 0.0

    def send(self, parcel: Parcel) -> Verdict:
        """Offer it to each mail server in turn, until each recipient has it or is refused for good."""
        recipients = recipients_of(parcel.target)
        letter = self.letter(parcel, recipients)
        known = parcel.progress or Progress(left=tuple(recipients))
        try:
            replies = self._offered(letter, list(known.left))
        except LoginRefused as error:
            raise Unavailable(f"{error}; see [mail] user and password_file in server.cfg") from error
        finally:
            self._used = time.monotonic()
        return verdict_of(known, replies)

    def rest(self) -> None:
        """Part with a mail server that there was nothing for."""
        if self._servers.is_connected and time.monotonic() - self._used > IDLE_SECONDS:
            self._servers.part()

    def letter(self, parcel: Parcel, recipients: Sequence[str]) -> Letter:
        """The mail of a parcel.

        Raises:
            Refused: its content cannot be shown.
        """
        first = parcel.notes[0]
        after = self._shelf.earlier_batches(parcel)
        digest = is_digest(parcel.notes)
        template = "report" if digest or first.what == "report" else "alert"
        about = About(
            parcel.rule,
            recipients,
            template,
            language_of(first.content),
            parcel.batch,
            after,
            _marks(parcel),
            "report sent by" if first.what == "report" else "sent by",
        )
        if digest:
            return self._letters.make(about, lambda rows: digest_view(parcel.notes, rows))
        if first.what == "report":
            return self._letters.make(about, self._report_view(first.content))
        return self._letters.make(about, self._alert_view(first))

    def _alert_view(self, note: Note) -> Callable[[int], View]:
        context = alert_context(note)
        if "readings" not in context:
            probe, host = note.content.get("probe"), note.content.get("host")
            known = isinstance(probe, str) and isinstance(host, str)
            context["readings"] = recent(self._database, str(host), str(probe), self._clock()) if known else []
        alerts = alerts_of(context)
        w = words(language_of(note.content))

        def view_of(rows: int) -> View:
            view = alert_view(alerts, lambda _alert: (), w, self._host, rows)
            for shown in view.variables["shown"]:
                if shown.state == "ok" and shown.plot is None:
                    shown.advice = []  # it speaks of the plot
            return view

        return view_of

    def _offered(self, letter: Letter, left: list[str]) -> dict[str, Reply]:
        """What was answered for each recipient.

        Raises:
            Unavailable: no server could be spoken to, or all of them hung up.
            LoginRefused: none lets us in.
        """
        replies: dict[str, Reply] = {}
        broken: Unavailable | None = None
        for session in self._servers.sessions():
            try:
                replies |= _handed(session, letter, left)
            except Unavailable as error:
                broken = error
                self._servers.part()
                continue
            left = [one for one in left if replies[one].passing]
            if not left:
                break
        if not replies:
            raise broken or Unavailable("no mail server is configured")
        return replies


def _handed(session: Session, letter: Letter, recipients: Sequence[str]) -> Mapping[str, Reply]:
    """Without its attachments where the server takes no mail of that size."""
    for data in filter(None, (letter.whole, letter.lean)):
        try:
            return session.send(letter.sender, recipients, data)
        except MailTooLarge as error:
            refusal = Reply(REFUSAL, str(error))
    return dict.fromkeys(recipients, refusal)


def verdict_of(known: Progress, replies: Mapping[str, Reply]) -> Verdict:
    """What follows from the answers to those who were left."""
    taken = known.taken + sum(reply.taken for reply in replies.values())
    passing = {one: reply for one, reply in replies.items() if reply.passing}
    refused = [f"{one}: {reply}" for one, reply in replies.items() if not reply.taken and not reply.passing]
    progress = Progress(taken, tuple(passing), (*known.lost, *refused))
    waiting = [f"{one}: {reply}" for one, reply in passing.items()]
    trouble = "; ".join([*waiting, *progress.lost])
    if passing:
        return Verdict(LATER, trouble, progress=progress)
    return Verdict(SENT if taken else FAILED, trouble, progress=progress)


def recipients_of(target: str) -> list[str]:
    """The addresses of a row.

    Raises:
        Refused: one of them is none, or there are none.
    """
    try:
        found = [address(one.strip()) for one in target.split(",") if one.strip()]
    except ValueError as error:
        raise Refused(f"the alert's recipients are wrong: {error}") from error
    if not found:
        raise Refused("the alert names no recipients")
    return list(dict.fromkeys(found))


def _marks(parcel: Parcel) -> dict[str, str]:
    """Headers that mail programs sort by."""
    incidents = {str(note.content.get("incident") or "") for note in parcel.notes} - {""}
    return {"Incident": incidents.pop()} if len(incidents) == 1 else {}
