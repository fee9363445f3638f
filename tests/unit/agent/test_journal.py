"""The journal: what it promises, on a real file."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from monagent.agent import journal as journal_module
from monagent.agent import writer as writer_module
from monagent.agent.journal import Journal
from monagent.errors import Busy, JournalError
from monagent.models import Command, Job
from tests.unit.agent.conftest import OpenJournal
from tests.unit.agent.parts import (
    NOON,
    STATUS,
    Clock,
    accepted,
    command,
    faults,
    finish,
    reading,
    rows,
    state,
    wait_until,
)

# -- tickets ------------------------------------------------------------------------------------------------------


def test_an_accepted_command_is_on_disk(journal: Journal) -> None:
    """Another connection sees it as soon as `accept` returns."""
    (job,) = accepted(journal, command("t", "5"))

    assert rows(journal._path, "select id, ticket, state from command") == [(job.id, "t", "accepted")]


def test_a_repeat_is_no_second_job(journal: Journal) -> None:
    """The same ticket with the same command is known, in the same request and in a later one."""
    first, second = journal.accept([command("t", "5"), command("t", "5")])

    assert isinstance(first, Job)
    assert second is None
    assert journal.accept([command("t", "5")]) == [None]
    assert len(journal.unfinished()) == 1


@pytest.mark.parametrize(
    "other",
    [
        command("t", "6"),
        command("t"),
        command("t", "5", "5"),
        command("t", method=STATUS),
        Command("t", "cmd_submit_reading", ["load", ["5"]]),
    ],
)
def test_a_ticket_cannot_be_used_for_another_command(journal: Journal, other: Command) -> None:
    """Another method, sensor or argument is a clash, and the first command stays as it was."""
    accepted(journal, command("t", "5"))

    assert faults(journal.accept([other])) == [-32001]
    assert [job.command for job in journal.unfinished()] == [command("t", "5")]


def test_an_integer_and_its_decimal_text_are_one_ticket(journal: Journal) -> None:
    """Each is a repeat of the other; other texts that mean the same number are not."""
    accepted(journal, command(7), command("8"))

    assert journal.accept([command("7"), command(8)]) == [None, None]
    accepted(journal, command("007"), command("+7"), command(" 7"), command("7.0"), command(-7))


def test_a_command_keeps_the_type_of_its_ticket(open_journal: OpenJournal) -> None:
    """Also over a restart: an integer stays one, as large as the protocol allows."""
    tickets: list[int | str] = [1, "1a", "007", 0, -(2**63), 2**63 - 1, " ", "~" * 128]
    journal = open_journal()
    accepted(journal, *map(command, tickets))
    journal.stop()

    assert [job.command.ticket for job in open_journal().unfinished()] == tickets


def test_commands_without_a_ticket_are_all_new(journal: Journal) -> None:
    """Two of them never clash, and nothing is delivered for them."""
    jobs = accepted(journal, command(None, method=STATUS), command(None, method=STATUS))
    finish(journal, *jobs, outcome={"status": "ok", "message": ""})

    assert [state(journal, job.id) for job in jobs] == ["closed", "closed"]
    assert journal.due(10) == []


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.lists(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 1)), max_size=6), max_size=6))
def test_whatever_comes_in_whatever_order_one_ticket_is_one_job(
    open_journal: OpenJournal, requests: list[list[tuple[int, int]]]
) -> None:
    """A model of a dictionary and the journal agree on every answer."""
    journal = open_journal()
    base = int(time.monotonic() * 1e9)
    known: dict[int, int] = {}
    for request in requests:
        answers = journal.accept([command(base + ticket, str(argument)) for ticket, argument in request])
        for (ticket, argument), answer in zip(request, answers, strict=True):
            if ticket not in known:
                assert isinstance(answer, Job)
            else:
                assert faults([answer]) == [None if known[ticket] == argument else -32001]
            known.setdefault(ticket, argument)
    journal.stop()


def test_whatever_an_argument_holds_can_be_kept(open_journal: OpenJournal) -> None:
    """Also what no UTF-8 can say."""
    argument = "ü\u2028\x00\x1b\ud800🙂"
    journal = open_journal()
    accepted(journal, command("t", argument))
    journal.stop()

    assert open_journal().unfinished()[0].command == command("t", argument)


# -- the writer ---------------------------------------------------------------------------------------------------


def test_callers_who_wait_share_one_commit(journal: Journal) -> None:
    """A hundred threads hand commands in while the disk is busy: one commit serves them all."""
    gate, waiting = threading.Event(), threading.Event()
    commits: list[str] = []

    def hold(_db: sqlite3.Connection) -> None:
        waiting.set()
        gate.wait(20)

    holder = threading.Thread(target=journal._writer.submit, args=(hold,))
    holder.start()
    assert waiting.wait(20)
    callers = [threading.Thread(target=accepted, args=(journal, command(f"t{number}"))) for number in range(100)]
    for caller in callers:
        caller.start()
    wait_until(lambda: journal._writer._queue.qsize() == 100, "all callers wait")
    journal._connection.set_trace_callback(commits.append)
    gate.set()
    for thread in (holder, *callers):
        thread.join(20)

    # The holder's own, and one for the hundred.
    assert [statement for statement in commits if statement.lower() == "commit"] == ["commit"] * 2
    assert len(journal.unfinished()) == 100


def test_many_threads_make_far_fewer_commits_than_commands(journal: Journal) -> None:
    """Sixteen threads with 50 commands each: at most half as many commits."""
    commits: list[str] = []
    journal._connection.set_trace_callback(commits.append)

    def send(name: int) -> None:
        for number in range(50):
            accepted(journal, command(f"{name}-{number}"))

    threads = [threading.Thread(target=send, args=(name,)) for name in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)

    assert len(journal.unfinished()) == 800
    assert sum(statement.lower() == "commit" for statement in commits) <= 400


def test_results_are_gathered_while_more_are_coming(open_journal: OpenJournal) -> None:
    """They wait for company for milliseconds and then are written together."""
    commits: list[str] = []
    journal = open_journal(more_coming=lambda: True)
    jobs = accepted(journal, *(command(f"t{number}") for number in range(50)))
    journal._connection.set_trace_callback(commits.append)
    for job in jobs:
        journal.finish(job, reading(), NOON)
    wait_until(lambda: len(journal.due(100)) == 50, "all results are on disk")

    assert sum(statement.lower() == "commit" for statement in commits) < 25


class _Hesitant(list[Any]):
    """A list whose chosen reader is held up right after looking, for as long as a writer needs to empty it."""

    slow = ""

    def __len__(self) -> int:
        length = super().__len__()
        if threading.current_thread().name == self.slow:
            until = time.monotonic() + 0.5
            while super().__len__() and time.monotonic() < until:
                time.sleep(0.001)
        return length


def test_no_gathered_result_is_forgotten(open_journal: OpenJournal) -> None:
    """A result that comes just while the writer empties the queue gets to the disk without another one's help."""
    journal = open_journal(more_coming=lambda: True)
    results = _Hesitant()
    journal._writer._gathered = results
    first, second = accepted(journal, command("first"), command("second"))
    results.slow = "late"
    late = threading.Thread(target=journal.finish, args=(second, reading(), NOON), name="late")
    journal.finish(first, reading(), NOON)
    late.start()
    late.join(20)

    wait_until(lambda: len(journal.due(10)) == 2, "both results are on disk", seconds=5)


def test_the_relay_is_told_when_results_are_on_disk(open_journal: OpenJournal) -> None:
    """And what it then asks for is there."""
    told = threading.Event()
    seen: list[int] = []

    def on_finished() -> None:
        seen.append(len(journal.due(10)))
        told.set()

    journal = open_journal(on_finished=on_finished)
    (job,) = accepted(journal, command("t"))
    assert not told.is_set()
    journal.finish(job, reading(), NOON)

    assert told.wait(20)
    assert seen == [1]


def test_stopping_writes_what_still_waits(open_journal: OpenJournal) -> None:
    """Results that were handed in just before are there after the next start."""
    journal = open_journal(more_coming=lambda: True)
    jobs = accepted(journal, *(command(f"t{number}") for number in range(20)))
    for job in jobs:
        journal.finish(job, reading(), NOON)
    journal.stop()

    again = open_journal()
    assert again.unfinished() == []
    assert [result.command.ticket for result in again.due(100)] == [f"t{number}" for number in range(20)]


# -- life ---------------------------------------------------------------------------------------------------------


def test_a_restart_resumes_what_was_not_finished_in_order(open_journal: OpenJournal) -> None:
    """Finished work is not done again."""
    journal = open_journal()
    jobs = accepted(journal, *(command(f"t{number}", str(number)) for number in range(5)))
    finish(journal, jobs[1], jobs[3])
    journal.stop()

    assert open_journal().unfinished() == [jobs[0], jobs[2], jobs[4]]


def test_results_wait_in_the_order_of_completion_over_a_restart(open_journal: OpenJournal) -> None:
    """Not in that of acceptance; what is finished after a restart comes behind."""
    journal = open_journal()
    jobs = accepted(journal, *(command(f"t{number}") for number in range(4)))
    finish(journal, jobs[2], jobs[0])
    journal.stop()
    again = open_journal()
    finish(again, jobs[3], jobs[1])

    assert [result.id for result in again.due(10)] == [jobs[2].id, jobs[0].id, jobs[3].id, jobs[1].id]
    assert [result.id for result in again.due(3)] == [jobs[2].id, jobs[0].id, jobs[3].id]


def test_a_job_cannot_be_finished_twice(journal: Journal) -> None:
    """The first outcome stays."""
    (job,) = accepted(journal, command("t"))
    finish(journal, job, outcome=reading("1"))
    finish(journal, job, outcome=reading("2"))
    journal.accept([command("later")])

    assert [result.outcome["data"] for result in journal.due(10)] == ["1"]


def test_a_result_carries_all_that_delivery_needs(journal: Journal) -> None:
    """Ticket, command, outcome, time and tries."""
    (job,) = accepted(journal, command(5, "x"))
    finish(journal, job, outcome=reading("2.50"), at=NOON + 0.25)
    (result,) = journal.due(10)

    assert (result.id, result.command, result.outcome) == (job.id, command(5, "x"), reading("2.50"))
    assert (result.finished, result.attempts) == (NOON + 0.25, 0)


@pytest.mark.parametrize(
    "content",
    [pytest.param(b"no database " * 1000, id="garbage"), pytest.param(b"SQLite format 3\0" + bytes(4080), id="zeros")],
)
def test_a_file_that_is_no_journal_is_refused(tmp_path: Path, content: bytes) -> None:
    """With the path in the message, and the file is left as it was."""
    path = tmp_path / "journal.db"
    path.write_bytes(content)

    with pytest.raises(JournalError, match=str(path)):
        Journal(path, 10**6).start()
    assert path.read_bytes() == content


def test_a_damaged_journal_is_refused(open_journal: OpenJournal, tmp_path: Path) -> None:
    """One of which the disk has lost a part does not start as if it were whole."""
    journal = open_journal()
    accepted(journal, *(command(f"t{number}", "x" * 1000) for number in range(300)))
    journal.stop()
    path = tmp_path / "journal.db"
    whole = path.read_bytes()
    path.write_bytes(whole[:8192] + b"\xaa" * (len(whole) - 8192))

    with pytest.raises(JournalError, match=str(path)):
        open_journal()


def test_a_journal_in_a_missing_directory_is_refused(tmp_path: Path) -> None:
    """It is the caller who makes directories."""
    with pytest.raises(JournalError):
        Journal(tmp_path / "missing" / "journal.db", 10**6).start()


# -- after delivery -----------------------------------------------------------------------------------------------


def test_a_delivered_ticket_stays_known_where_that_was_asked_for(open_journal: OpenJournal) -> None:
    """Over a restart, too: a repeat is acknowledged, another command clashes."""
    journal = open_journal()
    finish(journal, *accepted(journal, command("t")))
    journal.delivered(journal.due(10), remember=True)
    journal.stop()
    again = open_journal()

    assert again.accept([command("t")]) == [None]
    assert faults(again.accept([command("t", "other")])) == [-32001]
    assert (again.due(10), again.unfinished()) == ([], [])


def test_a_delivered_ticket_is_free_where_it_was_not(open_journal: OpenJournal) -> None:
    """A server that counts from 1 again gets its ticket 1 done again."""
    journal = open_journal()
    finish(journal, *accepted(journal, command(1)))
    journal.delivered(journal.due(10), remember=False)
    journal.stop()
    again = open_journal()
    second = accepted(again, command(1))

    assert again.unfinished() == second
    assert faults(again.accept([command("1", "other")])) == [-32001]


def test_a_closed_result_frees_its_ticket_and_is_kept_as_history(journal: Journal) -> None:
    """What a plain server cannot take is done with, but can be looked at."""
    (job,) = accepted(journal, command(1, method=STATUS))
    finish(journal, job, outcome={"status": "ok", "message": "fine"})
    journal.closed(journal.due(10))

    assert state(journal, job.id) == "closed"
    assert journal.due(10) == []
    assert rows(journal._path, "select outcome from command") == [('{"status":"ok","message":"fine"}',)]
    accepted(journal, command(1, method=STATUS))


def test_a_postponed_result_is_due_when_its_time_has_come(open_journal: OpenJournal) -> None:
    """Until then it lets others pass, and each try is counted."""
    clock = Clock()
    journal = open_journal(clock=clock)
    finish(journal, *accepted(journal, command("a"), command("b")))
    first, _ = journal.due(10)
    journal.postpone(first, NOON + 30, "fault 1: 'no'")

    assert [result.command.ticket for result in journal.due(10)] == ["b"]
    clock.now = NOON + 29.9
    assert [result.command.ticket for result in journal.due(10)] == ["b"]
    clock.now = NOON + 30
    assert [(result.command.ticket, result.attempts) for result in journal.due(10)] == [("a", 1), ("b", 0)]


def test_the_next_time_that_something_is_due_is_known(open_journal: OpenJournal) -> None:
    """None while nothing waits."""
    journal = open_journal(clock=Clock())
    assert journal.next_due() is None
    finish(journal, *accepted(journal, command("a")))
    (result,) = journal.due(1)
    journal.postpone(result, NOON + 30, "")

    assert journal.next_due() == NOON + 30


def test_a_rejected_result_is_set_aside_counted_and_kept(journal: Journal) -> None:
    """It is not tried again by itself."""
    jobs = accepted(journal, command("a"), command("b"))
    finish(journal, *jobs)
    first, _ = journal.due(10)
    journal.rejected(first, "fault 1: 'no'", remember=True)

    assert [result.command.ticket for result in journal.due(10)] == ["b"]
    assert journal.counts() == {"accepted": 0, "finished": 1, "rejected": 1}
    assert journal.accept([command("a")]) == [None]
    assert rows(journal._path, "select refusal from command where state = 'rejected'") == [("fault 1: 'no'",)]


# -- limits -------------------------------------------------------------------------------------------------------


def fill(journal: Journal) -> int:
    """Hand in commands until they are refused; gives the number of those that were not."""
    until = time.monotonic() + 30
    number = 0
    while faults(journal.accept([command(f"fill-{number}", "x" * 5000)])) == [None]:
        number += 1
        assert time.monotonic() < until, "the journal never said that it is full"
        time.sleep(0.001)
    return number


def test_a_full_journal_refuses_new_commands_and_loses_none(open_journal: OpenJournal) -> None:
    """Busy, while results are still written and delivered."""
    journal = open_journal(200_000)
    count = fill(journal)

    assert faults(journal.accept([command("new")])) == [-32002]
    assert len(journal.unfinished()) == count
    job = journal.unfinished()[0]
    finish(journal, job)
    journal.delivered(journal.due(10), remember=True)
    assert journal.counts() == {"accepted": count - 1, "finished": 0, "rejected": 0}


def test_a_repeat_is_acknowledged_by_a_full_journal(open_journal: OpenJournal) -> None:
    """It takes no room, and the sender must learn that its command is safe."""
    journal = open_journal(200_000)
    fill(journal)

    assert journal.accept([command("fill-0", "x" * 5000)]) == [None]


def test_a_full_journal_takes_commands_again_once_it_was_tidied(
    open_journal: OpenJournal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As soon as enough was forgotten there is room, and that is noticed within seconds."""
    with monkeypatch.context() as patched:
        patched.setattr(journal_module, "MEASURE_SECONDS", 0.0)
        journal = open_journal(200_000)
        fill(journal)
    for job in journal.unfinished():
        journal.finish(job, reading(), NOON)
    wait_until(lambda: journal.counts()["accepted"] == 0, "all is finished")
    while results := journal.due(100):
        journal.delivered(results, remember=True)
    while journal.forget(time.time() + 1):
        pass
    assert journal.used() < 100_000

    wait_until(lambda: faults(journal.accept([command("new")])) == [None], "there is room again", seconds=5)


def test_forgetting_frees_the_tickets_of_long_ago(open_journal: OpenJournal) -> None:
    """Only what was delivered or closed before the time given; nothing that is still owed."""
    clock = Clock()
    journal = open_journal(clock=clock)
    jobs = accepted(journal, *map(command, ("old", "new", "rejected", "finished", "accepted")))
    finish(journal, *jobs[:4])
    old, new, rejected, _ = journal.due(10)
    journal.delivered([old], remember=True)
    journal.rejected(rejected, "no", remember=True)
    clock.now = NOON + 100
    journal.delivered([new], remember=True)

    assert journal.forget(NOON + 50) == 1
    assert journal.forget(NOON + 50) == 0
    left = rows(journal._path, "select ticket from command order by id")
    assert left == [("new",), ("rejected",), ("finished",), ("accepted",)]
    accepted(journal, command("old", "something else"))


def test_trimming_drops_history_and_keeps_the_tickets(journal: Journal) -> None:
    """A repeat of a trimmed command is still known, and what is owed keeps everything."""
    jobs = accepted(journal, command("done", "x"), command("owed", "y"))
    finish(journal, *jobs)
    done, _ = journal.due(10)
    journal.delivered([done], remember=True)

    assert journal.trim() == 1
    assert journal.trim() == 0
    assert journal.accept([command("done", "x")]) == [None]
    assert faults(journal.accept([command("done", "z")])) == [-32001]
    assert [result.outcome for result in journal.due(10)] == [reading()]


# -- a disk that fails --------------------------------------------------------------------------------------------


def test_a_full_disk_refuses_commands_and_passes(journal: Journal) -> None:
    """SQLite says that the disk is full: Busy, nothing is broken, and with room all goes on."""
    (pages,) = journal._connection.execute("pragma page_count").fetchone()
    journal._connection.execute(f"pragma max_page_count = {pages}")

    assert faults(journal.accept([command("t", "x" * 50_000)])) == [-32002]
    assert not journal.broken
    journal._connection.execute("pragma max_page_count = 1000000")
    accepted(journal, command("t", "x" * 50_000))


def test_a_result_waits_for_room_on_a_full_disk(journal: Journal) -> None:
    """It is written as soon as that is possible, though nobody hands it in again."""
    (job,) = accepted(journal, command("t"))
    (pages,) = journal._connection.execute("pragma page_count").fetchone()
    journal._connection.execute(f"pragma max_page_count = {pages}")
    journal.finish(job, reading("1" * 50_000), NOON)
    time.sleep(0.3)
    assert state(journal, job.id) == "accepted"
    journal._connection.execute("pragma max_page_count = 1000000")

    wait_until(lambda: state(journal, job.id) == "finished", "the result is on disk", seconds=10)


def test_stopping_does_not_wait_for_room_on_a_full_disk(open_journal: OpenJournal) -> None:
    """The job is done again after the next start."""
    journal = open_journal()
    (job,) = accepted(journal, command("t"))
    (pages,) = journal._connection.execute("pragma page_count").fetchone()
    journal._connection.execute(f"pragma max_page_count = {pages}")
    journal.finish(job, reading("1" * 50_000), NOON)
    started = time.monotonic()
    journal.stop()

    assert time.monotonic() - started < 5
    assert open_journal().unfinished() == [job]


def test_a_locked_file_refuses_commands_and_passes(journal: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another process that holds the file for long costs an answer of Busy, no more."""
    journal._connection.execute("pragma busy_timeout = 100")
    other = sqlite3.connect(journal._path, isolation_level=None)
    other.execute("begin immediate")

    assert faults(journal.accept([command("t")])) == [-32002]
    other.execute("rollback")
    other.close()
    assert not journal.broken
    accepted(journal, command("t"))


def test_a_file_that_cannot_grow_loses_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    """A process that hits its file size limit refuses commands; each one it took is there for the next."""
    script = """
        import pathlib, resource, sys
        from monagent.agent.journal import Journal
        from monagent.models import Command, Job
        broken = []
        journal = Journal(pathlib.Path(sys.argv[1]), 10**9, on_broken=broken.append)
        journal.start()
        _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, hard))
        taken = []
        for number in range(1000):
            (answer,) = journal.accept([Command(number, "cmd_status", ["x" * 2000])])
            if not isinstance(answer, Job):
                break
            taken.append(answer.command.ticket)
        again, = journal.accept([Command("again", "cmd_status", [])])
        print(len(taken), type(answer).__name__, bool(broken) == bool(journal.broken))
        import os; os._exit(0)
    """
    path = tmp_path / "journal.db"
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script), str(path)], capture_output=True, text=True, timeout=60
    )
    taken, answer, told = done.stdout.split()

    assert (answer, told) == ("Busy", "True"), done.stderr
    assert 10 < int(taken) < 1000
    journal = Journal(path, 10**9)
    journal.start()
    tickets = [job.command.ticket for job in journal.unfinished()]
    journal.stop()
    assert tickets[: int(taken)] == list(range(int(taken)))


def test_an_error_that_no_retry_can_mend_is_told_once(open_journal: OpenJournal) -> None:
    """The journal is given up: commands are refused and waiting results released, so that the process can end."""
    reasons: list[str] = []
    journal = open_journal(on_broken=reasons.append)
    (job,) = accepted(journal, command("t"))

    def fail(_db: sqlite3.Connection) -> None:
        error = sqlite3.OperationalError("disk I/O error")
        error.sqlite_errorcode = sqlite3.SQLITE_IOERR_FSYNC
        raise error

    journal._writer.submit(fail)

    assert reasons == ["disk I/O error"] == [journal.broken]
    assert faults(journal.accept([command("new")])) == [-32002]
    journal._writer.submit(fail, patient=True)
    journal.finish(job, reading(), NOON)
    started = time.monotonic()
    journal.stop()
    assert time.monotonic() - started < 5
    assert reasons == ["disk I/O error"]


def test_measuring_is_done_often_enough_to_keep_the_limit(open_journal: OpenJournal) -> None:
    """A flood of large commands does not carry the journal far beyond its limit."""
    journal = open_journal(1_000_000)
    big = [command(number, "x" * 200_000) for number in range(200)]
    for one in big:
        journal.accept([one])

    assert journal.used() < 4_000_000


def test_the_constants_fit_each_other() -> None:
    """Gathering is far shorter than measuring, and a batch is bounded."""
    assert writer_module.GATHER_SECONDS < 0.05 < journal_module.MEASURE_SECONDS
    assert 0 < writer_module.BATCH <= 5000


def test_a_full_disk_with_results_waiting_still_answers_callers(open_journal: OpenJournal) -> None:
    """New commands are refused at once while a result waits for room, and both go on when there is room again."""
    journal = open_journal()
    jobs = accepted(journal, *(command(f"t{number}") for number in range(3)))
    (pages,) = journal._connection.execute("pragma page_count").fetchone()
    journal._connection.execute(f"pragma max_page_count = {pages}")
    for job in jobs:
        journal.finish(job, reading("1" * 4000), NOON)
    started = time.monotonic()
    refused = [journal.accept([command(f"big{number}", "x" * 9000)]) for number in range(3)]
    took = time.monotonic() - started
    journal._connection.execute("pragma max_page_count = 1000000")

    assert [type(answer) for (answer,) in refused] == [Busy] * 3
    assert took < 5
    wait_until(lambda: len(journal.due(10)) == 3, "the results are on disk", seconds=10)
    assert journal.broken == ""


def test_a_journal_that_was_given_up_is_not_written_again(
    open_journal: OpenJournal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever made the writer fail, everybody who waits hears of it, and nothing more gets into the file."""
    broken: list[str] = []
    journal = open_journal(on_broken=broken.append)
    (job,) = accepted(journal, command("before"))

    def fail() -> None:
        raise RuntimeError("no memory")

    monkeypatch.setattr(journal._writer, "_on_committed", fail)
    journal.accept([command("last")])
    wait_until(lambda: journal.broken != "", "it is given up")
    journal.finish(job, reading(), NOON)

    assert [type(answer) for answer in journal.accept([command("after")])] == [Busy]
    assert broken == ["no memory"]
    assert rows(journal._path, "select ticket, state from command order by id") == [
        ("before", "accepted"),
        ("last", "accepted"),
    ]


def test_a_plain_server_may_use_a_ticket_again_while_its_answer_is_being_noted(open_journal: OpenJournal) -> None:
    """The second command waits for the fate of the first result, and then runs."""
    journal = open_journal()
    finish(journal, *accepted(journal, command(1)))
    results = journal.due(10)
    answers: list[object] = []
    caller = threading.Thread(target=lambda: answers.extend(journal.accept([command(1)])))
    with journal.handing_in(results):
        caller.start()
        time.sleep(0.1)
        assert answers == []
        journal.delivered(results, remember=False)
    caller.join(10)

    assert [type(answer) for answer in answers] == [Job]
