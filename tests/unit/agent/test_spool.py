"""The journal as `monagent spool` sees it, beside the one that writes it."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from monagent.agent.journal import Journal
from monagent.agent.spool import Spool
from monagent.errors import JournalError, TicketClash
from monagent.models import Job
from tests.unit.agent.parts import NOON, STATUS, accepted, command, finish, reading, state


def rejected(journal: Journal, ticket: int | str, *, remember: bool = True) -> int:
    """A command whose result the server refused for good; gives its row."""
    (job,) = accepted(journal, command(ticket, "5"))
    finish(journal, job)
    (result,) = [result for result in journal.due(100) if result.id == job.id]
    journal.rejected(result, "fault -32602: 'no'", remember=remember)
    return job.id


def test_what_is_not_done_with_is_listed_oldest_first(journal: Journal, tmp_path: Path) -> None:
    """Accepted, finished and rejected commands; delivered ones and those without a ticket are not."""
    finish(journal, *accepted(journal, command("delivered")))
    journal.delivered(journal.due(10), remember=True)
    rejected(journal, 7)
    finish(journal, *accepted(journal, command("finished")), at=NOON)
    accepted(journal, command("accepted", "a b"), command(None, method=STATUS))
    with Spool(tmp_path) as spool:
        entries = spool.entries()

    assert [(entry.ticket, entry.state) for entry in entries] == [
        (7, "rejected"), ("finished", "finished"), ("accepted", "accepted"),
    ]  # fmt: skip
    assert entries[0].refusal == "fault -32602: 'no'"
    assert entries[1].outcome == reading()
    assert entries[1].finished == NOON
    assert (entries[2].method, entries[2].arguments) == ("cmd_submit_reading", ["echo", ["a b"]])
    assert (entries[2].outcome, entries[2].finished) == (None, None)


def test_all_that_is_known_of_a_ticket_is_found(journal: Journal, tmp_path: Path) -> None:
    """A plain server may have used it more than once."""
    for data in ("1", "2"):
        finish(journal, *accepted(journal, command(1, data)), outcome=reading(data))
        journal.delivered(journal.due(10), remember=False)
    accepted(journal, command(1, "3"))
    with Spool(tmp_path) as spool:
        found = spool.find("1")

        assert [entry.state for entry in found] == ["delivered", "delivered", "accepted"]
        assert [entry.arguments for entry in found] == [["echo", [data]] for data in ("1", "2", "3")]
        assert all(entry.ticket == 1 for entry in found)
        assert spool.find("2") == []


def test_a_trimmed_command_can_still_be_looked_at(journal: Journal, tmp_path: Path) -> None:
    """Without what was trimmed."""
    finish(journal, *accepted(journal, command("t")))
    journal.delivered(journal.due(10), remember=True)
    journal.trim()
    with Spool(tmp_path) as spool:
        (entry,) = spool.find("t")

    assert (entry.arguments, entry.outcome, entry.state) == ([], None, "delivered")


def test_a_rejected_result_can_be_put_back(journal: Journal, tmp_path: Path) -> None:
    """It is due at once, with all its tries before it, for the running agent to see."""
    rejected(journal, "t")
    assert journal.due(10) == []
    with Spool(tmp_path) as spool:
        assert spool.retry("t") == 1
        assert spool.retry("t") == 0

    assert [(result.command.ticket, result.attempts) for result in journal.due(10)] == [("t", 0)]
    assert journal.counts() == {"accepted": 0, "finished": 1, "rejected": 0}


def test_a_rejected_result_can_be_given_up(journal: Journal, tmp_path: Path) -> None:
    """It is kept as history, and its ticket stays known where it was."""
    row = rejected(journal, "t")
    with Spool(tmp_path) as spool:
        assert spool.drop("t") == 1
        assert spool.drop("t") == 0
        assert spool.entries() == []

    assert state(journal, row) == "closed"
    assert journal.accept([command("t", "5")]) == [None]


def test_only_rejected_results_can_be_put_back_or_given_up(journal: Journal, tmp_path: Path) -> None:
    """What waits, runs or was delivered is left alone."""
    accepted(journal, command("accepted"))
    finish(journal, *accepted(journal, command("finished")))
    with Spool(tmp_path) as spool:
        for ticket in ("accepted", "finished", "unknown"):
            assert (spool.retry(ticket), spool.drop(ticket)) == (0, 0)

    assert journal.counts() == {"accepted": 1, "finished": 1, "rejected": 0}


def test_a_rejected_ticket_that_a_plain_server_used_again_can_only_be_dropped(journal: Journal, tmp_path: Path) -> None:
    """Or its result would be handed in as the other command's."""
    rejected(journal, 1, remember=False)
    finish(journal, *accepted(journal, command(1)))
    with Spool(tmp_path) as spool:
        with pytest.raises(TicketClash, match="in use again"):
            spool.retry("1")
        assert spool.drop("1") == 1

    assert [result.command.ticket for result in journal.due(10)] == [1]


def test_a_result_that_is_put_back_has_its_ticket_remembered(journal: Journal, tmp_path: Path) -> None:
    """It is undelivered again, so that a repeat of its command must not run."""
    rejected(journal, 1, remember=False)
    with Spool(tmp_path) as spool:
        assert spool.retry("1") == 1

    assert not isinstance(journal.accept([command(1)])[0], Job)


def test_a_directory_without_a_journal_is_told(tmp_path: Path) -> None:
    """And none is made by looking."""
    with pytest.raises(JournalError, match="there is no journal"):
        Spool(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_no_journal_is_told(tmp_path: Path) -> None:
    """With its path."""
    (tmp_path / "journal.db").write_bytes(b"no database" * 1000)

    with pytest.raises(JournalError, match=r"journal\.db"):
        Spool(tmp_path)


def test_a_journal_that_cannot_be_written_now_is_told(journal: Journal, tmp_path: Path) -> None:
    """Another process holds it for longer than anybody would wait."""
    rejected(journal, "t")
    other = sqlite3.connect(tmp_path / "journal.db", isolation_level=None)
    with Spool(tmp_path) as spool:
        spool._db.execute("pragma busy_timeout = 50")
        other.execute("begin immediate")
        with pytest.raises(JournalError, match="cannot be written"):
            spool.retry("t")
        other.execute("rollback")
        other.close()
        assert spool.retry("t") == 1
