"""The promise: at every moment a sensor is one whole version, and every outcome of an update tells the truth."""

from __future__ import annotations

import json
import random
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import xmlrpc.client
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.support.agent import AgentProcess, digest_of, pack_sensor, unpack_sensor
from tests.support.monitor import Handed, Monitor

KILLS = 55  # in each of four tests: 220 in all
KEPT = 3
RECORD = ".record"  # of monagent/sensors/swap.py; the kills are aimed by it
FAILURES = (OSError, xmlrpc.client.ProtocolError)

TALE = """#!/bin/sh
# Version {0} tells so only when both of its files, read one after the other, are of the same version.
here=$(dirname "$0")
[ "$1" = options ] && {{ echo "tells its version"; exit 0; }}
first=$(cat "$here/first")
sleep {1}
second=$(cat "$here/lib/second")
[ "$first $second" = "{0} {0}" ] && echo {0}
"""


def _tale(version: int, pause: float, **more: str | bytes) -> dict[str, str | bytes]:
    files: dict[str, str | bytes] = {"check": TALE.format(version, pause)}
    return files | {"first": f"{version}\n", "lib/second": f"{version}\n"} | more


NOISE = random.Random(1).randbytes(1_500_000)
VERSIONS: dict[int, dict[str, str | bytes]] = {
    1: {"check": "#!/bin/sh\necho 1\n"},
    2: _tale(2, 0.05),
    3: _tale(3, 0.02, noise=NOISE),
    4: _tale(4, 0.1, **{f"lib/deep/{number % 7}/{number}": f"{number}\n" * 50 for number in range(150)}),
}
PACKAGES = {version: pack_sensor("tale", files) for version, files in VERSIONS.items()}


def _digests(directory: Path) -> dict[str, int]:
    """The known versions by their digests."""
    for version, files in VERSIONS.items():
        unpack_sensor(directory / str(version), files)
    return {digest_of(directory / str(version)): version for version in VERSIONS}


class Operator:
    """Sends commands for as long as it may, each until it is acknowledged, whatever happens to the agent meanwhile."""

    def __init__(self, agent: AgentProcess, monitor: Monitor, seed: int) -> None:
        self.acknowledged: list[str] = []
        self._agent = agent
        self._monitor = monitor
        self._chance = random.Random(seed)
        self._finished = threading.Event()
        self._threads = [
            threading.Thread(target=self._change, args=("a",)),
            threading.Thread(target=self._change, args=("b",)),
            threading.Thread(target=self._check, args=("c",)),
            threading.Thread(target=self._check, args=("d",)),
        ]

    def start(self) -> None:
        """Begin."""
        for thread in self._threads:
            thread.start()

    def finish(self) -> None:
        """Send nothing new; what is under way may still be acknowledged, if there is an agent."""
        self._finished.set()
        for thread in self._threads:
            thread.join(60)

    def _change(self, name: str) -> None:
        number = 0
        while not self._finished.is_set():
            number += 1
            ticket = f"{name}{number}"
            if self._chance.random() < 0.3:
                self._send(ticket, lambda proxy, ticket=ticket: proxy.cmd_restore_sensor_code(ticket, "tale"))
            else:
                self._monitor.packages["tale"] = PACKAGES[self._chance.choice(list(PACKAGES))]
                self._send(ticket, lambda proxy, ticket=ticket: proxy.cmd_update_sensor_code(ticket, "tale"))
            self._wait_for(ticket)

    def _check(self, name: str) -> None:
        number = 0
        while not self._finished.is_set():
            number += 1
            ticket = f"{name}{number}"
            self._send(ticket, lambda proxy, ticket=ticket: proxy.cmd_submit_reading(ticket, "tale"))
            if number % 4 == 0:
                self._wait_for(ticket)

    def _send(self, ticket: str, send: Callable[[xmlrpc.client.ServerProxy], Any]) -> None:
        while not self._finished.is_set():
            try:
                assert send(self._agent.proxy()) == "OK"
            except FAILURES:
                time.sleep(0.01)
            else:
                self.acknowledged.append(ticket)
                return

    def _wait_for(self, ticket: str) -> None:
        while not self._finished.is_set() and ticket not in self._monitor.tickets()[-50:]:
            time.sleep(0.005)


def _wait_for_a_moment(sensor: Path, chance: random.Random) -> None:
    """Any moment; most often one at which the sensor is just being changed."""
    if chance.random() < 0.4:
        time.sleep(chance.uniform(0.0, 0.6))
        return
    workshop = sensor.parent / ".update-tale"
    inode = sensor.stat().st_ino
    steps: list[Callable[[], object]] = [
        (workshop / "tale" / "check").exists,  # it is being written
        (workshop / RECORD).exists,  # it is about to be exchanged
        lambda: sensor.stat().st_ino != inode,  # it was exchanged
    ]
    has_come = chance.choice(steps)
    until = time.monotonic() + 1.0
    while not has_come() and time.monotonic() < until:
        time.sleep(0.0001)
    time.sleep(chance.choice((0.0, chance.uniform(0.0, 0.01), chance.uniform(0.0, 0.2))))


def _phase(sensor: Path) -> str:
    """How far the update had come that a kill has cut off."""
    workshop = sensor.parent / ".update-tale"
    if not workshop.exists():
        return "none"
    if not (workshop / RECORD).exists():
        return "before its record, or cleared"
    record = json.loads((workshop / RECORD).read_text())
    return "after the exchange" if record["inode"] == sensor.stat().st_ino else "before the exchange"


def _hidden(directory: Path) -> list[str]:
    return [path.name for path in directory.iterdir() if path.name.startswith(".")]


def _balance(outcomes: list[dict[str, Any]], initial: str, final: str) -> dict[str, int]:
    """How often each version came and went beyond what its place at the beginning and at the end explains: nothing."""
    balance = {initial: 1}
    balance[final] = balance.get(final, 0) - 1
    for outcome in outcomes:
        for digest, step in ((outcome["digest"], 1), (outcome["replaced"]["digest"], -1)):
            balance[digest] = balance.get(digest, 0) + step
    return {digest: left for digest, left in balance.items() if left}


@contextmanager
def _backups(directory: Path, *, elsewhere: bool) -> Iterator[Path]:
    """Where backups go: beside the sensors, or on another file system."""
    if not elsewhere:
        yield directory / "agent" / "sensors_backup"
        return
    other = Path(tempfile.mkdtemp(dir="/dev/shm"))
    try:
        assert other.stat().st_dev != directory.stat().st_dev
        yield other / "sensors_backup"
    finally:
        shutil.rmtree(other)


@pytest.mark.parametrize("seed", range(4))
def test_a_sensor_is_always_one_whole_version_whenever_its_update_is_killed(
    tmp_path: Path, monitor: Monitor, seed: int
) -> None:
    """Kill -9 at any step of updates and restores: nothing half, nothing lost, nothing done twice, no false outcome."""
    chance = random.Random(seed)
    known = _digests(tmp_path / "known")
    with _backups(tmp_path, elsewhere=seed == 3) as backups:
        agent = AgentProcess(tmp_path / "agent", monitor.url, f"[sensor]\nkeep_backups = {KEPT}\nbackup = {backups}")
        sensor = agent.directory / "sensors" / "tale"
        unpack_sensor(sensor, VERSIONS[1])
        initial = digest_of(sensor)
        operator = Operator(agent, monitor, seed)
        operator.start()
        seen, phases = [], Counter[str]()
        try:
            for _ in range(KILLS):
                agent.launch()
                if chance.random() < 0.9:
                    agent.wait_until_up()
                _wait_for_a_moment(sensor, chance)
                agent.kill()
                seen.append(known.get(digest_of(sensor)))
                phases[_phase(sensor)] += 1
        finally:
            operator.finish()
        agent.start()
        try:
            _wait_for_all(agent, monitor, operator.acknowledged)
            results = monitor.results()
        finally:
            agent.kill()
        changes = [one.content[1] for ticket, one in results.items() if str(ticket)[0] in "ab"]
        done = [outcome for outcome in changes if outcome["status"] == "ok"]
        readings = [one.content for ticket, one in results.items() if str(ticket)[0] in "cd"]

        assert None not in seen, seen
        assert _hidden(sensor.parent) == []
        _check_backups(backups, known, done)
        _check_outcomes(changes, known)
        assert _balance(done, initial, digest_of(sensor)) == {}
        assert [reading for reading in readings if reading[0] != 0 or int(reading[1]) not in VERSIONS] == []
        # The kills came at every step, and work went on between them.
        assert {"before the exchange", "after the exchange"} <= set(phases)
        assert len(done) > KILLS // 4
        assert len(set(seen)) > 1
        assert len(readings) > KILLS


def _wait_for_all(agent: AgentProcess, monitor: Monitor, acknowledged: list[str]) -> None:
    until = time.monotonic() + 60
    while missing := set(acknowledged) - set(monitor.tickets()):
        assert time.monotonic() < until, f"no result for {sorted(missing)}"
        time.sleep(0.05)
    # What was accepted and never acknowledged has its result, too.
    while (left := agent.command("spool", "list", "--json").stdout.strip()) != "[]":
        assert time.monotonic() < until, left
        time.sleep(0.1)


def _check_backups(backups: Path, known: dict[str, int], done: list[dict[str, Any]]) -> None:
    names = [path.name for path in backups.iterdir()]
    assert 0 < len(names) <= KEPT
    assert [name for name in names if not re.fullmatch(r"tale_\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d", name)] == []
    told = {outcome["replaced"]["backup"]: outcome["replaced"]["digest"] for outcome in done}
    assert len(told) == len(done), "two updates have one backup"
    for name in names:
        assert digest_of(backups / name) in known
        assert told[name] == digest_of(backups / name)


def _check_outcomes(changes: list[dict[str, Any]], known: dict[str, int]) -> None:
    for outcome in changes:
        assert outcome["digest"] in known, outcome
        if outcome["status"] == "ok":
            assert outcome["replaced"]["digest"] in known, outcome
        else:
            assert "there is no backup" in outcome["message"], outcome
            assert outcome["replaced"] == {}


def test_a_ticket_is_updated_once_although_the_agent_is_killed_right_after_the_exchange(
    tmp_path: Path, monitor: Monitor
) -> None:
    """The exchange has happened, nothing else has: the next start finishes it, tells, and does not do it again."""
    known = _digests(tmp_path / "known")
    agent = AgentProcess(tmp_path / "agent", monitor.url)
    sensor = agent.directory / "sensors" / "tale"
    unpack_sensor(sensor, VERSIONS[1])
    caught = 0
    for number in range(40):
        before = known[digest_of(sensor)]
        monitor.packages["tale"] = PACKAGES[2 if before != 2 else 1]
        asked = monitor.called.count("cmd_get_sensor_code")
        agent.start()
        inode = sensor.stat().st_ino
        agent.proxy().cmd_update_sensor_code(number, "tale")
        until = time.monotonic() + 10
        while sensor.stat().st_ino == inode and time.monotonic() < until:
            pass
        agent.kill()
        record = agent.directory / "sensors" / ".update-tale" / RECORD
        cut_off = record.exists() and json.loads(record.read_text())["name"] == "tale"
        caught += cut_off
        after = known[digest_of(sensor)]
        agent.start()
        outcome = monitor.wait_for_ticket(number).content[1]
        agent.kill()

        assert after == (2 if before != 2 else 1)
        assert (outcome["status"], known[outcome["digest"]]) == ("ok", after)
        assert known[outcome["replaced"]["digest"]] == before
        assert known[digest_of(sensor)] == after
        assert monitor.called.count("cmd_get_sensor_code") == asked + 1, "it was fetched, and so done, twice"
        if caught >= 5:
            break
    assert caught >= 5


def test_a_run_reads_the_files_of_its_own_version_while_updates_come_without_a_break(
    tmp_path: Path, monitor: Monitor
) -> None:
    """Eight checks at a time and one update after the other: every reading is of one version, and both kinds go on."""
    agent = AgentProcess(tmp_path / "agent", monitor.url, "[sensor:tale]\noverlap = yes")
    unpack_sensor(agent.directory / "sensors" / "tale", VERSIONS[2])
    agent.start()
    proxy = agent.proxy()
    try:
        for number in range(25):
            monitor.packages["tale"] = PACKAGES[2 + number % 3]
            proxy.cmd_update_sensor_code(f"update{number}", "tale")
            batch = xmlrpc.client.MultiCall(proxy)
            for check in range(16):
                batch.cmd_submit_reading(f"check{number}-{check}", "tale")
            assert batch().results == [["OK"]] * 16
            monitor.wait_for_ticket(f"update{number}")
        handed = monitor.wait_for(25 * 17)
    finally:
        agent.kill()
    readings = {str(one.ticket): one.content for one in handed if one.method == "cmd_store_probe_data"}

    assert all(one.content[1]["status"] == "ok" for one in handed if one.method == "cmd_store_command_result")
    assert [content for content in readings.values() if content[:2] not in ([0, "2"], [0, "3"], [0, "4"])] == []
    assert {content[1] for content in readings.values()} == {"2", "3", "4"}


@pytest.mark.parametrize("seed", [5])
def test_a_package_installed_by_hand_and_updates_from_the_server_take_turns(
    tmp_path: Path, monitor: Monitor, seed: int
) -> None:
    """`monagent sensor install`, killed at random, beside an agent that updates the same sensor: always one version."""
    chance = random.Random(seed)
    known = _digests(tmp_path / "known")
    agent = AgentProcess(tmp_path / "agent", monitor.url, "[sensor]\nkeep_backups = 2")
    sensor = agent.directory / "sensors" / "tale"
    unpack_sensor(sensor, VERSIONS[1])
    files = {version: tmp_path / f"{version}.tar.bz2" for version in PACKAGES}
    for version, file in files.items():
        file.write_bytes(PACKAGES[version])
    agent.start()
    proxy = agent.proxy()
    seen: list[int | None] = []
    handed: dict[int | str, Handed] = {}
    try:
        for number in range(12):
            version = chance.choice(list(files))
            hand = subprocess.Popen(
                [sys.executable, "-m", "monagent", "sensor", "install", "-c", str(agent.config), str(files[version])],
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            for step in range(3):
                monitor.packages["tale"] = PACKAGES[chance.choice(list(PACKAGES))]
                proxy.cmd_update_sensor_code(f"{number}-{step}", "tale")
                proxy.cmd_submit_reading(f"check {number}-{step}", "tale")
            time.sleep(chance.uniform(0.1, 0.5))
            hand.kill()
            hand.wait(10)
            for step in range(3):
                for ticket in (f"{number}-{step}", f"check {number}-{step}"):
                    handed[ticket] = monitor.wait_for_ticket(ticket)
            seen.append(known.get(digest_of(sensor)))  # nobody changes it now
        proxy.cmd_update_sensor_code("last", "tale")  # it finishes what the last one left
        assert monitor.wait_for_ticket("last").content[1]["status"] == "ok"
    finally:
        agent.kill()

    assert None not in seen
    assert {one.content[1]["status"] for ticket, one in handed.items() if not str(ticket).startswith("check")} == {"ok"}
    assert all(one.content[0] == 0 for ticket, one in handed.items() if str(ticket).startswith("check"))
    assert _hidden(sensor.parent) == []
    assert [path.name for path in (agent.directory / "sensors_backup").iterdir() if digest_of(path) not in known] == []
