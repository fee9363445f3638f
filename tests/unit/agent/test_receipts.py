"""What was done once is not done again after a crash."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from monagent.agent import receipts as receipts_module
from monagent.agent.housekeeping import REMEMBER_SECONDS
from monagent.agent.journal import Journal
from monagent.agent.receipts import KEPT, KEPT_SECONDS, RECEIPTS_FILE, Receipts, row_of_token, token_of
from monagent.agent.rows import to_json
from monagent.agent.service import Agent
from monagent.config import settings
from monagent.models import Command, Job
from tests.support.monitor import Monitor
from tests.unit.agent.parts import ROOMY, Clock, rows, wait_until
from tests.unit.sensors.packages import cut_off

DONE = {"status": "ok", "message": "ä"}


@pytest.fixture
def receipts(tmp_path: Path) -> Receipts:
    """An agent's own."""
    return Receipts(tmp_path / RECEIPTS_FILE)


# -- tokens ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ticket", [None, 5, "5", "t", 'a"b', "ä"])
def test_a_token_leads_back_to_its_row_and_ticket(ticket: int | str | None) -> None:
    """With the type that the ticket had."""
    token = token_of(Job(7, Command(ticket, "cmd_update_sensor_code", ["load"])))

    assert row_of_token(token) == (7, ticket)


def test_every_part_of_a_job_makes_another_token() -> None:
    """A row of the journal may get a number again, and a plain server uses its tickets again."""
    jobs = [
        Job(1, Command("t", "m", ["a"])),
        Job(2, Command("t", "m", ["a"])),
        Job(1, Command("u", "m", ["a"])),
        Job(1, Command(1, "m", ["a"])),
        Job(1, Command("1", "m", ["a"])),
        Job(1, Command(None, "m", ["a"])),
        Job(1, Command("t", "n", ["a"])),
        Job(1, Command("t", "m", ["b"])),
        Job(1, Command("t", "m", [])),
    ]

    assert len({token_of(job) for job in jobs}) == len(jobs)
    assert token_of(jobs[0]) == token_of(Job(1, Command("t", "m", ["a"])))


def test_the_empty_token_is_nobodys() -> None:
    """A change that nobody asked for by a command has it."""
    assert row_of_token("") == (0, None)


# -- the file -------------------------------------------------------------------------------------------------------


def test_what_is_kept_is_there_after_a_restart(receipts: Receipts, tmp_path: Path) -> None:
    """By its token."""
    assert receipts.load() == {}
    receipts.keep("a", DONE)
    receipts.keep("b", {**DONE, "replaced": {}})

    assert Receipts(tmp_path / RECEIPTS_FILE).load() == {"a": DONE, "b": {**DONE, "replaced": {}}}


def test_only_the_newest_are_kept(receipts: Receipts) -> None:
    """At least one for each worker that could lose its last one."""
    for number in range(KEPT + 3):
        receipts.keep(str(number), {**DONE, "number": number})

    assert list(receipts.load()) == [str(number) for number in range(3, KEPT + 3)]
    assert KEPT >= 2


def test_one_that_is_kept_again_is_a_new_one(receipts: Receipts) -> None:
    """What a recovery finishes a second time counts from then on."""
    for token in [*map(str, range(KEPT)), "0", "new"]:
        receipts.keep(token, DONE)

    assert "0" in receipts.load()


def test_what_nobody_will_ask_for_is_not_kept(receipts: Receipts, tmp_path: Path) -> None:
    """Nor is a file made for it."""
    receipts.keep("", DONE)

    assert os.listdir(tmp_path) == []


def test_receipts_age(tmp_path: Path) -> None:
    """After a day the row in a token may be another command's; the journal has the outcome long since."""
    clock = Clock()
    receipts = Receipts(tmp_path / RECEIPTS_FILE, clock)
    receipts.keep("old", DONE)
    clock.now += KEPT_SECONDS / 2
    receipts.keep("new", DONE)
    clock.now += KEPT_SECONDS / 2 - 1
    assert set(receipts.load()) == {"old", "new"}
    clock.now += 1

    assert set(receipts.load()) == {"new"}
    receipts.keep("newer", DONE)
    assert set(json.loads((tmp_path / RECEIPTS_FILE).read_text())) == {"new", "newer"}


def test_a_receipt_from_a_far_future_is_none(tmp_path: Path) -> None:
    """The clock was wrong then: nobody knows how old it is. One that is set back a little does no harm."""
    clock = Clock()
    receipts = Receipts(tmp_path / RECEIPTS_FILE, clock)
    receipts.keep("a", DONE)
    clock.now -= KEPT_SECONDS - 1
    assert receipts.load() == {"a": DONE}
    clock.now -= 1

    assert receipts.load() == {}


def test_a_receipt_is_forgotten_before_a_row_gets_its_number_again() -> None:
    """Else it would stand for another command."""
    assert KEPT_SECONDS < REMEMBER_SECONDS


@pytest.mark.parametrize(
    "content",
    [
        b"", b"{", b"[]", b"null", b"5", b"\xff\xfe", b"\0" * 100, b'["a"]',
        b'{"b": {"kept": NaN, "outcome": {}}}', b'{"b": {"kept": -Infinity, "outcome": {}}}',
        b'{"b": {"kept": 1%s, "outcome": {}}}' % (b"0" * 400),
    ],
    ids=lambda content: content[:40],
)  # fmt: skip
def test_a_damaged_file_is_no_receipt_and_no_obstacle(receipts: Receipts, tmp_path: Path, content: bytes) -> None:
    """The next one replaces it."""
    (tmp_path / RECEIPTS_FILE).write_bytes(content)

    assert receipts.load() == {}
    receipts.keep("a", DONE)
    assert receipts.load() == {"a": DONE}


def test_an_outcome_that_is_none_is_no_receipt(receipts: Receipts, tmp_path: Path) -> None:
    """Else something that no server understands would be handed in. It costs no other receipt."""
    outcomes: dict[str, Any] = {"a": 5, "b": DONE, "c": None, "d": [], "e": "", "f": [["status", "ok"]]}
    stored: dict[str, Any] = {token: {"kept": time.time(), "outcome": outcome} for token, outcome in outcomes.items()}
    stored |= {"g": 5, "h": None, "i": [], "j": DONE, "k": {"kept": None, "outcome": DONE}, "l": {"outcome": DONE}}
    (tmp_path / RECEIPTS_FILE).write_text(json.dumps(stored))

    assert receipts.load() == {"b": DONE}


def test_a_crash_while_one_is_kept_loses_no_other(receipts: Receipts, tmp_path: Path) -> None:
    """Killed at each step."""
    point, ended = 0, False
    while not ended:
        (tmp_path / RECEIPTS_FILE).unlink(missing_ok=True)
        receipts.keep("a", DONE)
        ended = cut_off(point, lambda: receipts.keep("b", DONE))

        assert receipts.load() in ({"a": DONE}, {"a": DONE, "b": DONE})
        point += 1
    assert receipts.load() == {"a": DONE, "b": DONE}


def test_several_threads_may_keep_at_once(receipts: Receipts, monkeypatch: pytest.MonkeyPatch) -> None:
    """As its docstring says."""
    monkeypatch.setattr(receipts_module, "KEPT", 1000)
    trouble: list[OSError] = []

    def keep(word: str) -> None:
        for number in range(20):
            try:
                receipts.keep(f"{word}{number}", DONE)
            except OSError as error:
                trouble.append(error)

    threads = [threading.Thread(target=keep, args=(word,)) for word in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert trouble == []
    assert len(receipts.load()) == 80


# -- an agent that starts -------------------------------------------------------------------------------------------


@pytest.fixture
def agent(tmp_path: Path, monitor: Monitor) -> Iterator[Agent]:
    """An agent that is not started; its journal holds one command that was accepted and perhaps done."""
    (tmp_path / "client.cfg").write_text(f"[monitor]\nurl = {monitor.url}\n[agent]\nport = 0\n")
    (tmp_path / "sensors").mkdir()
    (tmp_path / "var").mkdir()
    made = Agent(settings.load(tmp_path / "client.cfg"))
    yield made
    if made._endpoint._thread is not None:
        made.stop(1)


def accepted(directory: Path, command: Command) -> Job:
    """A command that an agent took, before it was killed."""
    journal = Journal(directory / "var" / "journal.db", ROOMY)
    journal.start()
    (job,) = journal.accept([command])
    journal.stop()
    assert isinstance(job, Job)
    return job


def test_a_command_with_a_receipt_is_not_done_again(agent: Agent, tmp_path: Path, monitor: Monitor) -> None:
    """Its outcome is handed in as it was."""
    job = accepted(tmp_path, Command("t", "cmd_update_sensor_code", ["load"]))
    Receipts(tmp_path / "var" / RECEIPTS_FILE).keep(token_of(job), {**DONE, "sensor": "load"})
    agent.start()

    assert monitor.wait_for_ticket("t").content[1] == {**DONE, "sensor": "load"}


def test_a_receipt_of_long_ago_stands_for_no_later_command(agent: Agent, tmp_path: Path, monitor: Monitor) -> None:
    """A row gets its number again once the journal has forgotten the one before; that command is done, too."""
    old = accepted(tmp_path, Command(None, "cmd_update_sensor_code", ["load"]))
    Receipts(tmp_path / "var" / RECEIPTS_FILE).keep(token_of(old), DONE)
    agent.start()
    journal = tmp_path / "var" / "journal.db"
    wait_until(lambda: rows(journal, "select state from command") == [("closed",)], "the journal has its outcome")
    assert rows(journal, "select outcome from command") == [(to_json(DONE),)]
    agent.stop(1)
    agent._endpoint._thread = None
    Receipts(tmp_path / "var" / RECEIPTS_FILE, lambda: time.time() - KEPT_SECONDS).keep(token_of(old), DONE)
    for leftover in tmp_path.glob("var/journal.db*"):  # as housekeeping forgets it, days later
        leftover.unlink()

    new = accepted(tmp_path, Command(None, "cmd_update_sensor_code", ["load"]))
    assert token_of(new) == token_of(old)
    again = Agent(settings.load(tmp_path / "client.cfg"))
    again.start()
    try:
        wait_until(lambda: rows(journal, "select state from command") == [("closed",)], "the command is done")
        ((outcome,),) = rows(journal, "select outcome from command")
    finally:
        again.stop(1)
    assert json.loads(outcome) != DONE
