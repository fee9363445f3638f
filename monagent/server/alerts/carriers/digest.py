"""Many notifications as one mail: a table, the worst first, in the `report` template. Rules alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from monagent.mail.context import STATES, Report, Table
from monagent.mail.report_view import report_view
from monagent.mail.text import one_line
from monagent.mail.views import View, moment
from monagent.server.alerts.carriers.events import check_of, grave_first, language_of, since_text, state_of
from monagent.server.alerts.carriers.parcels import Note
from monagent.server.alerts.carriers.words import words

MESSAGE_LIMIT = 120


def digest_view(notes: Sequence[Note], rows: int) -> View:
    """What one mail shows of all of them; at most `rows` in the mail itself, the rest in a table beside it."""
    ordered = sorted(notes, key=grave_first)
    w = words(language_of(ordered[0].content))
    states = [state_of(note.content) for note in ordered]
    counts = Counter(states)
    columns = (w["host"], w["check"], w["state"], w["since"], w["message"])
    cells = tuple(
        (
            one_line(note.content.get("host") or "", 100),
            check_of(note.content),
            w[state].lower(),
            since_text(note.content),
            _message(note),
        )
        for note, state in zip(ordered, states, strict=True)
    )
    title = f"{w[states[0]]}: {w['digest'].format(count=len(ordered))}"
    report = Report(title=title, tables=(Table(w["notifications"], columns, cells),))
    period = " - ".join(dict.fromkeys(moment(when) for when in _span(ordered)))
    view = report_view(report, (), period, w, rows)
    view.state = states[0]
    view.variables["state"] = states[0]
    view.variables["line"] = ", ".join(f"{counts[state]} {w[state]}" for state in STATES if counts[state])
    return view


def _span(notes: Sequence[Note]) -> tuple[float, float]:
    created = [note.created for note in notes]
    return min(created), max(created)


def _message(note: Note) -> str:
    w = words(language_of(note.content))
    said = [one_line(note.content.get("message") or "", MESSAGE_LIMIT)]
    if note.what in w and w[note.what] not in said[0]:
        said.append(w[note.what])
    return "; ".join(part for part in said if part)
