"""How what is remembered of a probe is kept in its row: a watch as JSON, short for probes that are well."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final

from monagent.alarms.watch import CRITICAL, OK, UNKNOWN, WARNING, Watch

STALE: Final = "stale"
"""What people were told last, where that was that no result comes. No reading has it, so the next one ends it."""

VERSION = 1
_LETTERS = {OK: "o", WARNING: "w", CRITICAL: "c", UNKNOWN: "u", STALE: "s"}
_LEVELS = {letter: level for level, letter in _LETTERS.items()}
_QUIET = frozenset(("v", "n", "a", "c"))
"""Members of the memory of a probe that is well, and of which nothing bad was seen lately."""


def is_quiet(memory: dict[str, Any] | None) -> bool:
    """Whether a good reading changes nothing of it."""
    return memory is not None and memory.get("v") == VERSION and memory.keys() <= _QUIET


def to_json(watch: Watch) -> dict[str, Any]:
    """The watch as it is kept: members that say nothing are left out."""
    kept: dict[str, Any] = {"v": VERSION, "n": watch.since}
    for name, level in (("s", watch.state), ("b", watch.base), ("t", watch.told)):
        if level != OK:
            kept[name] = _LETTERS[level]
    # Good readings before a bad one count as little as none at all.
    if watch.state != OK or set(watch.last) != {OK}:
        seen = {"l": "".join(_LETTERS[level] for level in watch.last), "i": list(watch.times)}
        kept |= {name: value for name, value in seen.items() if value}
    if watch.told_at:
        kept["a"] = watch.told_at
    if watch.changes:
        kept["c"] = list(watch.changes)
    if watch.flapping:
        kept["f"] = 1
    return kept


def from_json(memory: object, since: float) -> Watch:
    """The watch that was kept; what another version wrote, or nobody, is a new one.

    Args:
        memory: from the row.
        since: when a new one begins.
    """
    if not isinstance(memory, dict) or memory.get("v") != VERSION:
        return Watch(since=since)
    try:
        return Watch(
            state=_LEVELS[memory.get("s", "o")],
            base=_LEVELS[memory.get("b", "o")],
            since=float(memory["n"]),
            told=_LEVELS[memory.get("t", "o")],
            told_at=float(memory.get("a", 0.0)),
            last=tuple(_LEVELS[letter] for letter in memory.get("l", "")),
            times=tuple(map(float, memory.get("i", ()))),
            changes=tuple(map(float, memory.get("c", ()))),
            flapping=bool(memory.get("f")),
        )
    except (AttributeError, KeyError, TypeError, ValueError):
        return Watch(since=since)


def gone_stale(memory: object, now: float) -> dict[str, Any]:
    """The memory of a probe of which people are told that no result comes. Its state waits for the next one."""
    return to_json(replace(from_json(memory, now), told=STALE, told_at=now))
