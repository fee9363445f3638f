"""Housekeeping on a real journal."""

from __future__ import annotations

import threading
import time

import pytest

from monagent.agent import housekeeping as housekeeping_module
from monagent.agent.housekeeping import REMEMBER_SECONDS, Housekeeping
from monagent.agent.journal import Journal
from tests.unit.agent.conftest import OpenJournal
from tests.unit.agent.parts import NOON, ROOMY, Clock, accepted, command, faults, finish, reading, rows, wait_until


def delivered(journal: Journal, *tickets: str, size: int = 0) -> None:
    """Commands that were done and taken."""
    finish(
        journal,
        *accepted(journal, *(command(ticket, "x" * size) for ticket in tickets)),
        outcome={**reading(), "stderr": "y" * size},
    )
    journal.delivered(journal.due(1000), remember=True)


def test_a_delivered_ticket_is_known_for_seven_days(open_journal: OpenJournal) -> None:
    """Not a second less, and then it is forgotten."""
    journal = open_journal(clock=Clock())
    housekeeping = Housekeeping(journal, ROOMY)
    delivered(journal, "t")
    assert REMEMBER_SECONDS == 7 * 24 * 3600

    housekeeping.tidy(NOON + REMEMBER_SECONDS - 1)
    assert journal.accept([command("t", "")]) == [None]
    housekeeping.tidy(NOON + REMEMBER_SECONDS + 1)
    assert rows(journal._path, "select * from command") == []


def test_more_than_one_step_can_be_forgotten_in_a_round(open_journal: OpenJournal) -> None:
    """The bound of one step is no bound of the round."""
    journal = open_journal(clock=Clock())
    jobs = [job for part in range(60) for job in accepted(journal, *(command(f"{part}-{n}") for n in range(100)))]
    for job in jobs:
        journal.finish(job, reading(), NOON)
    wait_until(lambda: journal.counts()["finished"] == 6000, "all is finished")
    while results := journal.due(1000):
        journal.delivered(results, remember=True)

    Housekeeping(journal, ROOMY).tidy(NOON + REMEMBER_SECONDS + 1)
    assert rows(journal._path, "select count(*) from command") == [(0,)]


def test_history_gives_way_when_the_journal_is_more_than_half_full(open_journal: OpenJournal) -> None:
    """Arguments and outcomes of the oldest go; the tickets stay known."""
    journal = open_journal(clock=Clock())
    delivered(journal, *(f"t{number}" for number in range(50)), size=20_000)
    used = journal.used()

    Housekeeping(journal, used * 2 + 2).tidy(NOON)
    assert rows(journal._path, "select count(outcome) from command") == [(50,)]
    Housekeeping(journal, used).tidy(NOON)
    assert rows(journal._path, "select count(outcome) from command") == [(0,)]
    assert journal.used() < used / 4
    assert journal.accept([command("t0", "x" * 20_000)]) == [None]
    assert faults(journal.accept([command("t0", "other")])) == [-32001]


def test_what_is_still_owed_never_gives_way(open_journal: OpenJournal) -> None:
    """However full the journal and however old the commands are."""
    journal = open_journal(clock=Clock())
    jobs = accepted(journal, *(command(ticket, "x" * 1000) for ticket in ("accepted", "finished", "rejected")))
    finish(journal, *jobs[1:])
    journal.rejected(journal.due(10)[1], "no", remember=True)
    before = rows(journal._path, "select * from command")

    Housekeeping(journal, 1).tidy(NOON + 100 * REMEMBER_SECONDS)
    assert rows(journal._path, "select * from command") == before


def test_the_thread_tidies_by_itself_and_stops_when_it_is_told(
    open_journal: OpenJournal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Again and again, also after a round that failed."""
    monkeypatch.setattr(housekeeping_module, "ROUND_SECONDS", 0.01)
    clock = Clock(time.time() - REMEMBER_SECONDS - 60)
    journal = open_journal(clock=clock)
    housekeeping = Housekeeping(journal, ROOMY)
    forget = journal.forget
    failed = threading.Event()

    def fail_first(before: float) -> int:
        if not failed.is_set():
            failed.set()
            raise RuntimeError("once")
        return forget(before)

    monkeypatch.setattr(journal, "forget", fail_first)
    delivered(journal, "t")
    housekeeping.start()
    wait_until(lambda: rows(journal._path, "select * from command") == [], "the ticket is forgotten")
    started = time.monotonic()
    housekeeping.stop(started + 10)

    assert failed.is_set()
    assert time.monotonic() - started < 5
    assert not housekeeping._thread.is_alive()
