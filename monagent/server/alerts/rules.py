"""Whom to tell of what: the alert definitions as records."""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, select

from monagent.alarms.watch import OK, WARNING
from monagent.config.values import duration
from monagent.server.alerts.subjects import Scope, Subject, scope_of
from monagent.server.schema import definition

log = logging.getLogger(__name__)

_ZERO = re.compile(r"0+(?:\.0+)?\s*[smhd]?")


@dataclass(frozen=True, slots=True)
class Target:
    """Where a notification goes: mail addresses (joined by commas), a webhook's URL, or a file with Apprise's URLs."""

    rule: str
    channel: str
    target: str


@dataclass(frozen=True, slots=True)
class AlertRule:
    """An alert definition.

    Attributes:
        name: of the definition.
        scope: whose incidents it tells.
        critical_only: a warning is not told. What is unknown, silent or stale counts as critical.
        targets: where to.
        remind: seconds after which a problem that goes on is told again; 0: never.
        delay: seconds that a problem must go on before it is told.
        language: of what is told.
        secret_file: what a webhook's posts are signed with.
    """

    name: str
    scope: Scope
    critical_only: bool = False
    targets: tuple[Target, ...] = ()
    remind: float = 0.0
    delay: float = 0.0
    language: str = "en"
    secret_file: str = ""

    def wants(self, subject: Subject, state: str) -> bool:
        """Whether it tells of such a problem."""
        return state != OK and not (self.critical_only and state == WARNING) and self.scope.concerns(subject)


def rule_of(name: str, content: dict[str, Any]) -> AlertRule:
    """The rule that a definition makes.

    Raises:
        ValueError: it makes none.
    """
    return AlertRule(
        name,
        scope_of(content),
        critical_only=content.get("from_state", WARNING) != WARNING,
        targets=tuple(_targets(name, content)),
        remind=seconds(content.get("remind") or 0),
        delay=seconds(content.get("delay") or 0),
        language=str(content.get("language") or "en"),
        secret_file=str(content.get("secret_file") or ""),
    )


def _targets(name: str, content: dict[str, Any]) -> list[Target]:
    mail = content.get("mail") or []
    if not isinstance(mail, list):
        raise ValueError("mail must be a list of addresses")  # noqa: TRY004 - readers raise ValueError
    found = [Target(name, "mail", ",".join(map(str, mail)))] if mail else []
    for channel, key in (("webhook", "webhook"), ("apprise", "apprise_file")):
        if content.get(key):
            found.append(Target(name, channel, str(content[key])))
    return found


def seconds(value: object) -> float:
    """Of a number, or of a text like `4h`.

    Raises:
        ValueError: it is neither.
    """
    if isinstance(value, str) and not _ZERO.fullmatch(value):
        return duration(value, Path())
    return float(value) if isinstance(value, int | float) else 0.0


def load(db: Connection) -> list[AlertRule]:
    """All of them, by name. One that cannot be understood is logged and left out: the others still tell."""
    rows = db.execute(select(definition).where(definition.c.kind == "alert").order_by(definition.c.name))
    found = []
    for row in rows:
        try:
            found.append(rule_of(row.name, row.content))
        except (AttributeError, TypeError, ValueError) as error:
            log.error("alert %s tells nobody, define it anew: %s", row.name, error)  # noqa: TRY400 - the text says it
    return found
