"""What a notification says, in the form of each channel. Rules alone."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from monagent.mail.context import STATES, Alert
from monagent.mail.figures import number_text
from monagent.mail.text import one_line
from monagent.mail.views import moment
from monagent.server.alerts.carriers.parcels import Note
from monagent.server.alerts.carriers.words import words

PRIVATE = ("secret_file",)
"""Members of a content that stay here."""
_SHOWN = frozenset(Alert.__dataclass_fields__) - {"argv"}
_STATES = {"silent": "critical", "stale": "unknown"}


def state_of(content: Mapping[str, Any]) -> str:
    """One of the four states that mails know."""
    state = str(content.get("state", ""))
    return state if state in STATES else _STATES.get(state, "unknown")


def grave_first(note: Note) -> tuple[Any, ...]:
    """To sort by: the worst first."""
    return STATES.index(state_of(note.content)), note.id


def alert_context(note: Note) -> dict[str, Any]:
    """The context of the `alert` template."""
    content = note.content
    context = {name: content[name] for name in _SHOWN if content.get(name) is not None}
    context["state"] = state_of(content)
    w = words(language_of(content))
    said = [str(content.get("message") or "")]
    if note.what in w and w[note.what] not in said[0]:
        said.append(w[note.what])
    context["message"] = "\n".join(line for line in said if line)
    return context


def language_of(content: Mapping[str, Any]) -> str:
    """The language that a notification is told in."""
    return "zh" if content.get("language") == "zh" else "en"


def event(note: Note, batch: str) -> dict[str, Any]:
    """One member of a webhook's `events`."""
    told = {name: _plain(value) for name, value in note.content.items() if name not in PRIVATE}
    return {**told, "id": f"{batch}-{note.id}", "what": note.what, "at": iso(note.created)}


def iso(when: float) -> str:
    """A time as programs read it, UTC."""
    return datetime.fromtimestamp(when, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _plain(value: Any) -> Any:
    """As JSON can say it."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Mapping):
        return {str(name): _plain(one) for name, one in value.items()}
    return [_plain(one) for one in value] if isinstance(value, list | tuple) else value


def check_of(content: Mapping[str, Any]) -> str:
    """The probe, or what it runs; empty for a host as a whole."""
    arguments = content.get("arguments") or ""
    shown = " ".join(map(str, arguments)) if isinstance(arguments, list | tuple) else str(arguments)
    return one_line(content.get("probe") or f"{content.get('sensor') or ''} {shown}")


def headline(note: Note) -> str:
    """One line for a chat or a telephone."""
    content = note.content
    w = words(language_of(content))
    parts = [w[state_of(content)] + ":", one_line(content.get("host") or "", 100), check_of(content)]
    if isinstance(content.get("value"), int | float):
        parts.append(f"({number_text(content['value'])}{content.get('unit') or ''})")
    if note.what in w:
        parts.append(f"- {w[note.what]}")
    return one_line(" ".join(part for part in parts if part), 200)


def since_text(content: Mapping[str, Any]) -> str:
    """Since when it is so, as people read it: local time, to the minute."""
    since = content.get("since")
    return moment(since)[:16] if isinstance(since, int | float) else one_line(since or "")


def plain_text(notes: Sequence[Note], limit: int = 20) -> tuple[str, str]:
    """Title and body for channels without pictures; at most `limit` lines of many."""
    ordered = sorted(notes, key=grave_first)
    w = words(language_of(ordered[0].content))
    if len(ordered) == 1:
        content = ordered[0].content
        lines = [one_line(content.get("message") or "")]
        if since_text(content):
            lines.append(f"{w['since']} {since_text(content)}")
        return headline(ordered[0]), "\n".join(line for line in lines if line) or headline(ordered[0])
    lines = [headline(note) for note in ordered[:limit]]
    if len(ordered) > limit:
        lines.append(w["more"].format(count=len(ordered) - limit))
    return w["digest"].format(count=len(ordered)), "\n".join(lines)
