"""Watch readings as they come: most change nothing, the few that do become incidents.

The intake calls this in the transaction that keeps the readings, and has the rows of their probes locked: so exactly
one process sees each change, and it is written together with the reading that made it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import Connection, select

from monagent.alarms.watch import OK, Told, Watch, step
from monagent.mail.figures import number_text
from monagent.server.alerts import memory
from monagent.server.alerts.lateness import AHEAD_SECONDS, history_after
from monagent.server.alerts.ledger import Ledger
from monagent.server.alerts.levels import level_of, rule_of
from monagent.server.alerts.memory import STALE
from monagent.server.alerts.silent_hosts import returned
from monagent.server.alerts.telling import News
from monagent.server.records import Judged, Seen
from monagent.server.schema import reading

__all__ = ["returned", "watch"]


@dataclass(frozen=True, slots=True)
class _Change:
    """What a reading changed."""

    seen: Seen
    watch: Watch
    told: Told


def watch(db: Connection, seen: Sequence[Seen], now: float) -> dict[int, Judged]:
    """Judge readings, and write down what changes by them.

    Args:
        db: a transaction that writes, has the rows of these probes locked, and these readings written.
        seen: in the order in which they came; several may be of one probe.
        now: seconds since the epoch.

    Returns:
        What is to be kept of each probe. One whose readings are all history, or of an agent whose clock is far ahead,
        has none: nothing changes for it.
    """
    judged: dict[int, Judged] = {}
    newest: dict[int, float] = {}
    changes: list[_Change] = []
    for one in seen:
        number = one.host_probe_id
        before = newest.get(number, one.newest)
        if not _is_news(one, before, now):
            continue
        newest[number] = one.finished
        known = judged[number].watch if number in judged else one.watch
        judged[number] = _judge(one, known, now, changes)
    if changes:
        _write(db, changes, now)
    return judged


def _is_news(one: Seen, newest: float | None, now: float) -> bool:
    if newest is not None and one.finished <= newest:
        return False
    return -AHEAD_SECONDS <= now - one.finished <= history_after(one.every)


def _judge(one: Seen, known: dict[str, Any] | None, now: float, changes: list[_Change]) -> Judged:
    rule = rule_of(one.warning, one.critical, one.runs, one.margin)
    quiet = known is not None and memory.is_quiet(known)
    before = None if quiet else memory.from_json(known, min(one.finished, now))
    base = OK if before is None else before.base
    level = level_of(rule, base, nagios=one.nagios, ret_code=one.ret_code, value=one.value)
    if quiet and level == OK:
        assert known is not None
        return Judged(OK, known["n"], known)
    before = before or memory.from_json(known, min(one.finished, now))
    after, told = step(before, rule, level, min(one.finished, now))
    if told is Told.NOTHING and before.told == STALE:
        # It flaps, and nothing more is told of it; but a reading is there again.
        after = replace(after, told=after.state)
        changes.append(_Change(one, after, told))
    elif told is not Told.NOTHING or after.state != before.state:
        changes.append(_Change(one, after, told))
    return Judged(after.state, after.since, memory.to_json(after))


def _write(db: Connection, changes: Sequence[_Change], now: float) -> None:
    ledger = Ledger(db, now, {(change.seen.host_id, change.seen.host_probe_id) for change in changes})
    for change in changes:
        one, state = change.seen, change.watch.state
        number = one.value if _is_trusted(one) and math.isfinite(one.value or 0.0) else None
        message = _said(one, _stderr(db, one))
        ledger.note((one.host_id, one.host_probe_id), News(change.told, state, change.watch.since, message, number))
    ledger.finish()


def _stderr(db: Connection, one: Seen) -> str:
    c = reading.c
    statement = select(c.stderr).where(c.host_probe_id == one.host_probe_id, c.finished == one.finished).limit(1)
    return (db.scalar(statement) or "").strip()


def _is_trusted(one: Seen) -> bool:
    return one.value is not None and (one.ret_code == 0 or one.nagios)


def _said(one: Seen, stderr: str) -> str:
    """What a reading says: what the sensor wrote, or else its number beside what it should be."""
    lines = [stderr] if stderr else []
    trusted = _is_trusted(one)
    if one.error or not (trusted or one.nagios):
        lines.insert(0, f"{one.error or 'no number to trust'}, exit code {one.ret_code}")
    elif not lines:
        limits = [f"{name} at {text}" for name, text in (("warning", one.warning), ("critical", one.critical)) if text]
        told = number_text(one.value) if trusted else f"exit code {one.ret_code}"
        lines.append(f"{told} ({', '.join(limits)})" if limits and trusted else told)
    return "\n".join(lines)
