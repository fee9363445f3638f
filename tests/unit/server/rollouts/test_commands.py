"""What an operator types about packages, roll-outs, moves and inventories, where no agent is needed."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from monagent.cli.server_inventory import inventory
from monagent.cli.server_move import move
from monagent.cli.server_rollout import rollout
from monagent.cli.server_sensor_packages import SENSOR_COMMANDS
from monagent.errors import MonagentError
from monagent.server import moves
from monagent.server.database import Database
from monagent.server.rollouts import orders
from monagent.server.rollouts.job import RolloutJob
from monagent.server.site.hosts import host
from tests.support.server import define
from tests.unit.server.rollouts.fleet import package

Run = Callable[..., Result]
NEW = "http://new.example.org:8081/xmlrpc/"


@pytest.fixture
def database(database: Database) -> Database:
    """Three hosts, two in a group, with a probe everywhere."""
    define(
        database,
        {
            ("host", "web1"): {"address": "192.0.2.1", "groups": ["paris"]},
            ("host", "web2"): {"address": "192.0.2.2", "groups": ["paris"]},
            ("host", "web3"): {"address": "192.0.2.3"},
            ("sensor", "disk"): {},
            ("probe", "space"): {"sensor": "disk", "everywhere": True},
        },
    )
    return database


@pytest.fixture
def run(database: Database, database_url: str, tmp_path: Path) -> Run:
    """Runs a command with that database; the server is said to have no port at which it could be looked for."""
    (tmp_path / "server.cfg").write_text(f"[server]\nport = 0\n[database]\nurl = {database_url}\n")
    (tmp_path / "disk.tar.bz2").write_bytes(package("first"))

    def run(command: click.Command | str, *arguments: str) -> Result:
        if isinstance(command, str):
            command = next(one for one in SENSOR_COMMANDS if one.name == command)
        return CliRunner().invoke(command, [*arguments, "-c", str(tmp_path / "server.cfg")])

    return run


def refused(result: Result) -> str:
    """The sentence that a command ends with."""
    assert isinstance(result.exception, MonagentError), result.output
    return str(result.exception)


def test_packages_are_uploaded_listed_and_made_current(run: Run, tmp_path: Path) -> None:
    """What is there already keeps its version."""
    file = tmp_path / "disk.tar.bz2"
    assert run("upload", str(file), "--note", "the first").stdout == "disk 1  (current)\n"
    assert run("upload", str(file)).stdout == "disk 1  (current)\n"
    file.write_bytes(package("second"))
    assert json.loads(run("upload", str(file), "--json").stdout)["version"] == "2"

    shown = run("versions", "disk").stdout.splitlines()
    assert [line.split()[:2] for line in shown] == [["SENSOR", "VERSION"], ["disk", "1"], ["disk", "2"]]
    assert ("1 *" in shown[1], "the first" in shown[1]) == (True, True)
    assert run("current", "disk", "2").exit_code == 0
    assert "2 *" in run("versions").stdout
    assert "no version 9" in refused(run("current", "disk", "9"))
    assert "no version of dsk is kept here" in refused(run("versions", "dsk"))
    file.write_bytes(b"nothing")
    assert "not a bz2, gz or xz archive" in refused(run("upload", str(file)))


def test_a_roll_out_is_started_shown_stopped_and_taken_back(run: Run, database: Database, tmp_path: Path) -> None:
    """By default it goes to all hosts with the sensor."""
    assert "no roll-outs yet" in run(rollout, "list").stderr
    assert "monserver sensor upload FILE" in refused(run(rollout, "start", "disk"))
    run("upload", str(tmp_path / "disk.tar.bz2"))
    assert run(rollout, "start", "disk", "--group", "paris", "--by", "eve").stdout == "1\n"
    assert "roll-out 1 of disk 1 is running" in refused(run(rollout, "start", "disk"))
    RolloutJob(database).run(1e9)

    listed = json.loads(run(rollout, "list", "--json").stdout)
    assert [(one["state"], one["by"], one["stages"], one["hosts"]) for one in listed] == [
        ("running", "eve", [1, 1], {"updating": 1, "waiting": 1})
    ]
    assert run(rollout, "watch", "1", "--wait", "0.1s").exit_code == 75
    assert run(rollout, "stop", "1", "--by", "eve").exit_code == 0
    assert "because: stopped by eve" in run(rollout, "show", "1").stdout
    assert "is stopped already" in refused(run(rollout, "stop", "1"))
    assert run(rollout, "restore", "1").exit_code == 0
    assert [row.split()[:3] for row in run(rollout, "show", "1").stdout.splitlines()[-2:]] == [
        ["1", "web1", "updating"], ["2", "web2", "waiting"],
    ]  # fmt: skip
    assert "there is no roll-out 7" in refused(run(rollout, "show", "7"))
    with database.read() as db:
        assert len(orders.hosts_running(db, "disk")) == 3


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["start", "disk", "--stages", "1,50"], "the last stage must be 100%"),
        (["start", "disk", "--patience", "soon"], "is not a duration"),
        (["start", "disk", "--all", "--host", "web1"], "--all means all hosts"),
        (["show", "x"], "not a valid integer"),
        (["show", "99999999999999999999"], "is not in the range"),
    ],
)
def test_what_makes_no_sense_is_a_matter_of_usage(arguments: list[str], says: str) -> None:
    """Told before anything is looked at."""
    result = CliRunner().invoke(rollout, arguments)

    assert (result.exit_code, says in result.output) == (2, True)


def test_hosts_are_named_one_way_or_another(run: Run) -> None:
    """Unknown ones are told, and nobody at all is not everybody."""
    assert "name hosts, --group GROUP, or --all" in run("push", "disk").output
    assert "Missing option '--to'" in run(move, "web1").output
    assert "is not an http or https URL" in run(move, "web1", "--to", "ftp://x").output
    assert "there is no host 'web9'" in refused(run(move, "web9", "--to", NEW))
    assert "no host is in the group 'rome'" in refused(run(move, "--group", "rome", "--to", NEW))


def test_hosts_are_told_to_move_and_may_stay_after_all(run: Run, database: Database) -> None:
    """Their definitions name the server, until somebody calls it off."""
    assert "nobody was told to move" in run(move, "status").stderr
    assert "2 hosts are told to move" in run(move, "--group", "paris", "--to", NEW).stderr
    found = json.loads(run(move, "status", "--json").stdout)
    assert [(one["host"], one["state"], one["url"]) for one in found] == [
        ("web1", "waiting", NEW),
        ("web2", "waiting", NEW),
    ]
    assert url_of(database, "web1") == NEW
    assert run(move, "start", "web3", "--to", NEW, "--wait", "0.1s").exit_code == 75

    assert run(move, "cancel", "web1", "web3").exit_code == 0
    assert (url_of(database, "web1"), url_of(database, "web2")) == (None, NEW)
    with database.read() as db:
        assert [one.host for one in moves.listing(db)] == ["web2"]


def url_of(database: Database, name: str) -> str | None:
    """The server that a host is told to use; None: this one."""
    with database.read() as db:
        found = host(db, name)
    assert found is not None
    return found.url


def test_an_inventory_shows_what_is_known(run: Run) -> None:
    """Nobody has told anything; who does not answer is named."""
    shown = run(inventory, "--group", "paris").stdout.splitlines()
    assert [line.split()[:3] for line in shown[1:]] == [["web1", "disk", "unknown"], ["web2", "disk", "unknown"]]
    silent = run(inventory, "web1", "--refresh", "--wait", "0.1s", "--json")
    assert (silent.exit_code, json.loads(silent.stdout)[0]["reported"]) == (75, None)
    assert "web1: nothing came within 0 s" in silent.stderr
    assert run(inventory, "--wrong").exit_code == 0
