"""Counters and newest readings: what is counted as what, and that nothing grows without bound."""

from __future__ import annotations

import threading
from typing import Any

from monagent.agent import vitals as vitals_module
from monagent.agent.vitals import CHECKS, OTHER, READINGS, SENSORS, Vitals
from monagent.models import Command, Job


def job(sensor: str, *arguments: str, method: str = "cmd_submit_reading") -> Job:
    """A command that was done."""
    return Job(1, Command("t", method, [sensor, list(arguments)]))


def outcome(data: str = "1", code: int = 0, error: str = "", seconds: float = 0.5) -> dict[str, Any]:
    """What came of it."""
    return {"ret_code": code, "data": data, "error": error, "duration": seconds}


def test_runs_are_counted_by_how_they_ended() -> None:
    """Code 0, another code, or the protocol's word."""
    vitals = Vitals()
    for one in (
        outcome(),
        outcome(),
        outcome("nan", 3, "not-a-number"),
        outcome("nan", -9, "timeout"),
        outcome("nan", 0, "not-a-number"),
    ):
        vitals.note(job("disk", "/"), one, 10.0)
    totals = vitals.totals()

    assert totals.runs == {
        ("disk", "ok"): 2, ("disk", "exit"): 1, ("disk", "timeout"): 1, ("disk", "not-a-number"): 1
    }  # fmt: skip
    assert totals.seconds == {"disk": 2.5}


def test_runs_are_sorted_by_their_duration() -> None:
    """A bound belongs to its bucket; what is beyond the last has one of its own."""
    vitals = Vitals()
    for seconds in (0.0, 0.005, 0.006, 30.0, 31.0):
        vitals.note(job("disk"), outcome(seconds=seconds), 10.0)

    assert vitals.totals().durations == (2, 1, *(0,) * 9, 1, 1)


def test_an_outcome_without_a_duration_counts_as_no_time() -> None:
    """A reading that ended in a bug of ours has none."""
    vitals = Vitals()
    vitals.note(job("disk"), {"ret_code": -1, "data": "nan", "error": "internal"}, 10.0)

    assert vitals.totals().seconds == {"disk": 0.0}


def test_other_commands_are_counted_by_their_status() -> None:
    """Of which there are few, whatever an outcome says."""
    vitals = Vitals()
    for status in ("ok", "error", "as the server told us"):
        vitals.note(job("", method="cmd_update_config"), {"status": status}, 1.0)

    assert set(vitals.totals().commands) == {("cmd_update_config", word) for word in ("ok", "error", "other")}


def test_each_check_keeps_its_newest_readings() -> None:
    """A reading without a number is a gap."""
    vitals = Vitals()
    for number in range(READINGS + 5):
        vitals.note(job("load", "load1"), outcome(str(number)), float(number))
    vitals.note(job("load", "load1"), outcome("nan", 1, "not-a-number"), 99.0)
    vitals.note(job("load", "load1"), outcome("1e999"), 100.0)
    (check,) = vitals.checks()

    assert len(check.readings) == READINGS
    assert list(check.readings)[-3:] == [(64.0, 64.0), (99.0, None), (100.0, None)]
    assert (check.sensor, check.arguments) == ("load", ("load1",))


def test_only_so_many_checks_and_sensors_are_told_apart() -> None:
    """Whoever asks for ever other arguments fills nobody's memory."""
    vitals = Vitals()
    for number in range(CHECKS + 10):
        vitals.note(job("file", str(number)), outcome(), 1.0)
    for number in range(SENSORS + 10):
        vitals.note(job(f"sensor{number}"), outcome(), 1.0)

    assert len(vitals.checks()) == CHECKS
    assert len(vitals.totals().seconds) == SENSORS + 1
    assert vitals.totals().runs[OTHER, "ok"] == 11


def test_threads_lose_no_count() -> None:
    """Eight at once."""
    vitals = Vitals()
    threads = [
        threading.Thread(target=lambda: [vitals.note(job("a"), outcome(seconds=1.0), 1.0) for _ in range(500)])
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert vitals.totals().runs == {("a", "ok"): 4000}
    assert vitals.totals().seconds == {"a": 4000.0}
    assert len(vitals.checks()[0].readings) == vitals_module.READINGS
