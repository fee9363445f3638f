"""Make a whole mail of a template and what it shows, under an identity that a second try repeats.

The server's counterpart of `mail.compose`: there the message id is drawn anew and contexts are filled in from a journal.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from monagent.errors import Refused
from monagent.mail import message
from monagent.mail.compose import HTML_LIMIT, ROWS
from monagent.mail.message import Envelope
from monagent.mail.render import Rendered, Templates, inlined
from monagent.mail.settings import Mailing
from monagent.mail.text import one_line
from monagent.mail.views import View, moment
from monagent.server.alerts.carriers.words import words

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class About:
    """What a mail is, beside what it shows.

    Attributes:
        rule: the alert or report that wants it sent.
        to: recipients.
        template: alert or report.
        language: of the template's own words.
        batch: what its message id is made of.
        after: batches whose thread it belongs to, the oldest first.
        marks: further `X-Monagent-` headers.
        footer: the word for the line below it.
    """

    rule: str
    to: Sequence[str]
    template: str
    language: str = "en"
    batch: str = ""
    after: Sequence[str] = ()
    marks: Mapping[str, str] | None = None
    footer: str = "sent by"


@dataclass(frozen=True, slots=True)
class Letter:
    """A mail that was made; `lean` is it without attachments, None where there are none."""

    sender: str
    message_id: str
    rendered: Rendered
    view: View
    whole: bytes
    lean: bytes | None

    @property
    def page(self) -> str:
        """The HTML with its pictures in it."""
        return inlined(self.rendered.html, [(picture.cid, picture.data) for picture in self.view.pictures])


class Letters:
    """Makes mails. One thread at a time."""

    def __init__(self, mailing: Mailing, clock: Callable[[], float] = time.time) -> None:
        """
        Args:
            mailing: whom they come from, and where the site's templates are.
            clock: seconds since the epoch.
        """
        self._mailing = mailing
        self._host = one_line(mailing.host, 100)
        self._clock = clock
        self._built_in = Templates()
        self._own = Templates(mailing.templates) if mailing.templates else None

    def make(self, about: About, view_of: Callable[[int], View]) -> Letter:
        """Make one, by the built-in template where the site's own cannot show this: nobody is to miss it for that.

        Args:
            about: what it is.
            view_of: what it shows with so many rows.

        Raises:
            Refused: what it shows does not fit.
        """
        if self._own is not None:
            try:
                return self._made(self._own, about, view_of)
            except Refused as error:
                log.error("the built-in template is used instead of the site's: %s", error)  # noqa: TRY400 - it says it all
        return self._made(self._built_in, about, view_of)

    def message_id(self, batch: str) -> str:
        """The message id of a batch."""
        return f"<{batch}.monagent@{self._mailing.sender[1].rpartition('@')[2] or 'localhost'}>"

    def _made(self, templates: Templates, about: About, view_of: Callable[[int], View]) -> Letter:
        now = self._clock()
        w = words(about.language)
        common: dict[str, Any] = {
            "host": self._host, "made": moment(now), "report": about.rule, "language": about.language,
            "w": {**w, "sent by": w[about.footer]}, "held_back": 0, "lean": False,
        }  # fmt: skip
        view, rendered = _fitting(templates, about.template, view_of, common)
        envelope = Envelope(
            self._mailing.sender, about.to, self._host, about.rule, self.message_id(about.batch),
            [self.message_id(batch) for batch in about.after], now,
            {"State": view.state, "Template": about.template, **(about.marks or {})},
        )  # fmt: skip
        whole = message.build(envelope, rendered, view.pictures, view.attachments)
        lean = None
        if view.attachments:
            without = templates.render(about.template, {**view.variables, **common, "lean": True})
            lean = message.build(envelope, without, view.pictures, [])
        return Letter(self._mailing.sender[1], envelope.message_id, rendered, view, whole, lean)


def _fitting(
    templates: Templates, template: str, view_of: Callable[[int], View], common: Mapping[str, Any]
) -> tuple[View, Rendered]:
    """The view with as many rows as fit."""
    for rows in ROWS:
        view = view_of(rows)
        rendered = templates.render(template, {**view.variables, **common})
        if len(rendered.html.encode()) <= HTML_LIMIT:
            return view, rendered
    raise Refused(f"too much is to be shown: more than {HTML_LIMIT} bytes of HTML with one row of each table")
