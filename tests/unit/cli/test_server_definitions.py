"""`monserver`: definitions by command line, as one file, and from the original system."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from monagent.cli.options import guarded
from monagent.cli.server import cli as CLI  # noqa: N812 - what the tests call it
from monagent.errors import ConfigError
from tests.unit.server.site.old_file import old_file
from tests.unit.server.site.site import FILE


@dataclass
class Done:
    """How a command ended."""

    code: int
    out: str
    err: str


class Terminal:
    """Runs commands in this process, where that is quick; `program.monserver` runs real ones."""

    def __init__(self, directory: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self.directory = directory
        self._monkeypatch = monkeypatch
        self._capsys = capsys
        monkeypatch.chdir(directory)
        monkeypatch.delenv("MONSERVER_CONFIG", raising=False)

    def __call__(self, *words: str | Path) -> Done:
        self._monkeypatch.setattr(sys, "argv", ["monserver", *map(str, words)])
        with pytest.raises(SystemExit) as ended:
            guarded("monserver", CLI)
        out, err = self._capsys.readouterr()
        return Done(int(ended.value.code or 0), out, err)


@pytest.fixture
def monserver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Terminal:
    """The program, in a directory of its own."""
    return Terminal(tmp_path, monkeypatch, capsys)


def file(directory: Path, text: str) -> Path:
    """A file of definitions."""
    path = directory / "site.toml"
    path.write_text(text)
    return path


BY_HAND = [
    ["host", "add", "db1.example.org", "2001:db8::1", "--tls"],
    ["host", "add", "web1", "192.0.2.10", "--port", "8443", "--group", "web", "--group", "big", "--from", "192.0.2.0/24", "--from", "10.0.0.0/8", "--server", "https://other.example.org:8081/xmlrpc/"],
    ["sensor", "add", "disk", "--note", "free space"],
    ["schedule", "add", "minutely", "--every", "60s", "--splay", "10s"],
    ["schedule", "add", "working-hours", "--cron", "*/5 8-18 * * 1-5", "--timezone", "Europe/Paris"],
    ["probe", "add", "root-disk", "disk", "percent", "/", "--warning", "80", "--critical", "90", "--runs", "2", "--hysteresis", "2", "--schedule", "minutely", "--group", "web", "--host", "db1.example.org"],
    ["override", "add", "web1/root-disk", "--warning", "", "--runs", "1"],
    ["override", "add", "group:big/root-disk", "--schedule", "working-hours"],
    ["maintenance", "add", "monthly", "--probe", "root-disk", "--cron", "0 22 1 * *", "--duration", "2h"],
    ["maintenance", "add", "patching", "--everywhere", "--from", "2026-11-22T22:00:00Z", "--until", "2026-11-23T02:00:00Z", "--note", "new kernels"],
    ["alert", "add", "ops", "--group", "web", "--from-state", "critical", "--mail", "ops@example.org", "--webhook", "https://hooks.example.org/x", "--secret-file", "/etc/monagent/hook.secret", "--apprise-file", "/etc/monagent/apprise", "--remind", "4h", "--delay", "30s", "--language", "zh"],
    ["report", "add", "weekly", "--period", "weekly", "--mail", "boss@example.org", "--at", "06:30", "--timezone", "Asia/Shanghai"],
]  # fmt: skip


def test_what_is_added_by_hand_is_exported_as_a_file_would_have_it(monserver: Terminal) -> None:
    """Every option has its key. Arguments that were typed are texts."""
    for words in BY_HAND:
        done = monserver(*words)
        assert (done.code, done.out) == (0, ""), done.err

    assert monserver("export").out == FILE.replace(", 1, 1.5]", "]")


def test_a_file_is_shown_applied_and_exported_again(monserver: Terminal) -> None:
    """The same file again changes nothing; an export is the file."""
    path = file(monserver.directory, FILE)
    monserver("host", "add", "old", "192.0.2.1")
    unasked, tried = monserver("apply", path), monserver("apply", path, "--dry-run")
    applied, again, clean = (
        monserver("apply", path, "--yes"),
        monserver("apply", path),
        monserver("apply", path, "--dry-run"),
    )

    assert unasked.code == 2
    assert "give --yes" in unasked.err
    assert tried.code == 1
    assert applied.code == 0
    assert unasked.out == tried.out == applied.out
    assert "- [host.old]   its tickets, readings and incidents go, too\n" in applied.out
    assert '+ [sensor.disk]\n    + note = "free space"\n' in applied.out
    assert "12 new, 1 to be removed; 1 host goes with all tickets, readings and incidents\ndone\n" in applied.err
    assert (again.code, again.out, clean.code) == (0, "", 0)
    assert "nothing to do" in again.err
    assert monserver("export", "-o", monserver.directory / "export.toml").code == 0
    assert (monserver.directory / "export.toml").read_text() == monserver("export").out == FILE


def test_a_wrong_file_names_its_lines_and_changes_nothing(monserver: Terminal) -> None:
    """78, all problems, nothing on stdout."""
    monserver("host", "add", "old", "192.0.2.1")
    wrong = FILE.replace('schedule = "minutely"', 'schedule = "minutly"').replace("port = 8443", "port = 0")
    done = monserver("apply", file(monserver.directory, wrong), "--yes")

    assert (done.code, done.out) == (ConfigError.exit_code, "")
    assert done.err.splitlines() == [
        f"monserver: {monserver.directory}/site.toml:7 [host.web1] port: must be a whole number from 1 to 65535, which 0 is not",
        f"monserver: {monserver.directory}/site.toml:30 [probe.root-disk] schedule: there is no schedule minutly; did you mean minutely?",
    ]
    assert [one["name"] for one in json.loads(monserver("host", "list", "--json").out)] == ["old"]


def test_definitions_are_changed_shown_listed_and_removed(monserver: Terminal) -> None:
    """`set` changes what is given, and nothing else."""
    for words in BY_HAND[:6]:
        monserver(*words)
    changed = monserver("probe", "set", "root-disk", "--warning", "85", "--nagios", "--unset", "runs")

    assert changed.code == 0
    assert (
        changed.err
        == '~ [probe.root-disk]\n    - warning = "80"\n    + warning = "85"\n    - runs = 2\n    + nagios = true\n'
    )
    assert "says so already" in monserver("probe", "set", "root-disk", "--warning", "85").err
    assert monserver("probe", "set", "root-disk").code == 2
    assert monserver("schedule", "show", "minutely").out == '[schedule.minutely]\nevery = "1m"\nsplay = "10s"\n'
    assert json.loads(monserver("schedule", "show", "minutely", "--json").out) == {
        "name": "minutely",
        "every": "1m",
        "splay": "10s",
    }
    assert monserver("schedule", "list").out.startswith('minutely       every="1m"  splay="10s"\n')
    assert json.loads(monserver("sensor", "list", "--json").out) == [{"name": "disk", "note": "free space"}]
    assert monserver("schedule", "remove", "working-hours").err == "removed schedule working-hours\n"
    assert monserver("schedule", "show", "working-hours").code == 1


def test_what_others_name_is_not_removed(monserver: Terminal) -> None:
    """They are named."""
    for words in BY_HAND[:8]:
        monserver(*words)
    host, schedule, probe = (
        monserver("host", "remove", "web1"),
        monserver("schedule", "remove", "minutely"),
        monserver("probe", "remove", "root-disk"),
    )

    assert (host.code, schedule.code, probe.code) == (1, 1, 1)
    assert host.err == "monserver: host web1 is named by override web1/root-disk: change or remove that first\n"
    assert "is named by probe root-disk (schedule): change" in schedule.err
    assert "is named by override group:big/root-disk, override web1/root-disk: change" in probe.err


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["probe", "add", "x", "dsk"], 1, "monserver: probe x sensor: there is no sensor dsk; did you mean disk?"),
        (["sensor", "add", "disk"], 1, "monserver: there is a sensor 'disk' already"),
        (["alert", "add", "x"], 1, "somebody must be told"),
        (["alert", "set", "x", "--delay", "1s"], 1, "there is no alert 'x'; monserver alert list names them all"),
        (["override", "remove", "x"], 1, "there is no override 'x'"),
        (["report", "add", "x", "--mail", "a@b.org"], 2, "Missing option '--period'"),
        (["probe", "add", "x", "disk", "--warning", "hot"], 2, "Invalid value for '--warning': \"hot\" is no range"),
        (["host", "add", "x", "a", "--port", "x"], 2, "Invalid value for '--port'"),
        (["host", "add", "x", "a:1"], 2, "Invalid value for 'ADDRESS'"),
        (["apply", "none.toml"], 74, "there is no file none.toml"),
        (["import", "none.db"], 74, "there is no file none.db"),
        (["import", "none.db", "--timezone", "Nope/Zone"], 2, "is no time zone"),
        (["export", "-c", "none.cfg"], 78, "there is no such file"),
    ],
)
def test_what_cannot_be_is_told(monserver: Terminal, words: list[str], code: int, message: str) -> None:
    """1 for an answer that is no, 2 for what was typed wrong, 74 for a file that is not there."""
    monserver("sensor", "add", "disk")
    done = monserver(*words)

    assert (done.code, done.out) == (code, "")
    assert message in done.err


def test_a_slip_is_noted(monserver: Terminal) -> None:
    """And taken all the same."""
    monserver("sensor", "add", "disk")
    done = monserver("probe", "add", "x", "disk", "--group", "web")

    assert (done.code, done.err) == (
        0,
        "added probe x\nnote: probe x groups: no host is in the group web (there is none yet)\n",
    )


def test_the_original_system_is_imported(monserver: Terminal) -> None:
    """Looked at first, then taken over, then there is nothing more to do."""
    path = old_file(monserver.directory)
    monserver("sensor", "add", "disk")
    tried, done, again = (
        monserver("import", path, "--dry-run"),
        monserver("import", path),
        monserver("import", path),
    )

    assert (tried.code, done.code, again.code) == (0, 0, 0)
    assert tried.out == done.out
    assert '+ [schedule.every-5m]\n    + every = "5m"\n' in done.out
    assert "8 readings would be looked at" in tried.err
    assert "note: intervals are taken as minutes" in done.err
    assert "5 readings taken over\n" in done.err
    assert (again.out, "0 readings taken over, 5 were here already" in again.err) == ("", True)
    assert monserver("import", path, "--timezone", "Mars").code == 2
