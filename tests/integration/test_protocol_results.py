"""What comes back, and how: the dialects, batches, refusals and outages of the protocol's page."""

from __future__ import annotations

import itertools
import json
import time
import xmlrpc.client
from datetime import UTC, datetime
from typing import Any

import pytest

from tests.conftest import StartAgent
from tests.integration.served import ECHO, Served, fault_of, wait_until
from tests.support.agent import AgentProcess, write_sensor
from tests.support.monitor import Handed, Monitor


def submitted(served: Served, sensor: str, script: str, *arguments: str) -> Handed:
    """Install a sensor, run it and give what came for it."""
    write_sensor(served.agent.directory, sensor, f"#!/bin/sh\n{script}\n")
    assert served.agent.proxy().cmd_submit_reading(sensor, sensor, list(arguments)) == "OK"
    return served.monitor.wait_for_ticket(sensor)


def moment(when: xmlrpc.client.DateTime) -> float:
    """Seconds since the epoch of a time that is meant as UTC."""
    return datetime.strptime(str(when), "%Y%m%dT%H:%M:%S").replace(tzinfo=UTC).timestamp()


# -- readings -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "script", "code", "data", "error"),
    [
        ("plain-number", "echo ' 2.50 '", 0, "2.50", ""),
        ("exit-code", "echo 2.50; exit 3", 3, "2.50", ""),
        ("prints-nothing", ":", 0, "nan", "not-a-number"),
        ("prints-text", "echo fine", 0, "nan", "not-a-number"),
        ("prints-two", "echo 1 2", 0, "nan", "not-a-number"),
        ("prints-nan", "echo nan", 0, "nan", "not-a-number"),
        ("prints-huge", "echo 1e999", 0, "nan", "not-a-number"),
        ("dies", "kill -11 $$", -11, "nan", "signal"),
        ("floods", "echo 5; exec head -c 100000 /dev/zero", 0, "nan", "output-too-long"),
    ],
)
def test_a_reading_tells_how_its_sensor_ended(
    served: Served, name: str, script: str, code: int, data: str, error: str
) -> None:
    """Two members for a plain server; a third with the details for an extended one."""
    content = submitted(served, name, script).content

    assert content[:2] == [code, data]
    if served.monitor._extended:
        assert content[2]["error"] == error
    else:
        assert len(content) == 2


def test_a_sensor_that_hangs_is_a_time_out(monitor: Monitor, make_agent: StartAgent) -> None:
    """Killed by signal 9 after its own time, and the number that it printed is not trusted."""
    agent = make_agent(monitor.url, "[sensor:hangs]\ntimeout = 0.5")
    write_sensor(agent.directory, "hangs", "#!/bin/sh\necho 5\nsleep 60\n")
    agent.start()
    agent.proxy().cmd_submit_reading("t", "hangs")
    content = monitor.wait_for_ticket("t").content

    assert content[:2] == [-9, "nan"]
    assert content[2]["error"] == "timeout"
    assert 0.5 <= content[2]["duration"] < 20


def test_what_cannot_be_run_has_its_codes(served: Served) -> None:
    """126 for a program that cannot be executed, 127 for one that is not there."""
    (served.agent.directory / "sensors" / "hollow").mkdir()
    write_sensor(served.agent.directory, "locked", "#!/bin/sh\necho 5\n")
    (served.agent.directory / "sensors" / "locked" / "check").chmod(0o644)
    for ticket, code in (("hollow", 127), ("locked", 126)):
        served.agent.proxy().cmd_submit_reading(ticket, ticket)

        assert served.monitor.wait_for_ticket(ticket).content[:2] == [code, "nan"]


def test_the_third_member_has_all_its_members_and_types(extended: Served) -> None:
    """started, duration, error, stderr and metrics."""
    before = time.time()
    _, _, details = submitted(extended, "details", "echo grumble >&2; sleep 0.2; echo 5").content

    assert {name: type(value) for name, value in details.items()} == {
        "started": xmlrpc.client.DateTime,
        "duration": float,
        "error": str,
        "stderr": str,
        "metrics": list,
    }
    assert (details["error"], details["stderr"], details["metrics"]) == ("", "grumble\n", [])
    assert 0.2 <= details["duration"] < 20
    assert before - 2 <= moment(details["started"]) <= time.time() + 2


def test_stderr_is_cut_and_made_harmless(extended: Served) -> None:
    """At most 4 KiB travel, and no byte of it breaks the document."""
    _, _, details = submitted(
        extended, "noisy", r"printf '\000\033[31m\377 ]]> &amp; '; head -c 9000 /dev/zero | tr '\0' x >&2; echo 5"
    ).content
    _, _, dirty = submitted(extended, "dirty", r"printf '\000\033[31m\377 ]]> <x> ' >&2; echo 5").content

    assert details["stderr"] == "x" * 4096
    assert dirty["stderr"].endswith(" ]]> <x> ")


@pytest.mark.parametrize("zone", ["Asia/Kathmandu", "America/Los_Angeles", "UTC"])
def test_times_are_utc_wherever_the_agent_stands(
    monitor: Monitor, make_agent: StartAgent, monkeypatch: pytest.MonkeyPatch, zone: str
) -> None:
    """The time stamp tells when the command finished, and `started` when it began."""
    monkeypatch.setenv("TZ", zone)
    agent = make_agent(monitor.url)
    write_sensor(agent.directory, "slow", "#!/bin/sh\nsleep 1.2\necho 5\n")
    agent.start()
    before = time.time()
    agent.proxy().cmd_submit_reading("t", "slow")
    handed = monitor.wait_for_ticket("t")

    finished, started = moment(handed.when), moment(handed.content[2]["started"])
    assert before - 2 <= started <= finished <= time.time() + 2
    assert finished - started >= 1


# -- other results ------------------------------------------------------------------------------------------------


def test_the_status_goes_to_an_extended_server(extended: Served) -> None:
    """Version, uptime, queues, last delivery and sensors, beside `status` and `message`."""
    extended.agent.proxy().cmd_submit_reading("before-status", "echo", [1])
    extended.monitor.wait_for_ticket("before-status")
    extended.agent.proxy().cmd_status(31)
    handed = extended.monitor.wait_for_ticket(31)
    command, outcome = handed.content

    assert (handed.method, command) == ("cmd_store_command_result", "status")
    members = {"status", "message", "version", "uptime", "queues", "last_delivery", "sensors", "server", "on_probation"}
    assert set(outcome) == members | {"calls", "backups", "mails"}
    assert outcome["calls"]["accepted"] >= 2
    assert (outcome["server"], outcome["on_probation"]) == (extended.monitor.url, False)
    assert (outcome["status"], set(outcome["queues"])) == ("ok", {"waiting", "running", "undelivered", "rejected"})
    assert "\n" not in outcome["message"]
    assert "echo" in outcome["sensors"]
    assert outcome["uptime"] > 0


def test_the_list_of_sensors_goes_to_an_extended_server(extended: Served) -> None:
    """Every sensor with its help text, under the ticket."""
    write_sensor(extended.agent.directory, "mute", "#!/bin/sh\nexit 1\n")
    assert extended.agent.proxy().cmd_list_sensors("list") == "OK"
    command, outcome = extended.monitor.wait_for_ticket("list").content

    assert command == "list_sensors"
    assert outcome["status"] == "ok"
    assert outcome["sensors"]["echo"] == "echo NUMBER"
    assert outcome["sensors"]["mute"].startswith("(no help")


@pytest.mark.parametrize("command", ["cmd_status", "cmd_list_sensors"])
def test_an_outcome_is_not_handed_to_a_plain_server(plain: Served, command: str) -> None:
    """It is logged, kept as history and closed; readings go on arriving and nothing waits."""
    assert getattr(plain.agent.proxy(), command)(command) == "OK"
    plain.agent.proxy().cmd_submit_reading(f"after-{command}", "echo", [1])
    plain.monitor.wait_for_ticket(f"after-{command}")
    wait_until(lambda: plain.known(command)[0].state == "closed", "the outcome is closed")
    (entry,) = plain.known(command)

    assert entry.outcome is not None
    assert entry.outcome["status"] == "ok"
    assert f"result kept here ticket={command} method={command}" in plain.agent.log.read_text()
    assert command not in plain.monitor.tickets()
    wait_until(lambda: _spool(plain.agent) == [], "nothing waits")


def test_the_list_of_sensors_is_answered_directly_without_a_ticket(served: Served) -> None:
    """As the original system did it; no result follows."""
    before = len(served.monitor.handed)
    listed: Any = served.agent.proxy().cmd_list_sensors()

    assert listed["echo"] == "echo NUMBER"
    time.sleep(0.3)
    assert all(one.method == "cmd_store_probe_data" for one in served.monitor.handed[before:])


def test_the_direct_list_can_be_switched_off(monitor: Monitor, make_agent: StartAgent) -> None:
    """The form with a ticket still works."""
    agent = make_agent(monitor.url, "[security]\ndirect_listing = no")
    write_sensor(agent.directory, "echo", ECHO)
    agent.start()

    assert fault_of(lambda: agent.proxy().cmd_list_sensors()).faultCode == -32602
    assert agent.proxy().cmd_list_sensors("t") == "OK"
    assert monitor.wait_for_ticket("t").content[1]["sensors"] == {"echo": "echo NUMBER"}


# -- delivery -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("extended", [True, False])
def test_results_that_waited_arrive_in_order_of_completion(
    monitor: Monitor, plain_monitor: Monitor, make_agent: StartAgent, extended: bool
) -> None:
    """In batches to an extended server, one call a result to a plain one."""
    server = monitor if extended else plain_monitor
    server.stop()
    agent = make_agent(server.url, "workers = 1")
    write_sensor(agent.directory, "echo", ECHO)
    agent.start()
    for part in range(3):
        batch = xmlrpc.client.MultiCall(agent.proxy())
        for number in range(100):
            batch.cmd_submit_reading(100 * part + number, "echo", [number])
        assert batch().results == [["OK"]] * 100
    wait_until(lambda: len([one for one in _spool(agent) if one["state"] == "finished"]) == 300, "all wait", 60)
    server.start()
    server.wait_for(300, 60)

    assert server.tickets() == list(range(300))
    assert server.multicalls == (3 if extended else 0)


def test_a_refused_result_is_tried_five_times_then_set_aside_and_can_be_put_back_or_dropped(
    monitor: Monitor, make_agent: StartAgent
) -> None:
    """For real, which takes 40 s: others pass meanwhile, and the operator decides in the end."""
    refused: list[tuple[int | str, float]] = []
    refusing = True

    def refuse(ticket: int | str) -> bool:
        if refusing and str(ticket).startswith("bad"):
            refused.append((ticket, time.monotonic()))
            return True
        return False

    monitor.refuse = refuse
    agent = make_agent(monitor.url)
    write_sensor(agent.directory, "echo", ECHO)
    agent.start()
    proxy = agent.proxy()
    for ticket in ("bad-1", "bad-2", "good"):
        proxy.cmd_submit_reading(ticket, "echo", ["5"])
    monitor.wait_for_ticket("good", 10)
    wait_until(lambda: {one["state"] for one in _spool(agent)} == {"rejected"}, "both are rejected", 90)

    for bad in ("bad-1", "bad-2"):
        tries = [when for ticket, when in refused if ticket == bad]
        pauses = [later - earlier for earlier, later in itertools.pairwise(tries)]
        assert len(tries) == 5
        assert all(pause >= 0.75 * wanted for pause, wanted in zip(pauses, (1, 3, 9, 27), strict=True))
    assert [one["ticket"] for one in _spool(agent)] == ["bad-1", "bad-2"]
    listed = agent.command("spool", "list")
    assert "2 rejected" in listed.stderr
    assert "fault -32602: 'not a ticket of mine'" in listed.stdout
    (shown,) = json.loads(agent.command("spool", "show", "bad-1", "--json").stdout)
    assert (shown["state"], shown["outcome"]["data"]) == ("rejected", "5")
    refusing = False
    assert agent.command("spool", "drop", "bad-2").returncode == 0
    assert agent.command("spool", "retry", "bad-1").returncode == 0
    assert monitor.wait_for_ticket("bad-1", 15).content[:2] == [0, "5"]
    wait_until(lambda: _spool(agent) == [], "nothing waits")
    assert "bad-2" not in monitor.tickets()
    assert agent.command("spool", "retry", "bad-2").returncode == 1


def _spool(agent: AgentProcess) -> list[dict[str, Any]]:
    listed: list[dict[str, Any]] = json.loads(agent.command("spool", "list", "--json").stdout)
    return listed
