"""Turns: the rules by which checks wait for each other, alone and in the hands of real workers."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from collections.abc import Callable

import pytest

from monagent.agent.executor import Executor
from monagent.agent.turns import Claim, Turns
from monagent.models import Command, Job, Outcome
from tests.unit.agent.parts import wait_until


def job(number: int, sensor: str = "", check: str = "") -> Job:
    """A job that wants this sensor and this check."""
    return Job(number, Command(f"t{number}", "cmd_submit_reading", [sensor, check]))


def claim_of(job: Job) -> Claim:
    """What such a job wants."""
    return Claim(*job.command.arguments)


@pytest.fixture
def turns() -> Turns:
    """Of four workers: three are a sensor's share, and one is lent."""
    return Turns(4, claim_of)


def test_the_same_check_waits_and_begins_when_the_first_has_ended(turns: Turns) -> None:
    """In the order of arrival, one after the other."""
    first, second, third = (job(number, "load", "load x") for number in range(3))

    assert turns.begin(first)
    assert not turns.begin(second)
    assert not turns.begin(third)
    assert turns.waiting == 2
    assert turns.end(first) == [second]
    assert turns.end(second) == [third]
    assert turns.end(third) == []
    assert turns.waiting == 0
    assert turns.begin(first)


def test_other_arguments_and_other_sensors_do_not_wait(turns: Turns) -> None:
    """What is the same is the sensor with its arguments."""
    assert turns.begin(job(1, "load", "load x"))
    assert turns.begin(job(2, "load", "load y"))
    assert turns.begin(job(3, "disk", "disk x"))


def test_runs_that_may_overlap_do(turns: Turns) -> None:
    """Their claim names no check."""
    assert turns.begin(job(1, "load"))
    assert turns.begin(job(2, "load"))


def test_no_more_begin_than_there_are_workers(turns: Turns) -> None:
    """Of different sensors; the oldest begins in the place of one that ends."""
    jobs = [job(number, f"s{number}") for number in range(6)]

    assert [turns.begin(one) for one in jobs] == [True] * 4 + [False] * 2
    assert turns.end(jobs[2]) == [jobs[4]]
    assert turns.end(jobs[0]) == [jobs[5]]
    assert turns.end(jobs[5]) == []


def test_a_sensor_may_have_all_the_workers_but_others_need_not_wait_for_it(turns: Turns) -> None:
    """What it has beyond its share is only lent: another one gets as many more, and no further one does."""
    slow = [job(number, "slow") for number in range(6)]
    fast = [job(number, "fast", f"fast {number}") for number in range(10, 13)]

    assert [turns.begin(one) for one in slow] == [True] * 4 + [False] * 2
    assert [turns.begin(one) for one in fast] == [True, False, False]
    assert turns.end(fast[0]) == [fast[1]]
    assert turns.end(slow[0]) == []  # that one was lent; the fast one has its place
    assert turns.end(fast[1]) == [slow[4], fast[2]]  # the older one, and as that has a lent place, another one
    assert turns.waiting == 1


def test_a_check_that_must_wait_does_not_hold_up_those_behind_it() -> None:
    """The first of those that may begin does, not the first of all."""
    turns = Turns(2, claim_of)
    x, y, x_again, z = job(1, "load", "x"), job(2, "load", "y"), job(3, "load", "x"), job(4, "load", "z")
    assert turns.begin(x)
    assert turns.begin(y)
    assert not turns.begin(x_again)
    assert not turns.begin(z)

    assert turns.end(y) == [z]
    assert turns.end(x) == [x_again]


def test_what_a_job_wants_is_asked_once() -> None:
    """The settings may change while it runs; it gives back what it has taken."""
    answers = [Claim("load", "x"), Claim("load", "x"), Claim("load", "")]
    changing = Turns(4, lambda _job: answers.pop(0))
    first, second, third = job(1), job(2), job(3)

    assert changing.begin(first)
    assert not changing.begin(second)
    assert changing.begin(third)
    assert changing.end(third) == []
    assert changing.end(first) == [second]
    assert changing.end(second) == []
    assert answers == []


@pytest.mark.parametrize("seed", range(40))
def test_whatever_comes_the_rules_hold_and_nobody_waits_in_vain(seed: int) -> None:
    """Random jobs begin and end in random order: the oldest that may begin does, and all of them do in the end."""
    chance = random.Random(seed)
    workers = chance.randint(1, 9)
    turns = Turns(workers, claim_of)
    checks = [("a", ""), ("a", "a x"), ("a", "a y"), ("a", "a z"), ("b", ""), ("b", "b x"), ("b", "b y"), ("", "")]
    coming = [job(number, *chance.choice(checks)) for number in range(300)][::-1]
    waiting: list[Job] = []
    under_way: list[Job] = []
    done: list[Job] = []
    while coming or under_way:
        if coming and (not under_way or chance.random() < 0.6):
            waiting.append(coming.pop())
            began = [waiting[-1]] if turns.begin(waiting[-1]) else []
        else:
            done.append(under_way.pop(chance.randrange(len(under_way))))
            began = turns.end(done[-1])
        for one in began:
            assert one is next(other for other in waiting if may_begin(other, under_way, workers))
            waiting.remove(one)
            under_way.append(one)
        assert not any(may_begin(one, under_way, workers) for one in waiting)
        assert turns.waiting == len(waiting)
        assert len(under_way) <= turns.most

    assert sorted(one.id for one in done) == list(range(300))
    assert not turns._lines
    assert not turns._claims
    assert not turns._running
    assert not turns._checks
    assert not turns._lent


def may_begin(job: Job, under_way: list[Job], workers: int) -> bool:
    """The rules, as slow as they are plain."""
    claims = [claim_of(one) for one in under_way]
    claim = claim_of(job)
    if claim.check and claim in claims:
        return False
    share = max(1, workers * 3 // 4)
    running = Counter(one.sensor for one in claims)
    needed = sum(min(count, share) for count in running.values())
    modest = running[claim.sensor] < share
    return len(claims) < workers or (modest and needed < workers and len(claims) < 2 * workers - share)


# -- with workers -------------------------------------------------------------------------------------------------


class Work:
    """What the executor calls; it remembers what ran beside what."""

    def __init__(self) -> None:
        self.done: list[int] = []
        self.gates: dict[str, threading.Event] = {}
        self.running: Counter[tuple[str, str]] = Counter()
        self.most: Counter[tuple[str, str]] = Counter()
        self.most_of: Counter[str] = Counter()
        self._lock = threading.Lock()

    def perform(self, job: Job) -> Outcome:
        sensor, check = job.command.arguments
        with self._lock:
            self.running[sensor, check] += 1
            self.most[sensor, check] = max(self.most[sensor, check], self.running[sensor, check])
            of_it = sum(count for (name, _), count in self.running.items() if name == sensor)
            self.most_of[sensor] = max(self.most_of[sensor], of_it)
        gate = self.gates.get(sensor)
        if gate:
            assert gate.wait(30)
        else:
            time.sleep(0.002)
        with self._lock:
            self.running[sensor, check] -= 1
        if check.endswith("fails"):
            raise RuntimeError("a bug")
        return {}

    def executor(self, workers: int) -> Executor:
        """An executor whose work this is."""
        return Executor(
            workers,
            self.perform,
            lambda _job, message: {"message": message},
            lambda job, _outcome, _finished: self.done.append(job.id),
            lambda _method: False,
            claim_of,
        )


@pytest.fixture
def work() -> Work:
    """Work that ends by itself."""
    return Work()


def test_workers_keep_to_the_turns_and_do_everything(work: Work) -> None:
    """Four hundred checks of two sensors by eight workers, some of which end in a bug."""
    executor = work.executor(8)
    executor.start()
    chance = random.Random(1)
    for number in range(400):
        executor.put(
            job(number, chance.choice(["load", "disk"]), chance.choice(["x", "y", "fails", "z", "u", "v", "w"]))
        )
    wait_until(lambda: len(work.done) == 400, "everything is done")

    assert sorted(work.done) == list(range(400))
    assert max(work.most.values()) == 1
    assert max(work.most_of.values()) <= 8
    assert (executor.waiting, executor.running) == (0, 0)
    assert executor.stop(20)


def _stuck(work: Work, workers: int) -> tuple[Executor, Callable[[], object]]:
    """An executor with a hundred checks of a sensor that does not end, and what lets it go."""
    gate = work.gates["stuck"] = threading.Event()
    executor = work.executor(workers)
    executor.start()
    for number in range(100):
        executor.put(job(number, "stuck"))
    return executor, gate.set


@pytest.mark.parametrize("workers", [2, 3, 4, 8])
def test_a_sensor_that_does_not_end_leaves_workers_to_the_others(work: Work, workers: int) -> None:
    """Those that wait for it wait in nobody's hands, and count as waiting."""
    executor, let_go = _stuck(work, workers)
    wait_until(lambda: executor.running == workers and executor.waiting == 100 - workers, "they are where they belong")
    for number in range(1000, 1020):
        executor.put(job(number, "fast", "x"))
    wait_until(lambda: work.done == list(range(1000, 1020)), "the fast ones are done")

    assert executor.running == workers
    let_go()
    wait_until(lambda: len(work.done) == 120, "all are done")
    assert work.most_of["stuck"] == workers
    assert executor.stop(20)


def test_a_single_worker_works_too(work: Work) -> None:
    """There is nothing to leave to others."""
    executor = work.executor(1)
    executor.start()
    for number in range(20):
        executor.put(job(number, "load", "x"))
    wait_until(lambda: len(work.done) == 20, "all are done")

    assert work.done == list(range(20))
    assert executor.stop(20)


def test_what_waits_for_its_turn_is_not_begun_any_more_when_the_agent_stops(work: Work) -> None:
    """It stays in the journal, as what no worker has taken."""
    executor, let_go = _stuck(work, 4)
    wait_until(lambda: executor.running == 4, "four run")
    threading.Timer(0.2, let_go).start()

    assert executor.stop(20)
    assert len(work.done) == 4
