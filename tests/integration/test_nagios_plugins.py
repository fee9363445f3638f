"""The plug-ins of Debian's monitoring-plugins-basic, run unchanged by a real agent, beside the same run by hand."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from monagent.sensors.perfdata import METRICS
from monagent.sensors.spawning import clean_environment
from tests.conftest import StartAgent
from tests.integration.served import Served, wait_until
from tests.support.agent import AgentProcess
from tests.support.monitor import Monitor
from tests.support.ports import free_port
from tests.support.server import known_host, reading, send_checks, server_in
from tests.unit.sensors_stock.runner import missing

PLUGINS = Path("/usr/lib/nagios/plugins")

COMMANDS: dict[str, list[str]] = {
    "load": ["check_load", "-w", "50,40,30", "-c", "100,60,40"],
    "disk": ["check_disk", "-w", "10%", "-c", "5%", "-p", "/"],
    "procs": ["check_procs", "-w", "1:2", "-c", "1:5"],
    "users": ["check_users", "-w", "50", "-c", "100"],
    "dummy": ["check_dummy"],
    "tcp": ["check_tcp", "-H", "127.0.0.1", "-w", "5", "-c", "9"],
}
"""The sensors, each with a plug-in and its arguments."""


@pytest.fixture(scope="module", autouse=True)
def _plugins() -> None:
    """They must be there."""
    if not (PLUGINS / "check_load").is_file():
        missing("the Monitoring Plugins (Debian: monitoring-plugins-basic)")


def sections() -> str:
    """The configuration of all of them."""
    lines = []
    for name, (plugin, *arguments) in COMMANDS.items():
        command = shlex.join([str(PLUGINS / plugin), *arguments]).replace("%", "%%")
        lines += [f"[sensor:{name}]", f"command = {command}", "format = nagios"]
    return "\n".join(lines)


@pytest.fixture(scope="module", params=["plain", "extended"])
def served(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """An agent with these sensors, and a server of either dialect."""
    monitor = Monitor(extended=request.param == "extended")
    monitor.start()
    agent = AgentProcess(tmp_path_factory.mktemp("agent"), monitor.url, sections())
    try:
        agent.start()
        yield Served(agent, monitor)
    finally:
        agent.kill()
        monitor.stop()


@pytest.fixture
def sleepers() -> Iterator[str]:
    """How check_procs can tell three processes from all others."""
    seconds = f"8{os.getpid()}.25"
    running = [subprocess.Popen(["sleep", seconds]) for _ in range(3)]
    yield f"sleep {seconds}"
    for one in running:
        one.kill()
        one.wait(10)


def by_hand(name: str, *arguments: str) -> tuple[int, str, list[dict[str, Any]]]:
    """Run the plug-in of a sensor: its code, its text, and its items, read without any of our code."""
    plugin, *own = COMMANDS[name]
    done = subprocess.run(
        [PLUGINS / plugin, *own, *arguments],
        env=clean_environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=30,
    )
    text, _, data = done.stdout.partition("|")
    return done.returncode, text.strip(), [_item(word) for word in shlex.split(data)]


def _item(word: str) -> dict[str, Any]:
    """These plug-ins have plain values: digits, then letters."""
    label, _, fields = word.rpartition("=")
    printed, warn, crit, least, most = (*fields.split(";"), "", "", "", "")[:5]
    digits = printed.rstrip("%BKMGTmusc")
    ends = {"min": float(least) if least else None, "max": float(most) if most else None}
    return {
        "label": label,
        "value": float(digits),
        "unit": printed.removeprefix(digits),
        "warn": warn,
        "crit": crit,
        **ends,
    }


def submitted(served: Served, name: str, *arguments: str) -> tuple[int, str, dict[str, Any]]:
    """Command the sensor and give what came for it; without details from a plain server's agent."""
    ticket = f"{name} {' '.join(arguments)}"
    assert served.agent.proxy().cmd_submit_reading(ticket, name, list(arguments)) == "OK"
    code, data, *details = served.monitor.wait_for_ticket(ticket).content
    assert len(details) == served.monitor._extended
    return code, data, details[0] if details else {}


def without_values(items: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What two runs of a plug-in have in common."""
    return [{**item, "value": None} for item in items]


@pytest.mark.parametrize("name", ["load", "disk", "users"])
def test_a_plug_in_reports_as_it_does_by_hand(served: Served, name: str) -> None:
    """Its code, its first value, all its items and its text; the figures themselves move a little between two runs."""
    code, text, items = by_hand(name)
    got_code, data, details = submitted(served, name)

    assert got_code == code
    assert float(data) == pytest.approx(items[0]["value"], rel=0.5, abs=20)
    if served.monitor._extended:
        assert without_values(details["metrics"]) == without_values(items)
        assert details["metrics"][0]["value"] == float(data)
        assert details["stderr"].split(" - ")[0] == text.split(" - ")[0]
        assert details["error"] == ""


def test_a_plug_in_that_counts_gives_the_same_count(served: Served, sleepers: str) -> None:
    """Too many are a warning: code 1, and the number is there all the same."""
    code, text, items = by_hand("procs", "-a", sleepers)
    got_code, data, details = submitted(served, "procs", "-a", sleepers)

    assert (code, got_code) == (1, 1)
    assert (items[0]["value"], data) == (3.0, "3")
    if served.monitor._extended:
        assert (details["stderr"], details["metrics"]) == (text, items)


@pytest.mark.parametrize("code", [0, 1, 2, 3])
def test_each_code_of_a_plug_in_goes_back_as_it_is(served: Served, code: int) -> None:
    """With the first value of what it printed, and its text for people."""
    word = ["OK", "WARNING", "CRITICAL", "UNKNOWN"][code]
    arguments = [str(code), "so it is | 'used space'=12.50GB;~:80;@90:95;0;100 other=U"]
    by_hand_code, text, _ = by_hand("dummy", arguments[0], "so it is")
    got_code, data, details = submitted(served, "dummy", *arguments)

    assert (by_hand_code, text) == (code, f"{word}: so it is")
    assert (got_code, data) == (code, "12.50")
    if served.monitor._extended:
        assert (details["stderr"], details["error"]) == (text, "")
        assert details["metrics"] == [
            {
                "label": "used space",
                "value": 12.5,
                "unit": "GB",
                "warn": "~:80",
                "crit": "@90:95",
                "min": 0.0,
                "max": 100.0,
            },
            {"label": "other", "value": None, "unit": "", "warn": "", "crit": "", "min": None, "max": None},
        ]


def test_a_plug_in_without_performance_data_has_no_number(served: Served) -> None:
    """Its code and its text arrive all the same."""
    code, data, details = submitted(served, "dummy", "0", "all is well")

    assert (code, data) == (0, "nan")
    if served.monitor._extended:
        assert (details["stderr"], details["error"], details["metrics"]) == ("OK: all is well", "not-a-number", [])


def test_a_plug_in_speaks_of_the_network(served: Served) -> None:
    """The agent's own port is open; another one is not, and the reason is told."""
    open_code, data, opened = submitted(served, "tcp", "-p", str(served.agent.port))
    shut_code, nothing, shut = submitted(served, "tcp", "-p", str(free_port()))

    assert (open_code, shut_code, nothing) == (0, 2, "nan")
    assert 0 <= float(data) < 5
    if served.monitor._extended:
        assert [item["label"] for item in opened["metrics"]] == ["time"]
        assert opened["stderr"].startswith("TCP OK - ")
        assert "refused" in shut["stderr"]


def test_the_help_of_plug_ins_is_listed(served: Served) -> None:
    """Each was asked with --help."""
    listed: Any = served.agent.proxy().cmd_list_sensors()

    for name, (plugin, *_) in COMMANDS.items():
        assert listed[name].startswith(f"{plugin} v")


def test_a_plug_in_can_be_tried_on_its_host(served: Served) -> None:
    """Exit 0 when all is well and there is a number; the text stands on stderr."""
    well = served.agent.command("sensor", "run", "dummy", "0", "fine | a=1.50s")
    bad = served.agent.command("sensor", "run", "dummy", "2", "bad | a=1.50s")
    without = served.agent.command("sensor", "run", "dummy", "0", "fine", "--json")

    assert (well.returncode, well.stdout, well.stderr) == (0, "1.50\n", "OK: fine\n")
    assert (bad.returncode, bad.stdout, bad.stderr) == (1, "1.50\n", "CRITICAL: bad\n(ended with 2)\n")
    assert (without.returncode, json.loads(without.stdout)["stderr"]) == (1, "OK: fine")


def test_the_reference_server_takes_many_readings_full_of_metrics(make_agent: StartAgent, tmp_path: Path) -> None:
    """More than one batch may hold: they all arrive, and none is set aside."""
    server = server_in(tmp_path)
    server.start()
    try:
        agent = make_agent(server.url, sections())
        agent.start()
        host = known_host(server.database, "here", port=agent.port)
        data = " ".join(f"'metric number {number}'={number}.5MB;~:10;@20:30;0;100" for number in range(METRICS))
        checks = [("dummy", ["1", f"so it is | {data}"])] * 15
        tickets = [ticket for _ in range(4) for ticket in send_checks(server.database, host, checks)]
        wait_until(lambda: all(reading(server.database, str(ticket)) for ticket in tickets), "all have come", 60)
        last = reading(server.database, str(tickets[-1]))
    finally:
        server.stop()

    assert last is not None
    assert (last.ret_code, last.data, last.stderr, last.error) == (1, "0.5", "WARNING: so it is", "")
