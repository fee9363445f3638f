"""Every way a sensor can misbehave, through a real agent: what the reading tells, and that nothing of it stays."""

from __future__ import annotations

import contextlib
import gc
import itertools
import os
import pwd
import shutil
import signal
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from monagent.sensors.spawner import WORKERS
from tests.integration.zoo import BOMB, OUTPUT_LIMIT, TIMEOUT, ZOO, alive, children, marked, spawners, write_animals
from tests.support.agent import AgentProcess, write_sensor
from tests.support.monitor import Handed, Monitor
from tests.support.processes import is_running

SOON = 1.0
"""Seconds in which other checks are served, whatever an animal does."""
GONE = 5.0
SETTLED = 0.3
"""Seconds in which all that belongs to something that ended is gone; most often it takes a few hundredths."""
MEMORY = 16 * 1024 * 1024
AT_ONCE = 3

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
users = pytest.mark.parametrize("user", ["", pytest.param("nobody", marks=needs_root)], ids=["itself", "nobody"])

_numbers = itertools.count(1)


class House:
    """An agent with animals in its sensors' directory, and the server that it hands in to."""

    def __init__(self, directory: Path, monitor: Monitor, name: str, settings: str = "", sections: str = "") -> None:
        """
        Args:
            directory: that others may enter, too.
            monitor: running.
            name: of the house, unlike any other's.
            settings: more lines for `[agent]`.
            sections: more sections, and lines for `[sensor]` before them.
        """
        self.monitor = monitor
        self.mark = f"zoo-{name}-{os.getpid()}-{next(_numbers)}"
        self.agent = AgentProcess(
            directory / name,
            monitor.url,
            f"{settings}\n[sensor]\ntimeout = {TIMEOUT}\noutput_limit = {OUTPUT_LIMIT}\n{sections}",
        )
        write_sensor(self.agent.directory, "echo", '#!/bin/sh\necho "$1"\n')

    def add(self, *animals: str) -> None:
        """Put animals in, before it starts."""
        sections = write_animals(self.agent.directory, self.mark, animals)
        with self.agent.config.open("a") as config:
            config.write(sections)

    def write(self, name: str, script: str, options: str = "") -> None:
        """Put in a sensor that is no animal of the zoo, before it starts; MARK in it becomes the mark."""
        write_sensor(self.agent.directory, name, marked(script, self.mark))
        with self.agent.config.open("a") as config:
            config.write(f"[sensor:{name}]\n{options}\n")

    def submit(self, sensor: str) -> str:
        """Have a check done that nothing else is equal to; returns its ticket."""
        number = next(_numbers)
        assert self.agent.proxy().cmd_submit_reading(f"t{number}", sensor, [number]) == "OK"
        return f"t{number}"

    def reading(self, ticket: str, seconds: float = 30.0) -> tuple[int, str, dict[str, Any]]:
        """Wait for its code, its data and the rest."""
        handed: Handed = self.monitor.wait_for_ticket(ticket, seconds)
        code, data, details = handed.content
        return code, data, details

    def run(self, sensor: str, seconds: float = 30.0) -> tuple[int, str, dict[str, Any]]:
        """Have a check done, and wait for it."""
        return self.reading(self.submit(sensor), seconds)

    def is_done(self, ticket: str) -> bool:
        """Whether its reading has arrived."""
        return ticket in self.monitor.tickets()

    def settled_possessions(self) -> dict[int, tuple[int, int]]:
        """The same, once what former tests let go of is closed: their connections end when they are collected."""
        gc.collect()
        last, since = self.possessions(), time.monotonic()
        until = since + GONE
        while time.monotonic() - since < SETTLED:
            assert time.monotonic() < until, "it never settles"
            time.sleep(0.02)
            now = self.possessions()
            last, since = now, since if now == last else time.monotonic()
        return last

    def possessions(self) -> dict[int, tuple[int, int]]:
        """How many descriptors and threads the agent and each process beside it have."""
        programs = spawners(self.agent.pid)
        everybody = [self.agent.pid, *programs, *(worker for one in programs for worker in children(one))]
        return {pid: (_count(pid, "fd"), _count(pid, "task")) for pid in everybody}


def _count(pid: int, of: str) -> int:
    return len(os.listdir(f"/proc/{pid}/{of}"))


def memory(pid: int) -> int:
    """The bytes that a process has in memory."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmRSS:"))


def wait_until(is_so: Callable[[], object], what: str, seconds: float = GONE) -> None:
    """Wait until a condition holds, and fail saying what did not come."""
    until = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < until, f"not within {seconds} s: {what}"
        time.sleep(0.02)


def expect_nothing_of(house: House, seconds: float = GONE) -> None:
    """All that carries the mark of a house is gone soon."""
    until = time.monotonic() + seconds
    while left := alive(house.mark):
        assert time.monotonic() < until, f"still there after {seconds} s: {left}"
        time.sleep(0.02)


@contextlib.contextmanager
def opened_directory() -> Iterator[Path]:
    """A directory that every user may enter, unlike those of pytest."""
    path = Path(tempfile.mkdtemp(prefix="monagent-zoo-"))
    path.chmod(0o755)
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


@pytest.fixture
def directory() -> Iterator[Path]:
    """One for a test of its own."""
    with opened_directory() as path:
        yield path


@pytest.fixture
def build(directory: Path, monitor: Monitor) -> Iterator[Callable[..., House]]:
    """Builds houses, whose agents are killed at the end."""
    built: list[House] = []

    def make(settings: str = "", sections: str = "") -> House:
        house = House(directory, monitor, f"house{len(built)}", settings, sections)
        built.append(house)
        return house

    yield make
    for house in built:
        house.agent.kill()
    for house in built:
        expect_nothing_of(house)


@pytest.fixture(scope="module")
def houses() -> Iterator[Callable[[str], House]]:
    """One house for each user, with all the animals, that goes on from test to test."""
    built: dict[str, House] = {}
    monitor = Monitor(extended=True)
    monitor.start()
    with opened_directory() as directory:

        def of(user: str) -> House:
            if user not in built:
                house = built[user] = House(directory, monitor, user or "itself", sections=f"user = {user}\n")
                house.add(*ZOO, *(["bomb"] if user else []))
                house.agent.start()
                for _ in range(20):  # what is made once, and stays, is there after this
                    house.run("echo")
            return built[user]

        yield of
        for house in built.values():
            house.agent.kill()
        monitor.stop()


@users
@pytest.mark.parametrize("name", ZOO)
def test_an_animal_is_told_disturbs_nobody_and_leaves_nothing(
    houses: Callable[[str], House], user: str, name: str
) -> None:
    """Its reading says what happened, other checks go on, and afterwards all is as it was before."""
    house, animal = houses(user), ZOO[name]
    before, before_memory = house.settled_possessions(), memory(house.agent.pid)
    tickets = [house.submit(name) for _ in range(AT_ONCE)]
    times = []
    while not times or not all(map(house.is_done, tickets)):
        started = time.monotonic()
        assert house.run("echo")[2]["error"] == ""
        times.append(time.monotonic() - started)

    for ticket in tickets:
        code, data, details = house.reading(ticket)
        assert (code, data, details["error"]) == (animal.code, animal.data, animal.error), details
        assert animal.said in details["stderr"]
    assert statistics.median(times) < SOON
    expect_nothing_of(house)
    wait_until(lambda: house.possessions() == before, f"{house.possessions()} is {before} again")
    assert memory(house.agent.pid) - before_memory < MEMORY


@needs_root
def test_a_fork_bomb_stays_within_its_limit_disturbs_nobody_and_leaves_nothing(houses: Callable[[str], House]) -> None:
    """Never more processes than its section allows, and none of them stays."""
    house = houses("nobody")
    before = house.settled_possessions()
    ticket = house.submit("bomb")
    time.sleep(0.3)
    peak, times = 0, []
    while not house.is_done(ticket):
        peak = max(peak, len(alive(house.mark)))
        started = time.monotonic()
        assert house.run("echo")[2]["error"] == ""
        times.append(time.monotonic() - started)

    code, data, details = house.reading(ticket)
    assert (code, data, details["error"]) == (BOMB.code, BOMB.data, BOMB.error)
    assert peak <= 64
    assert statistics.median(times) < SOON
    expect_nothing_of(house)
    wait_until(lambda: house.possessions() == before, f"{house.possessions()} is {before} again")


# -- the agent's own end ------------------------------------------------------------------------------------------

LASTING = ["hang", "deaf", "still", "brood", "mute"]
PROCESSES = 17
"""Of these, and of one more that hides what it has started."""


def _start_lasting(house: House, user: str) -> None:
    house.write("masks", "env -i sh -c 'kill -STOP $$; : MARK' & sleep 1000; :", "timeout = 60")
    house.add(*LASTING)
    house.agent.edit("timeout = 1.0", f"timeout = 60\nuser = {user}")
    house.agent.start()
    for name in ["masks", *LASTING]:
        house.submit(name)
    wait_until(lambda: len(alive(house.mark)) == PROCESSES, "all animals run", 20)


@users
def test_when_the_agent_is_killed_its_sensors_go_with_it(build: Callable[..., House], user: str) -> None:
    """Kill -9 leaves no time for a goodbye; all goes nevertheless, and so do the programs beside the agent."""
    house = build()
    _start_lasting(house, user)
    beside = children(house.agent.pid)
    house.agent.kill()

    expect_nothing_of(house)
    wait_until(lambda: not any(map(is_running, beside)), "the programs beside it have ended, too")


@users
def test_an_agent_that_is_told_to_stop_waits_only_so_long_for_its_sensors(
    build: Callable[..., House], user: str
) -> None:
    """A check that ends in time is handed in; the others are cut off, and begin again with the next start."""
    house = build(settings="workers = 12")
    house.write("slow", "sleep 2; echo 5", "timeout = 60")
    _start_lasting(house, user)
    beside = children(house.agent.pid)
    slow = house.submit("slow")
    time.sleep(0.5)
    started = time.monotonic()
    assert house.agent.stop() == 0
    assert time.monotonic() - started < 16

    assert house.reading(slow)[:2] == (0, "5")
    assert house.monitor.tickets() == [slow]
    expect_nothing_of(house)
    assert not any(map(is_running, beside))
    house.agent.start()
    wait_until(lambda: len(alive(house.mark)) == PROCESSES, "all animals run again", 20)


@users
def test_a_second_agent_on_the_same_host_loses_nothing_when_the_first_goes(
    build: Callable[..., House], user: str
) -> None:
    """Neither its sensors nor what these have started, whether the first one is killed or stopped."""
    first, second = build(sections=f"user = {user}\n"), build(sections=f"user = {user}\n")
    second.write("long", "setsid sleep 1000 & stray=$!\nsleep 4; kill -0 $stray && echo 1 || echo 0", "timeout = 60")
    for house in (first, second):
        house.add("brood")
        house.agent.start()
    tickets = [second.submit("long") for _ in range(2)]
    wait_until(lambda: len(alive(second.mark)) == 6, "the sensors run", 20)
    first.submit("brood")
    time.sleep(0.3)
    first.agent.kill()
    expect_nothing_of(first)
    first.agent.start()
    assert first.agent.stop() == 0

    assert [second.reading(ticket)[:2] for ticket in tickets] == [(0, "1"), (0, "1")]


# -- the program that runs sensors --------------------------------------------------------------------------------


@users
def test_sensors_go_on_when_the_program_that_runs_them_is_killed(build: Callable[..., House], user: str) -> None:
    """Those that were running are lost with all they had started, and say so; the next ones run."""
    house = build(sections=f"user = {user}\n")
    house.add("brood")
    house.agent.edit("timeout = 1.0", "timeout = 60")
    house.agent.start()
    house.run("echo")
    for _ in range(3):
        ticket = house.submit("brood")
        wait_until(lambda: len(alive(house.mark)) == 7, "the sensor runs", 20)
        (program,) = spawners(house.agent.pid)
        os.kill(program, signal.SIGKILL)

        code, data, details = house.reading(ticket)
        assert (code, data, details["error"]) == (-9, "nan", "signal")
        expect_nothing_of(house)
        assert house.run("echo")[2]["error"] == ""


@users
def test_one_of_its_processes_that_is_killed_is_replaced(build: Callable[..., House], user: str) -> None:
    """Also for an agent that could not start it again; what the others are running is not touched."""
    house = build(sections=f"user = {user}\n")
    told = house.agent.directory / "told"
    told.mkdir(mode=0o777)
    told.chmod(0o777)
    house.write("long", f"echo $PPID > {told}/$1; sleep 3; echo 1", "timeout = 60")
    house.agent.start()
    (program,) = spawners(house.agent.pid)
    wait_until(lambda: len(children(program)) == WORKERS, "all its processes are there")
    workers = children(program)
    tickets = [house.submit("long") for _ in range(6)]
    wait_until(lambda: len([path for path in told.iterdir() if path.read_text()]) == 6, "all run", 20)
    parents = {ticket: int((told / ticket.removeprefix("t")).read_text()) for ticket in tickets}
    victim = next(iter(parents.values()))
    os.kill(victim, signal.SIGKILL)

    assert set(parents.values()) <= set(workers)
    wait_until(lambda: len(children(program)) == WORKERS, "it is replaced")
    assert not set(children(program)) & {victim}
    assert house.run("echo")[2]["error"] == ""
    for ticket, parent in parents.items():
        assert house.reading(ticket)[:2] == ((-9, "nan") if parent == victim else (0, "1"))
    assert spawners(house.agent.pid) == [program]


# -- an agent that gives up root ----------------------------------------------------------------------------------


def _ids(pid: int, of: str) -> list[int]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next([int(word) for word in line.split()[1:]] for line in lines if line.startswith(f"{of}:"))


@needs_root
@pytest.mark.usefixtures("readable_python")
def test_an_agent_without_root_runs_sensors_of_any_user_and_ends_them(build: Callable[..., House]) -> None:
    """It gives up root for good once the programs beside it are there; they go on running sensors as root."""
    house = build(settings="user = nobody")
    brood = f"trap '' TERM; setsid sleep 1000 & (setsid sleep 1000 &)\n{ZOO['masked'].script}; exec sleep 1000"
    for name, user in (("itself", ""), ("root", "root"), ("daemon", "daemon")):
        house.write(f"id-{name}", "id -u", f"user = {user}")
        house.write(f"brood-{name}", brood, f"user = {user}")
        house.write(f"stay-{name}", brood, f"user = {user}\ntimeout = 60")
    house.agent.start()
    nobody = pwd.getpwnam("nobody")
    beside = children(house.agent.pid)

    assert _ids(house.agent.pid, "Uid") == [nobody.pw_uid] * 4
    assert _ids(house.agent.pid, "Gid") == [nobody.pw_gid] * 4
    assert set(_ids(house.agent.pid, "Groups")) <= {nobody.pw_gid}
    state = house.agent.directory / "var"
    assert {path.stat().st_uid for path in (state, *state.iterdir())} == {nobody.pw_uid}
    assert state.stat().st_mode & 0o777 == 0o700
    assert [house.run(f"id-{name}")[1] for name in ("itself", "root", "daemon")] == [
        str(nobody.pw_uid),
        "0",
        str(pwd.getpwnam("daemon").pw_uid),
    ]
    for ticket in [house.submit(f"brood-{name}") for name in ("itself", "root", "daemon")]:
        assert house.reading(ticket)[2]["error"] == "timeout"
    expect_nothing_of(house)
    for name in ("itself", "root", "daemon"):
        house.submit(f"stay-{name}")
    wait_until(lambda: len(alive(house.mark)) == 3 * 5, "all run", 20)
    assert house.agent.stop() == 0
    expect_nothing_of(house)
    assert not any(map(is_running, beside))


@needs_root
@pytest.mark.usefixtures("readable_python")
def test_when_an_agent_without_root_is_killed_sensors_of_all_users_go_with_it(build: Callable[..., House]) -> None:
    """What runs them was there before root was given up."""
    house = build(settings="user = nobody")
    house.agent.edit("timeout = 1.0", "timeout = 60")
    for user in ("", "root", "daemon"):
        house.write(f"brood-{user}", ZOO["brood"].script, f"user = {user}")
    house.agent.start()
    for user in ("", "root", "daemon"):
        house.submit(f"brood-{user}")
    wait_until(lambda: len(alive(house.mark)) == 3 * 7, "all run", 20)
    beside = children(house.agent.pid)
    house.agent.kill()

    expect_nothing_of(house)
    wait_until(lambda: not any(map(is_running, beside)), "the programs beside it have ended, too")


@needs_root
@pytest.mark.usefixtures("readable_python")
def test_a_killed_program_that_cannot_be_started_again_is_told_by_each_reading(build: Callable[..., House]) -> None:
    """Without root nobody else can be become any more; what runs as the agent itself goes on."""
    house = build(settings="user = nobody")
    house.write("other", "echo 1", "user = daemon")
    house.agent.start()
    assert house.run("other")[:2] == (0, "1")
    (program,) = (
        pid for pid in spawners(house.agent.pid) if os.stat(f"/proc/{pid}").st_uid == pwd.getpwnam("daemon").pw_uid
    )
    os.kill(program, signal.SIGKILL)
    wait_until(lambda: not is_running(program), "it is gone")
    time.sleep(0.5)

    code, _, details = house.run("other")
    assert (code, details["error"]) == (126, "not-executable")
    assert "running it as daemon needs root" in details["stderr"]
    assert house.run("echo")[0] == 0
    assert house.agent.stop() == 0


# -- turns --------------------------------------------------------------------------------------------------------


def test_the_same_check_never_runs_twice_at_once(build: Callable[..., House]) -> None:
    """The second waits for the first, in no worker's hands; with `overlap = yes`, and with other arguments, it does not."""
    house = build(settings="workers = 4")
    script = 'mkdir "$0.$1" || { echo 0; exit; }\nsleep 0.3; rmdir "$0.$1"; echo 1'
    house.write("one", script, "timeout = 20")
    house.write("both", script, "timeout = 20\noverlap = yes")
    house.agent.start()
    proxy = house.agent.proxy()
    for name in ("one", "both"):
        for number in range(3):
            assert proxy.cmd_submit_reading(f"{name}{number}", name, ["x"]) == "OK"
    for number in range(2):
        assert proxy.cmd_submit_reading(f"other{number}", "one", [f"y{number}"]) == "OK"

    assert [house.reading(f"one{number}")[1] for number in range(3)] == ["1", "1", "1"]
    assert [house.reading(f"other{number}")[1] for number in range(2)] == ["1", "1"]
    assert "0" in [house.reading(f"both{number}")[1] for number in range(3)]


def test_one_slow_sensor_never_has_all_the_workers(build: Callable[..., House]) -> None:
    """Sixty checks of it wait, and others are served at once."""
    house = build(settings="workers = 4")
    house.add("hang")
    house.agent.start()
    proxy = house.agent.proxy()
    for number in range(60):
        assert proxy.cmd_submit_reading(f"hang{number}", "hang", [number]) == "OK"
    times = []
    for _ in range(10):
        started = time.monotonic()
        house.run("echo")
        times.append(time.monotonic() - started)

    assert statistics.median(times) < SOON
    assert len(house.monitor.handed) < 60
