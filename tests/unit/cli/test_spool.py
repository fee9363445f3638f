"""`monagent spool` on a journal that no agent has open."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from monagent.agent.journal import Journal
from monagent.models import Command, Job
from tests.unit.cli.program import monagent

REFUSAL = "fault -32602: 'not mine'"


@pytest.fixture
def spooled(config: Path) -> Path:
    """A configuration whose journal holds a command in each state."""
    state = config.parent / "var"
    state.mkdir()
    journal = Journal(state / "journal.db", 10**8)
    journal.start()
    tickets: list[int | str] = ["delivered", "rejected", 7, "finished", "accepted"]
    jobs = journal.accept([Command(ticket, "cmd_status", []) for ticket in tickets])
    for job in jobs[:4]:
        assert isinstance(job, Job)
        journal.finish(job, {"status": "ok", "message": "fine"}, time.time())
    until = time.monotonic() + 20
    while len(results := journal.due(10)) < 4 and time.monotonic() < until:
        time.sleep(0.01)
    journal.delivered(results[:1], remember=True)
    journal.rejected(results[1], REFUSAL, remember=True)
    journal.rejected(results[2], REFUSAL, remember=True)
    journal.stop()
    return config


def states(config: Path) -> dict[str, str]:
    """What is listed, by ticket."""
    return {str(one["ticket"]): one["state"] for one in json.loads(monagent("spool", "--json", "-c", config).stdout)}


@pytest.mark.parametrize("command", [["spool"], ["spool", "list"]])
def test_what_is_not_done_with_is_listed(spooled: Path, command: list[str]) -> None:
    """A line each on stdout, the sum on stderr."""
    done = monagent(*command, "-c", spooled)

    assert done.returncode == 0
    assert done.stderr == "1 being done, 1 waiting for the server, 2 rejected\n"
    lines = done.stdout.splitlines()
    assert [line.split()[0] for line in lines] == ["rejected", "rejected", "finished", "accepted"]
    assert lines[0].endswith(f"rejected  cmd_status  {REFUSAL}")
    assert states(spooled) == {
        "rejected": "rejected",
        "7": "rejected",
        "finished": "finished",
        "accepted": "accepted",
    }


def test_all_that_is_known_of_a_ticket_is_shown(spooled: Path) -> None:
    """Also of a delivered one; for programs as JSON."""
    done, for_programs = (
        monagent("spool", "show", "7", "-c", spooled),
        monagent("spool", "show", "delivered", "--json", "-c", spooled),
    )
    (delivered,) = json.loads(for_programs.stdout)

    assert (done.returncode, done.stderr, for_programs.returncode) == (0, "", 0)
    assert "ticket     7\n" in done.stdout
    assert f"refusal    {REFUSAL}\n" in done.stdout
    assert (delivered["state"], delivered["method"], delivered["outcome"]["message"]) == (
        "delivered",
        "cmd_status",
        "fine",
    )


def test_rejected_results_are_put_back_or_given_up(spooled: Path) -> None:
    """What was done is said on stderr."""
    retried, dropped = (
        monagent("spool", "retry", "7", "-c", spooled),
        monagent("spool", "drop", "rejected", "-c", spooled),
    )

    assert (retried.returncode, retried.stdout, retried.stderr) == (0, "", "will be tried again: 7\n")
    assert (dropped.returncode, dropped.stdout, dropped.stderr) == (0, "", "dropped: rejected\n")
    assert states(spooled) == {"7": "finished", "finished": "finished", "accepted": "accepted"}


@pytest.mark.parametrize("command", ["show", "retry", "drop"])
def test_a_ticket_that_is_not_known_is_a_negative_answer(spooled: Path, command: str) -> None:
    """1, and nothing changes."""
    before = states(spooled)
    done = monagent("spool", command, "unknown", "-c", spooled)

    assert (done.returncode, done.stdout) == (1, "")
    assert "'unknown'" in done.stderr
    assert states(spooled) == before


@pytest.mark.parametrize("command", ["retry", "drop"])
@pytest.mark.parametrize("ticket", ["accepted", "finished", "delivered"])
def test_only_rejected_results_can_be_decided_on(spooled: Path, command: str, ticket: str) -> None:
    """1."""
    assert monagent("spool", command, ticket, "-c", spooled).returncode == 1


def test_without_a_journal_there_is_nothing_to_show(config: Path) -> None:
    """74: has the agent been started with this configuration?"""
    done = monagent("spool", "-c", config)

    assert (done.returncode, done.stdout) == (74, "")
    assert "there is no journal" in done.stderr
    assert not (config.parent / "var").exists()


def test_a_hostile_refusal_cannot_paint_the_terminal(spooled: Path) -> None:
    """What a server said is printed without its escape sequences."""
    journal = Journal(spooled.parent / "var" / "journal.db", 10**8)
    journal.start()
    (result,) = journal.due(10)
    journal.rejected(result, "fault 1: '\\x1b[2J'", remember=True)
    journal.stop()

    assert "\x1b" not in monagent("spool", "-c", spooled).stdout
