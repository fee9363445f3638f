"""What mails are made and sent by, as values. Light to import, unlike all else here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

BUILT_IN = ("alert", "report", "backup")
"""Templates."""
QUEUE_FILE = "mail.db"
"""Of the queue, in the agent's state directory."""


@dataclass(frozen=True, slots=True)
class Server:
    """One mail server. `security` is none, starttls or tls; `timeout` in seconds; `ehlo` is what we call ourselves."""

    host: str
    port: int
    security: str = "none"
    user: str = ""
    password: str = field(default="", repr=False)
    ca: Path | None = None
    timeout: float = 30.0
    ehlo: str = "localhost"

    def __str__(self) -> str:
        return f"{self.host} port {self.port}"


@dataclass(frozen=True, slots=True)
class ReportSettings:
    """A `[mail:REPORT]` section. `period` in seconds: how far a report looks back."""

    name: str
    to: tuple[str, ...]
    subject: str = ""
    template: str = "report"
    language: str = "en"
    period: float = 86_400.0

    def shown_by(self, template: str) -> ReportSettings:
        """The same for something that a built-in template shows, unless the site has a template of its own for it."""
        return self if self.template and self.template not in BUILT_IN else replace(self, template=template)


def template_for(context: Mapping[str, Any]) -> str:
    """The built-in template that a context is for, where a section does not say."""
    if context.keys() & {"alerts", "state", "sensor", "value", "readings"}:
        return "alert"
    return "backup" if "job" in context else "report"


def incidents_of(context: Mapping[str, Any]) -> list[str]:
    """The incidents that a context names: its own, and those of its alerts. Types are judged elsewhere."""
    alerts = context.get("alerts")
    places = [context, *(one for one in (alerts if isinstance(alerts, list) else ()) if isinstance(one, Mapping))]
    named = [place.get("incident") for place in places]
    return list(dict.fromkeys(one for one in named if isinstance(one, str) and one))


@dataclass(frozen=True, slots=True)
class Mailing:
    """All that is set about mails.

    Attributes:
        host: the name of this host.
        sender: name and address that mails come from.
        servers: to be tried in this order.
        reports: by name.
        templates: a directory whose templates go before the built-in ones.
        cap: alerts that one recipient gets in a day.
    """

    host: str
    sender: tuple[str, str]
    servers: tuple[Server, ...]
    reports: Mapping[str, ReportSettings]
    templates: Path | None = None
    cap: int = 100
