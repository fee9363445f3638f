"""What the mail of an alarm's event says: the context of the `alert` template."""

from __future__ import annotations

from typing import Any

from monagent.agent.alarm import Alarm, Event
from monagent.alarms.watch import OK, UNKNOWN, WARNING, Told
from monagent.config.checks import SERVER_ALERT
from monagent.mail.views import moment
from monagent.mail.words import words


def context_of(alarm: Alarm, event: Event, host: str, language: str) -> dict[str, Any]:
    """The context of one event; what it lacks the mail gets from the journal."""
    settings = alarm.settings
    context: dict[str, Any] = {
        "host": host,
        "sensor": settings.sensor,
        "arguments": list(alarm.arguments),
        "state": WARNING if event.kind == Told.FLAPPING and event.level == OK else event.level,
        "since": event.since,
        "message": "\n".join(_message(alarm, event, language)),
        "warning": settings.warning,
        "critical": settings.critical,
        "unit": event.said.unit,
    }
    if event.said.value is not None and event.level != UNKNOWN:
        context["value"] = event.said.value
    if not settings.sensor:
        context["readings"] = []
    return context


def _message(alarm: Alarm, event: Event, language: str) -> list[str]:
    w, value, rule = words(language), event.said.value, alarm.settings.rule
    said = [event.said.message] if event.said.message else []
    if event.kind == Told.FLAPPING:
        said.append(w["flapping"])
    if event.kind == Told.REMINDER:
        said.append(w["reminder"])
    if value is not None and event.level not in (OK, UNKNOWN) and rule.level(value) == OK:
        said.append(w["not yet"].format(margin=f"{rule.margin:g}"))
    if event.ends:
        if not alarm.settings.sensor:
            word = "server back" if alarm.settings.name == SERVER_ALERT else "backup back"
            said.append(w[word].format(job=alarm.settings.name.removeprefix("backup ")))
        was = next(iter(alarm.known.values()), "")
        said.append(w["was"].format(state=w.get(was, was), time=moment(alarm.began)))
    return said
