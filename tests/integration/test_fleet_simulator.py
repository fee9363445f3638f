"""The fleet of the benchmarks: fake agents that a server cannot tell from real ones."""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from benchmarks.fleet import site
from benchmarks.fleet.crowd import Member, Nature, Ports, crowd
from monagent.errors import Fault, Unavailable
from monagent.rpc.client import Client
from tests.support.monitor import Monitor
from tests.support.ports import free_port

ROOT = Path(__file__).parents[2]
Mark = Callable[[], dict[str, Any]]


def ports() -> Ports:
    """Three free ones side by side."""
    while (first := free_port()) + 1 != free_port() or first + 2 != free_port():
        pass
    return Ports(first)


@pytest.fixture(params=[True, False], ids=["extended", "original"])
def monitor(request: pytest.FixtureRequest) -> Iterator[Monitor]:
    """A server of either dialect."""
    monitor = Monitor(extended=request.param)
    monitor.start()
    yield monitor
    monitor.stop()


@contextmanager
def running(monitor: Monitor, where: Ports, *options: str) -> Iterator[Mark]:
    """A fleet of twenty; what it hands out tells what there was since the last time."""
    command = [sys.executable, "-m", "benchmarks.fleet", "--marks", "--agents", "20", "--server", monitor.url]
    command += ["--port", str(where.served), "--sensor-time", "0.02", *options]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin
        assert process.stdout
        assert process.stdout.readline() == "ready\n"

        def mark() -> dict[str, Any]:
            assert process.stdin
            assert process.stdout
            print(file=process.stdin, flush=True)
            return dict(json.loads(process.stdout.readline()))

        yield mark
        process.stdin.close()
        assert process.wait(10) == 0


def members(where: Ports, nature: Nature) -> list[Member]:
    """Those of one nature, in a fleet of twenty with 30 % dead and 10 % slow."""
    return [one for one in crowd(20, "127.1.0.1", where, 0.3, 0.1) if one.nature is nature]


def client(member: Member, timeout: float = 5.0) -> Client:
    """The way to an agent."""
    return Client(f"http://{member.address}:{member.port}/xmlrpc/", timeout=timeout)


def test_a_fleet_answers_commands_and_hands_in_their_results(monitor: Monitor) -> None:
    """Single commands and multicalls, each ticket once, in both dialects; what it counts is what there was."""
    where = ports()
    live = members(where, Nature.LIVE)
    with running(monitor, where, "--dead", "30%", "--slow", "10%") as mark:
        for number, member in enumerate(live):
            agent = client(member)
            assert agent.call("cmd_submit_reading", number, "load", ["1"]) == "OK"
            tickets = [f"{member.name}-{count}" for count in range(3)] + [f"{member.name}-0"]
            assert agent.multicall([("cmd_submit_reading", [one, "load"]) for one in tickets]) == ["OK"] * 4
            agent.close()
        handed = monitor.wait_for(4 * len(live))
        told = mark()

    assert {one.ticket for one in handed} == set(range(len(live))) | {f"{m.name}-{n}" for m in live for n in range(3)}
    assert len(handed) == 4 * len(live)
    assert told["commands"] == {"cmd_submit_reading": 4 * len(live)}
    assert (told["repeated"], told["rejected"], told["nonsense"]) == (len(live), 0, 0)
    assert told["refused"] == told["troubles"] == {}


def test_other_commands_are_answered_too(monitor: Monitor) -> None:
    """Status and sensors have outcomes, health an answer, what an agent does not have is a fault."""
    where = ports()
    with running(monitor, where) as mark:
        agent = client(members(where, Nature.LIVE)[0])
        assert agent.call("healthcheck") == "OK"
        assert agent.call("cmd_status", 7) == "OK"
        with pytest.raises(Fault, match="no such method"):
            agent.call("cmd_make_coffee", 8)
        with pytest.raises(Fault, match="ticket"):
            agent.call("cmd_list_sensors")
        assert agent.call("cmd_submit_reading", 9, "load") == "OK"
        agent.close()
        # A server of the original dialect has no method for outcomes.
        handed = monitor.wait_for(2) if monitor._extended else [monitor.wait_for_ticket(9)]
        told = mark()

    assert {one.ticket for one in handed} == ({7, 9} if monitor._extended else {9})
    assert told["commands"] == {"cmd_status": 1, "cmd_submit_reading": 1}
    assert told["refused"] == told["troubles"] == {}


def test_the_dead_do_not_answer_and_the_slow_do_late(monitor: Monitor) -> None:
    """One refuses the connection, one takes it and says nothing, one is not even there; a slow one takes its time."""
    where = ports()
    with running(monitor, where, "--dead", "30%", "--slow", "10%", "--slowness", "0.5"):
        for nature, reason in [
            (Nature.REFUSING, "connection refused"),
            (Nature.MUTE, "timed out"),
            (Nature.VOID, "timed out"),
        ]:
            with pytest.raises(Unavailable, match=reason):
                client(members(where, nature)[0], timeout=0.3).call("healthcheck")
        slow = members(where, Nature.SLOW)[0]
        with pytest.raises(Unavailable, match="timed out"):
            client(slow, timeout=0.3).call("healthcheck")
        assert client(slow).call("cmd_submit_reading", "t", "load") == "OK"
        monitor.wait_for_ticket("t")


def test_results_wait_for_a_server_that_is_away(monitor: Monitor) -> None:
    """Nothing is lost while it is gone."""
    where = ports()
    with running(monitor, where) as mark:
        monitor.stop()
        member = members(where, Nature.LIVE)[0]
        assert client(member).call("cmd_submit_reading", "early", "load") == "OK"
        while not (told := mark())["troubles"]:
            assert told["taken"] == 0
        assert told["waiting"] == 1
        monitor.start()
        monitor.wait_for_ticket("early")


def test_a_refused_result_is_tried_again(monitor: Monitor) -> None:
    """A fault is an answer: the result comes again after a pause, and what is behind it does not wait."""
    where = ports()
    refused: list[object] = []
    monitor.refuse = lambda ticket: ticket == "bad" and len(refused) == 0 and (refused.append(ticket) or True)
    with running(monitor, where) as mark:
        agent = client(members(where, Nature.LIVE)[0])
        agent.multicall([("cmd_submit_reading", [one, "load"]) for one in ("bad", "good")])
        monitor.wait_for_ticket("bad")
        told = mark()

    assert monitor.tickets() == ["good", "bad"]
    assert told["refused"] == {"fault -32602: not a ticket of mine": 1}


def test_a_site_file_defines_the_fleet() -> None:
    """TOML with every host at its address and port, the probes everywhere."""
    fleet = crowd(300, "127.1.0.200", Ports(9080), 0.1, 0.05)
    told = tomllib.loads(site.toml(fleet, 3, 90.0))

    assert told["host"]["agent-00100"] == {"address": "127.1.1.44", "port": 9080, "groups": ["live"]}
    assert len(told["host"]) == 300
    assert sum(one["groups"] == ["dead"] for one in told["host"].values()) == 30
    assert sum(one["groups"] == ["slow"] for one in told["host"].values()) == 15
    assert {one["port"] for one in told["host"].values() if one["groups"] == ["dead"]} == {9080, 9081, 9082}
    assert told["schedule"] == {"fleet-00": {"every": "90.000s"}}
    assert len(told["probe"]) == 3
    assert all(probe["everywhere"] for probe in told["probe"].values())
    apart = tomllib.loads(site.toml(fleet, 3, 90.0, apart=True))
    assert [one["every"] for one in apart["schedule"].values()] == ["89.910s", "90.000s", "90.090s"]
    assert len({probe["schedule"] for probe in apart["probe"].values()}) == 3
