"""What a report tells, and when: its definition as a record, and the content of its notification."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import time
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from monagent.errors import Refused
from monagent.mail.views import View
from monagent.mail.words import LANGUAGES
from monagent.server.alerts.reports import periods, sums
from monagent.server.alerts.reports.periods import KINDS, Period
from monagent.server.alerts.reports.sums import Choice
from monagent.server.alerts.reports.view import quality_view, worst_ids
from monagent.server.database import Database

AT = "07:00"


@dataclass(frozen=True, slots=True)
class ReportDefinition:
    """A report. `mail` holds its recipients; `at` and the days are those of `zone`."""

    name: str
    kind: str
    choice: Choice
    mail: tuple[str, ...]
    at: time
    zone: ZoneInfo
    language: str

    def next_due(self, now: float) -> float:
        """The next time later than `now` at which it is due."""
        return periods.next_due(self.kind, self.at, self.zone, now)

    def last_full(self, now: float) -> Period:
        """The last of its periods that is over."""
        return periods.last_full(self.kind, now, self.zone)

    def content(self, period: Period) -> dict[str, Any]:
        """Of the notification that brings it."""
        return {
            "report": self.name, "kind": self.kind, "period": [period.start, period.end],
            "hosts": sorted(self.choice.hosts), "groups": sorted(self.choice.groups),
            "timezone": self.zone.key, "language": self.language,
        }  # fmt: skip


def definition_of(name: str, content: Mapping[str, Any]) -> ReportDefinition:
    """The record of a definition.

    Raises:
        Refused: it makes no sense; says where.
    """
    mail = content.get("mail") or []
    recipients = mail.split(",") if isinstance(mail, str) else mail
    try:
        at = time.fromisoformat(str(content.get("at") or AT))
    except ValueError:
        raise Refused(f"report {name}: at must be a time of day (example: {AT})") from None
    return ReportDefinition(
        name,
        kind_of(content.get("period") or KINDS[0], name),
        choice_of(content),
        tuple(str(one).strip() for one in recipients),
        at.replace(tzinfo=None),
        _zone_of(content, name),
        language_of(content),
    )


def kind_of(kind: object, name: str) -> str:
    """Of `periods.KINDS`.

    Raises:
        Refused: it is none.
    """
    if kind not in KINDS:
        raise Refused(f"report {name}: period must be one of {', '.join(KINDS)}")
    return str(kind)


def zone_of(key: object) -> ZoneInfo:
    """The time zone of that name.

    Raises:
        Refused: there is none of that name.
    """
    try:
        return ZoneInfo(str(key))
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise Refused(f'there is no time zone "{str(key)[:40]}" (example: Europe/Berlin)') from None


def _zone_of(content: Mapping[str, Any], name: str) -> ZoneInfo:
    try:
        return zone_of(content.get("timezone") or "UTC")
    except Refused as error:
        raise Refused(f"report {name}: {error}") from None


def choice_of(content: Mapping[str, Any]) -> Choice:
    """The hosts that it is about."""
    hosts, groups = (content.get(key) or () for key in ("hosts", "groups"))
    return Choice(frozenset(map(str, hosts)), frozenset(map(str, groups)))


def language_of(content: Mapping[str, Any]) -> str:
    """The language that it is told in."""
    language = content.get("language")
    return str(language) if language in LANGUAGES else LANGUAGES[0]


def report_view_of(database: Database) -> Callable[[Mapping[str, Any]], Callable[[int], View]]:
    """What makes the view of a report's notification, from what the database holds when it is sent."""

    def view(content: Mapping[str, Any]) -> Callable[[int], View]:
        name = str(content.get("report") or "")
        span: Sequence[Any] = content.get("period") or ()
        if len(span) != 2 or not all(isinstance(when, int | float) for when in span):
            raise Refused(f"report {name}: the notification does not say of which period it tells")
        period = Period(kind_of(content.get("kind"), name), float(span[0]), float(span[1]))
        found = sums.quality(database, period, choice_of(content))
        points = sums.points(database, period, worst_ids(found.checks))
        zone = _zone_of(content, name)
        return quality_view(found, period, points, name, zone, language_of(content))

    return view
