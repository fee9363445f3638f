"""What an operator sees of incidents and silences."""

from __future__ import annotations

import json
import time
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from monagent.cli.server_incident import incident
from monagent.cli.server_silence import silence
from monagent.errors import Refused
from tests.support.alerting import Fleet


@pytest.fixture
def config(fleet: Fleet, database_url: str, tmp_path: Path) -> Path:
    """A server.cfg; web1's disk has just become critical."""
    path = tmp_path / "server.cfg"
    path.write_text(f"[database]\nurl = {database_url.replace('%', '%%')}\n")
    fleet.hand_in(fleet.watched(), 95, time.time() - 120)
    return path


def run(command: click.Command, *arguments: str, config: Path) -> Result:
    """As `monserver` does; errors of ours come out."""
    result = CliRunner().invoke(command, [*arguments, "-c", str(config)])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def test_an_incident_is_listed_shown_and_taken_in_hand(fleet: Fleet, config: Path) -> None:
    """By its number."""
    number = str(fleet.incident().id)

    head, line = run(incident, "list", config=config).stdout.splitlines()
    assert head.split() == ["ID", "STATE", "HOST", "PROBE", "OPENED", "FOR", "NOTE", "MESSAGE"]
    assert line.startswith(f"{number:3} critical  web1  disk ")
    assert line.endswith("  2 min  -     95 (warning at 80, critical at 90)")
    done = run(incident, "acknowledge", number, "--note", "a bigger\ndisk is coming", "--by", "ann", config=config)
    assert done.stderr == f"acknowledged: incident {number}, by ann\n"
    shown = run(incident, "show", number, config=config).stdout
    assert shown.startswith(f"incident {number}: web1 disk is critical (at worst critical)\n")
    assert ": a bigger disk is coming\n" in shown
    assert "ops: mail ops@example.org, problem\n" in shown
    assert "ann has it" in run(incident, "list", "--host", "web1", config=config).stdout
    (told,) = json.loads(run(incident, "list", "--json", config=config).stdout)
    assert (told["host"], told["probe"], told["state"], told["closed"]) == ("web1", "disk", "critical", None)
    story = json.loads(run(incident, "show", number, "--json", config=config).stdout)
    assert [one["what"] for one in story["events"]] == ["problem", "acknowledged"]


def test_what_comes_from_elsewhere_neither_steers_a_terminal_nor_tells_secrets(fleet: Fleet, config: Path) -> None:
    """Neither what an agent wrote nor the path of a webhook."""
    fleet.define("alert", "chat", webhook="https://chat.example.org/hooks/hush", secret_file="/s")
    said = "x\u009b2J \u202etxt\x1b]0;t\x07"
    fleet.hand_in(fleet.probe(fleet.host("web2")), 95, time.time(), stderr=f"{said}\n{said}")
    number = str(fleet.incidents()[1].id)

    shown = run(incident, "show", number, config=config).stdout
    everything = shown + run(incident, "list", config=config).stdout

    assert not {"\u009b", "\u202e", "\x1b", "\x07"} & set(everything)
    assert "chat: webhook https://chat.example.org/…, problem" in shown
    assert "hush" not in shown + run(incident, "show", number, "--json", config=config).stdout


def test_a_silence_is_added_listed_and_ended(fleet: Fleet, config: Path) -> None:
    """Its number is all that stdout says, for scripts."""
    added = run(silence, "add", "--host", "web1", "--for", "2h", "--note", "disks", "--by", "ann", config=config)
    number = added.stdout.strip()

    head, line = run(silence, "list", config=config).stdout.splitlines()
    assert head.split() == ["ID", "WHAT", "ENDS", "IN", "BY", "NOTE"]
    assert line.split()[:3] == [number, "host", "web1"]
    assert line.endswith("min  ann  disks")
    run(silence, "remove", number, config=config)
    assert run(silence, "list", config=config).stderr == "there are no silences\n"
    assert "over" in run(silence, "list", "--all", config=config).stdout
    with pytest.raises(Refused, match="must end in the future"):
        run(silence, "add", "--everything", "--until", "2026-01-01T00:00+01:00", "--note", "x", config=config)


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["--for", "2h"], "name any of --host, --group and --probe, or --everything alone"),
        (["--everything", "--host", "web1", "--for", "2h"], "name any of"),
        (["--everything"], "say when it ends"),
        (["--everything", "--for", "soon"], "is not a duration"),
        (["--everything", "--until", "soon"], "is no time"),
    ],
)
def test_a_silence_must_say_of_what_and_for_how_long(arguments: list[str], why: str, tmp_path: Path) -> None:
    """Otherwise it is a usage error, and nothing is opened."""
    result = CliRunner().invoke(silence, ["add", *arguments, "--note", "x"])

    assert (result.exit_code, why in result.stderr) == (2, True)
    assert list(tmp_path.iterdir()) == []
