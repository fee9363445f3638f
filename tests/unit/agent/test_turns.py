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
    """A job that wants this sensor and this check; without a sensor it is in nobody's way."""
    return Job(number, Command(f"t{number}", "cmd_submit_reading", [sensor, check]))


def claim_of(job: Job) -> Claim | None:
    """What such a job wants."""
    sensor, check = job.command.arguments
    return Claim(sensor, check) if sensor else None


@pytest.fixture
def turns() -> Turns:
    """Two runs of one sensor at once."""
    return Turns(2, claim_of)


def test_a_job_in_nobodys_way_begins_at_once(turns: Turns) -> None:
    """However many there are, and its end gives the turn to nobody."""
    jobs = [job(number) for number in range(10)]

    assert all(turns.begin(one) for one in jobs)
    assert [turns.end(one) for one in jobs] == [None] * 10
    assert turns.waiting == 0


def test_the_same_check_waits_and_begins_when_the_first_has_ended(turns: Turns) -> None:
    """In the order of arrival, one after the other."""
    first, second, third = (job(number, "load", "load x") for number in range(3))

    assert turns.begin(first)
    assert not turns.begin(second)
    assert not turns.begin(third)
    assert turns.waiting == 2
    assert turns.end(first) is second
    assert turns.end(second) is third
    assert turns.end(third) is None
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


def test_one_sensor_gets_no_more_turns_than_the_cap(turns: Turns) -> None:
    """Also where runs may overlap; others are not touched by that."""
    first, second, third = (job(number, "slow") for number in range(3))

    assert turns.begin(first)
    assert turns.begin(second)
    assert not turns.begin(third)
    assert turns.begin(job(9, "fast"))
    assert turns.end(second) is third


def test_a_check_that_must_wait_does_not_hold_up_those_behind_it(turns: Turns) -> None:
    """The first of those that may begin does, not the first of all."""
    x, y, x_again, z = job(1, "load", "x"), job(2, "load", "y"), job(3, "load", "x"), job(4, "load", "z")
    assert turns.begin(x)
    assert turns.begin(y)
    assert not turns.begin(x_again)
    assert not turns.begin(z)

    assert turns.end(y) is z
    assert turns.end(x) is x_again


def test_what_a_job_wants_is_asked_once(turns: Turns) -> None:
    """The settings may change while it runs; it gives back what it has taken."""
    answers = [Claim("load", "x"), Claim("load", "")]
    changing = Turns(1, lambda _job: answers.pop(0))
    first, second = job(1), job(2)

    assert changing.begin(first)
    assert not changing.begin(second)
    assert changing.end(first) is second
    assert changing.end(second) is None
    assert answers == []


def test_a_job_that_never_began_may_end(turns: Turns) -> None:
    """Nothing is taken from anybody."""
    assert turns.begin(job(1, "load", "x"))

    assert turns.end(job(2, "load", "x")) is None
    assert not turns.begin(job(3, "load", "x"))


@pytest.mark.parametrize("seed", range(20))
def test_whatever_comes_the_rules_hold_and_everybody_gets_a_turn(seed: int) -> None:
    """Random jobs begin and end in random order: never two of one check, never more than the cap, none forgotten."""
    chance = random.Random(seed)
    cap = chance.randint(1, 4)
    turns = Turns(cap, claim_of)
    checks = [("a", ""), ("a", "a x"), ("a", "a y"), ("a", "a z"), ("b", ""), ("b", "b x"), ("b", "b y"), ("", "")]
    coming = [job(number, *chance.choice(checks)) for number in range(200)]
    under_way: list[Job] = []
    done: list[Job] = []
    while coming or under_way:
        if coming and (not under_way or chance.random() < 0.6):
            arrived = coming.pop()
            began: Job | None = arrived if turns.begin(arrived) else None
        else:
            ended = under_way.pop(chance.randrange(len(under_way)))
            done.append(ended)
            began = turns.end(ended)
        if began:
            under_way.append(began)
        claims = [claim_of(one) for one in under_way]
        assert max(Counter(claim.sensor for claim in claims if claim).values(), default=0) <= cap
        assert max(Counter(claim for claim in claims if claim and claim.check).values(), default=0) <= 1
        assert turns.waiting == 200 - len(coming) - len(under_way) - len(done)

    assert sorted(one.id for one in done) == list(range(200))
    assert turns.waiting == 0
    assert not turns._kept
    assert not turns._claims
    assert not turns._running
    assert not turns._checks


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
    assert max(work.most_of.values()) <= 6  # three quarters of the workers
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


@pytest.mark.parametrize(("workers", "cap"), [(2, 1), (3, 2), (4, 3), (8, 6)])
def test_a_sensor_that_does_not_end_leaves_workers_to_the_others(work: Work, workers: int, cap: int) -> None:
    """Those that wait for it wait in nobody's hands, and count as waiting."""
    executor, let_go = _stuck(work, workers)
    wait_until(
        lambda: executor.running == cap and executor.waiting == 100 - cap, "the stuck ones are where they belong"
    )
    executor.put(job(1000, "fast", "x"))
    wait_until(lambda: work.done == [1000], "the fast one is done")

    assert executor.running == cap
    let_go()
    wait_until(lambda: len(work.done) == 101, "all are done")
    assert work.most_of["stuck"] == cap
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
    wait_until(lambda: executor.running == 3, "three run")
    threading.Timer(0.2, let_go).start()

    assert executor.stop(20)
    assert len(work.done) == 3
