"""The executor: who works when, and what becomes of work that fails or is cut off."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from monagent.agent.executor import QUEUE_LIMIT, Executor
from monagent.models import Command, Job, Outcome
from tests.unit.agent.parts import wait_until


class Work:
    """What the executor calls; a job's method is the name of the function here that does it."""

    def __init__(self) -> None:
        self.done: list[tuple[int, Outcome]] = []
        self.gate = threading.Event()
        self.begun = 0
        self._lock = threading.Lock()

    def perform(self, job: Job) -> Outcome:
        with self._lock:
            self.begun += 1
        if job.command.method in ("wait", "long"):
            assert self.gate.wait(30)
        if job.command.method == "fail":
            raise RuntimeError("a secret path")
        return {"status": "ok", "message": job.command.method}

    def failed(self, _job: Job, message: str) -> Outcome:
        return {"status": "error", "message": message}

    def finish(self, job: Job, outcome: Outcome, finished: float) -> None:
        assert abs(finished - time.time()) < 60
        with self._lock:
            self.done.append((job.id, outcome))


@pytest.fixture
def work() -> Iterator[Work]:
    """Work that is let go at the end of the test."""
    work = Work()
    yield work
    work.gate.set()


@pytest.fixture
def make(work: Work) -> Iterator[Callable[..., Executor]]:
    """Makes executors, which are stopped at the end."""
    made: list[Executor] = []

    def start(workers: int = 2) -> Executor:
        executor = Executor(workers, work.perform, work.failed, work.finish, lambda method: method)
        made.append(executor)
        executor.start()
        return executor

    yield start
    work.gate.set()
    for executor in made:
        executor.stop(20)


def job(number: int, method: str = "work") -> Job:
    """A job without arguments."""
    return Job(number, Command(f"t{number}", method, []))


def test_every_job_is_done_once(work: Work, make: Callable[..., Executor]) -> None:
    """However many workers there are."""
    executor = make(4)
    for number in range(200):
        executor.put(job(number))
    wait_until(lambda: len(work.done) == 200, "all jobs are done")

    assert sorted(number for number, _ in work.done) == list(range(200))
    assert work.begun == 200


def test_as_many_jobs_run_at_once_as_there_are_workers(work: Work, make: Callable[..., Executor]) -> None:
    """The others wait, and both are counted."""
    executor = make(3)
    for number in range(5):
        executor.put(job(number, "wait"))
    wait_until(lambda: executor.running == 3, "three jobs run")

    assert (executor.waiting, executor.checking, executor.room) == (2, True, QUEUE_LIMIT - 2)
    work.gate.set()
    wait_until(lambda: len(work.done) == 5, "all jobs are done")
    assert (executor.running, executor.waiting, executor.checking, executor.room) == (0, 0, False, QUEUE_LIMIT)


def test_long_work_never_delays_short_work(work: Work, make: Callable[..., Executor]) -> None:
    """It has workers of its own, and does not count as a check under way."""
    executor = make(1)
    for number in range(10):
        executor.put(job(number, "long"))
    wait_until(lambda: executor.running == 2, "the long lane is busy")
    assert not executor.checking
    executor.put(job(99))

    wait_until(lambda: work.done, "the short job is done")
    assert work.done[0][0] == 99


def test_a_bug_in_one_job_becomes_its_outcome(
    work: Work, make: Callable[..., Executor], caplog: pytest.LogCaptureFixture
) -> None:
    """The outcome names an incident and nothing else; the log has the rest; the worker goes on."""
    caplog.set_level(logging.ERROR)
    executor = make(1)
    executor.put(job(1, "fail"))
    executor.put(job(2))
    wait_until(lambda: len(work.done) == 2, "both jobs are done")
    message = work.done[0][1]["message"]
    incident = message.split("incident ")[1].split(";")[0]

    assert "secret" not in message
    assert f"incident {incident} ticket=t1 method=fail" in caplog.text
    assert "RuntimeError: a secret path" in caplog.text
    assert work.done[1] == (2, {"status": "ok", "message": "work"})


def test_stopping_lets_running_work_finish_and_takes_no_more(work: Work, make: Callable[..., Executor]) -> None:
    """What waits stays for the next start."""
    executor = make(1)
    for number in range(3):
        executor.put(job(number, "wait"))
    wait_until(lambda: executor.running == 1, "the first job runs")
    threading.Timer(0.2, work.gate.set).start()

    assert executor.stop(20)
    assert [number for number, _ in work.done] == [0]
    assert work.begun == 1


def test_work_that_outlasts_the_grace_leaves_no_result(work: Work, make: Callable[..., Executor]) -> None:
    """It is cut off and done again after the next start: a result now would be a lie."""
    executor = make(1)
    executor.put(job(1, "wait"))
    wait_until(lambda: executor.running == 1, "the job runs")

    started = time.monotonic()
    assert not executor.stop(0.2)
    assert time.monotonic() - started < 5
    work.gate.set()
    wait_until(lambda: executor.running == 0, "the job has ended")
    time.sleep(0.1)
    assert work.done == []


def test_stopping_takes_no_long_work_either_while_short_work_runs(work: Work, make: Callable[..., Executor]) -> None:
    """From the moment of the stop no job is begun in any lane."""
    executor = make(1)
    executor.put(job(1, "wait"))
    executor.put(job(2, "long"))
    executor.put(job(3, "long"))
    wait_until(lambda: executor.running == 3, "all workers are busy")
    stopped: list[Any] = []
    stopper = threading.Thread(target=lambda: stopped.append(executor.stop(20)))
    stopper.start()
    wait_until(lambda: executor._short._stopping, "the stop has begun")
    executor.put(job(4, "long"))
    work.gate.set()
    stopper.join(30)

    assert stopped == [True]
    assert sorted(number for number, _ in work.done) == [1, 2, 3]


def test_stopping_an_idle_executor_is_quick(make: Callable[..., Executor]) -> None:
    """The workers do not wait for anything."""
    executor = make(8)
    started = time.monotonic()

    assert executor.stop(20)
    assert time.monotonic() - started < 5
