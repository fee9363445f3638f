"""What holds telling back: silences that people set, and maintenance."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from cronsim import CronSimError
from sqlalchemy import Connection, select

from monagent.server.alerts.rules import seconds
from monagent.server.alerts.subjects import Scope, Subject, scope_of
from monagent.server.schema import definition, silence
from monagent.server.timetable import Timetable

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Hold:
    """A silence or a maintenance that is in effect; `scopes` must all cover what it holds back."""

    name: str
    scopes: tuple[Scope, ...]

    def covers(self, subject: Subject) -> bool:
        """Whether it holds back what there is to be told of a subject."""
        return all(scope.covers(subject) for scope in self.scopes)


def holding(holds: Sequence[Hold], subject: Subject) -> str | None:
    """The name of what holds a subject back, like `silence 3` or `maintenance patching`."""
    return next((hold.name for hold in holds if hold.covers(subject)), None)


def load(db: Connection, now: float) -> list[Hold]:
    """All that are in effect now. A maintenance that cannot be understood is logged, and holds nothing back."""
    holds = [_silence(row) for row in db.execute(_SILENCES.where(silence.c.begins <= now, silence.c.ends > now))]
    rows = db.execute(select(definition).where(definition.c.kind == "maintenance").order_by(definition.c.name))
    for row in rows:
        try:
            if in_effect(row.content, now):
                holds.append(Hold(f"maintenance {row.name}", (scope_of(row.content),)))
        except (AttributeError, CronSimError, KeyError, OSError, TypeError, ValueError) as error:
            log.error("maintenance %s holds nothing back, define it anew: %s", row.name, error)  # noqa: TRY400 - told
    return holds


_SILENCES = select(silence.c.id, silence.c.host, silence.c.group, silence.c.probe).order_by(silence.c.id)


def _silence(row: Any) -> Hold:
    return Hold(
        f"silence {row.id}", (Scope(_one(row.host)), Scope(groups=_one(row.group)), Scope(probes=_one(row.probe)))
    )


def _one(name: str | None) -> frozenset[str] | None:
    return None if name is None else frozenset((name,))


def in_effect(content: dict[str, Any], now: float) -> bool:
    """Whether a maintenance goes on at that time: from its beginning on, until before its end.

    Raises:
        ValueError: its times cannot be understood.
    """
    if content.get("cron"):
        length = seconds(content.get("duration") or 0)
        timetable = Timetable(None, str(content["cron"]), str(content.get("timezone") or "UTC"), 0.0)
        return timetable.after(now - length) <= now
    begins, ends = content.get("from"), content.get("until")
    if not begins and not ends:
        raise ValueError("it says neither when it begins nor when it ends")
    return (not begins or moment(begins) <= now) and (not ends or now < moment(ends))


def moment(value: object) -> float:
    """Seconds since the epoch, of such a number or of a time in ISO 8601; without a zone it is UTC.

    Raises:
        ValueError: it is neither.
    """
    if isinstance(value, str):
        when = datetime.fromisoformat(value)
        return (when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp()
    if isinstance(value, int | float):
        return float(value)
    raise ValueError("a time is needed")
