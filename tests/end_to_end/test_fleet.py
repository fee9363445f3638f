"""Two hundred hosts and their server: versions of a sensor go out, and the fleet goes to another server."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from monagent.cli.server_inventory import inventory
from monagent.cli.server_move import move
from monagent.cli.server_rollout import rollout
from monagent.cli.server_sensor_packages import push, upload
from monagent.config import server_settings
from monagent.server import moves
from monagent.server.moves import MoveJob
from monagent.server.moving import ASKED, BACK, MOVED, QUIET_SECONDS
from monagent.server.rollouts import orders, states
from monagent.server.rollouts.job import RolloutJob
from monagent.server.service import Server
from tests.support.agent import AgentProcess, pack_sensor, unpack_sensor
from tests.support.fleet import LightAgent, LightFleet
from tests.support.server import define

SIZE = 200
_HELP = 'test "$1" = options && echo help && exit 0'
OLD, GOOD = ({"check": f"#!/bin/sh\n{_HELP}\necho {number}\n"} for number in (1, 2))
BAD = {"check": f"#!/bin/sh\n{_HELP}\nexit 3\n"}


class Site:
    """A server, and how an operator uses it."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir()
        self.directory = directory
        self.config = directory / "server.cfg"
        self.config.write_text("[server]\nport = 0\n")
        self.server = Server(server_settings.load(self.config))
        self.server.start()
        # Those at the command line look for the server at the port that the file names.
        self.config.write_text(f"[server]\nport = {self.server.url.split(':')[2].split('/')[0]}\n")

    def command(self, command: Callable[..., object], *arguments: str, code: int | None = 0) -> str:
        """What a `monserver` command prints."""
        result = CliRunner().invoke(command, [*arguments, "-c", str(self.config)], catch_exceptions=False)  # type: ignore[arg-type]
        assert code in (None, result.exit_code), result.output
        return result.output

    def keep(self, files: dict[str, str]) -> None:
        """Upload a version."""
        file = self.directory / "disk.tar.bz2"
        file.write_bytes(pack_sensor("disk", files))
        self.command(upload, str(file))

    def define(self, fleet: LightFleet, *more: tuple[str, int], without: frozenset[str] = frozenset()) -> None:
        """All hosts, each with one probe, which comes once a year."""
        hosts = [(agent.name, agent.address, fleet.port) for agent in fleet.agents.values()]
        hosts += [(name, "127.0.0.1", port) for name, port in more]
        definitions = {
            ("host", name): {"address": address, "port": port} for name, address, port in hosts if name not in without
        }
        probe = {"sensor": "disk", "schedule": "yearly", "everywhere": True}
        rest = {("sensor", "disk"): {}, ("schedule", "yearly"): {"every": "365d"}, ("probe", "space"): probe}
        define(self.server.database, {**definitions, **rest})

    def wait(self, condition: Callable[[], bool], what: str, seconds: float = 60.0) -> None:
        """Until something is so."""
        until = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < until, what
            time.sleep(0.05)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """The server that the fleet begins with."""
    site = Site(tmp_path / "old")
    yield site
    site.server.stop()


@pytest.fixture
def fleet(site: Site) -> Iterator[LightFleet]:
    """All hosts but one, whose agent is a real one."""
    old, bad = pack_sensor("disk", OLD), pack_sensor("disk", BAD)
    agents = [LightAgent(f"web{number:03}", f"127.0.1.{number}", site.server.url, old) for number in range(1, SIZE)]
    fleet = LightFleet(agents, lambda content: content == bad)
    fleet.start()
    yield fleet
    fleet.stop()
    assert fleet.errors == []


@pytest.fixture
def first(site: Site, fleet: LightFleet, tmp_path: Path) -> Iterator[AgentProcess]:
    """A real agent: web000, the first of all."""
    agent = AgentProcess(tmp_path / "agent", site.server.url)
    agent.edit("timeout = 5", "timeout = 5\nname = web000\nprobation = 2")
    unpack_sensor(agent.directory / "sensors" / "disk", OLD)
    agent.start()
    site.define(fleet, ("web000", agent.port))
    yield agent
    agent.kill()


@pytest.fixture
def hurry(site: Site) -> Iterator[None]:
    """As if many servers shared the database: somebody looks at the roll-outs all the time, not once a second."""
    job, over = RolloutJob(site.server.database), threading.Event()

    def look() -> None:
        while not over.wait(0.05):
            job.run(time.time())

    thread = threading.Thread(target=look)
    thread.start()
    yield
    over.set()
    thread.join()


def installed(fleet: LightFleet, first: AgentProcess, files: dict[str, str]) -> int:
    """How many hosts have a version."""
    package = pack_sensor("disk", files)
    here = (first.directory / "sensors" / "disk" / "check").read_text() == files["check"]
    return sum(agent.installed == package for agent in fleet.agents.values()) + here


def test_a_bad_version_is_stopped_after_one_host_of_two_hundred_and_a_good_one_reaches_all(
    site: Site, fleet: LightFleet, first: AgentProcess, hurry: None
) -> None:
    """The bad one passes all tests of the agent; only the host's own check shows it, and the host gets the old one back."""
    site.keep(OLD)
    site.keep(BAD)
    told = site.command(rollout, "start", "disk", "--restore", "--watch", code=1)

    assert "stage 1: web000: its check space is bad with the new version" in told
    assert installed(fleet, first, OLD) == SIZE
    assert not any(agent.told for agent in fleet.agents.values())

    site.keep(GOOD)
    told = site.command(rollout, "start", "disk", "--watch")
    with site.server.database.read() as db:
        one, members = orders.shown(db, 2)

    assert installed(fleet, first, GOOD) == SIZE
    assert (one.state, one.stages) == (states.DONE, [1, 19, 180])
    assert {states.HEALTHY} == {member.state for member in members}
    assert Counter(cell for agent in fleet.agents.values() for cell in agent.told) == {
        "cmd_update_sensor_code": SIZE - 1,
        "cmd_submit_reading": SIZE - 1,
    }
    assert "web000  disk    ok     3" in site.command(inventory, "--refresh", "web000", "web001")
    assert "installed" in site.command(push, "disk", "web000", "web007", "--version", "1")
    assert installed(fleet, first, OLD) == 2
    assert site.command(inventory, "--all", "--wrong", code=1).count("other") == 2


def test_a_fleet_goes_to_another_server_and_the_twentieth_part_that_cannot_comes_back(
    site: Site, fleet: LightFleet, first: AgentProcess, tmp_path: Path
) -> None:
    """Some cannot reach it at all; from others, a real one among them, it takes nothing: the reasons are told."""
    fates = ["cut off"] * 5 + ["returns"] * 4
    for agent, fate in zip(fleet.agents.values(), fates, strict=False):
        agent.fate = fate
    back = {agent.name for agent in fleet.agents.values() if agent.fate != "moves"} | {"web000"}
    new = Site(tmp_path / "new")
    try:
        new.define(fleet, without=frozenset(back))
        site.command(move, "--all", "--to", new.server.url)

        def standing() -> Counter[str]:
            with site.server.database.read() as db:
                return Counter(one.state for one in moves.listing(db))

        site.wait(lambda: standing() == {ASKED: SIZE - 10, BACK: 10}, "all have gone or come back")
        MoveJob(site.server.database).run(time.time() + QUIET_SECONDS + 1)
        with site.server.database.read() as db:
            found = {one.host: one for one in moves.listing(db)}
        assert {name for name, one in found.items() if one.state == BACK} == back
        assert {MOVED, BACK} == {one.state for one in found.values()}
        assert "its healthcheck failed: no route to host" in str(found["web001"].reason)
        assert "took no result for 600 s" in str(found["web006"].reason)
        assert "took no result for 2 s" in str(found["web000"].reason)

        assert "installed" not in new.command(inventory, "--all", "--wrong")
        told = new.command(inventory, "--all", "--refresh", "--json")
        assert told.count('"disk"') == SIZE - 10
        told = site.command(inventory, *sorted(back), "--refresh", "--json")
        assert told.count('"reported": "2') == 10
    finally:
        new.server.stop()
