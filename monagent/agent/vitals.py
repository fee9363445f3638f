"""What became of the agent's work since it started: counters, and the newest readings of each check."""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections import Counter, OrderedDict, deque
from dataclasses import dataclass, field

from monagent.models import Job, Outcome
from monagent.protocol import SUBMIT_READING

CHECKS = 500
"""That are remembered with their readings; the one that was not run for longest goes first."""
READINGS = 60
SENSORS = 1000
"""Names that are counted one by one, so that a scrape stays small; further ones are counted together."""
OTHER = "(other)"
BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
"""Seconds. Upper bounds of what runs of all sensors are sorted into by their duration; one more holds the rest."""


@dataclass(slots=True)
class Check:
    """A sensor with its arguments, and its newest readings: when (seconds since the epoch), and the number or None."""

    sensor: str
    arguments: tuple[str, ...]
    readings: deque[tuple[float, float | None]] = field(default_factory=lambda: deque(maxlen=READINGS))
    data: str = ""
    code: int = 0
    error: str = ""


@dataclass(frozen=True, slots=True)
class Totals:
    """A copy of all counters.

    Attributes:
        runs: how many runs of which sensor ended how.
        seconds: how long they took together.
        durations: how many runs of any sensor fell into which of `BUCKETS`, and beyond the last.
        commands: how many of which other command ended how.
    """

    runs: dict[tuple[str, str], int]
    seconds: dict[str, float]
    durations: tuple[int, ...]
    commands: dict[tuple[str, str], int]


class Vitals:
    """Any thread may call it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._runs: Counter[tuple[str, str]] = Counter()
        self._seconds: dict[str, float] = {}
        self._durations = [0] * (len(BUCKETS) + 1)
        self._commands: Counter[tuple[str, str]] = Counter()
        self._checks: OrderedDict[tuple[str, ...], Check] = OrderedDict()

    def note(self, job: Job, outcome: Outcome, now: float) -> None:
        """One piece of work has ended."""
        if job.command.method == SUBMIT_READING:
            self._note_reading(job, outcome, now)
            return
        status = str(outcome.get("status", "ok"))
        with self._lock:
            self._commands[job.command.method, status if status in ("ok", "error") else "other"] += 1

    def _note_reading(self, job: Job, outcome: Outcome, now: float) -> None:
        sensor, arguments = job.command.arguments
        number = _number(outcome["data"]) if not outcome["error"] else None
        # A sensor that says on stderr why it has no number, and exits with a code, has failed as it should.
        clean = outcome["error"] in ("", "not-a-number") and outcome["ret_code"] != 0
        result = "exit" if clean else outcome["error"] or "ok"
        key, seconds = (sensor, *arguments), outcome.get("duration", 0.0)
        with self._lock:
            if sensor not in self._seconds and len(self._seconds) >= SENSORS:
                sensor = OTHER
            self._runs[sensor, result] += 1
            self._seconds[sensor] = self._seconds.get(sensor, 0.0) + seconds
            self._durations[bisect_left(BUCKETS, seconds)] += 1
            check = self._checks.pop(key, None) or Check(key[0], key[1:])
            self._checks[key] = check
            if len(self._checks) > CHECKS:
                self._checks.popitem(last=False)
            check.data, check.code, check.error = outcome["data"], outcome["ret_code"], outcome["error"]
            check.readings.append((now, number))

    def totals(self) -> Totals:
        """All counters now."""
        with self._lock:
            return Totals(dict(self._runs), dict(self._seconds), tuple(self._durations), dict(self._commands))

    def checks(self) -> list[Check]:
        """Copies of the checks with their readings, by name."""
        with self._lock:
            copies = [
                Check(one.sensor, one.arguments, one.readings.copy(), one.data, one.code, one.error)
                for one in self._checks.values()
            ]
        return sorted(copies, key=lambda one: (one.sensor, one.arguments))


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if abs(number) < float("inf") else None  # neither nan nor an infinity can be drawn
