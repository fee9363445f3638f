"""`monagent init`, `check-config` and `config`, and how the file is found."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tests.support.authority import Authority
from tests.unit.cli.program import as_nobody, monagent

STOCK = {"cpu", "disk", "file", "http", "load", "memory", "network", "processes", "tcp", "uptime"}


# -- init ---------------------------------------------------------------------------------------------------------


def test_init_makes_a_directory_that_an_agent_can_be_run_from(tmp_path: Path) -> None:
    """A valid, commented file and the stock sensors, ready to run; the talk is on stderr."""
    done = monagent("init", tmp_path / "a" / "b", "--url", "http://monitor.example.org:8081/xmlrpc/")
    config = tmp_path / "a" / "b" / "client.cfg"

    assert (done.returncode, done.stdout) == (0, "")
    assert f"next: monagent run -c {config}" in done.stderr
    assert "\nurl = http://monitor.example.org:8081/xmlrpc/\n" in config.read_text()
    assert {path.name for path in (config.parent / "sensors").iterdir()} == STOCK
    assert (config.parent / "sensors_backup").is_dir()
    assert monagent("check-config", "-c", config).returncode == 0
    ran = monagent("sensor", "run", "uptime", "-c", config)
    assert ran.returncode == 0, ran.stderr
    assert float(ran.stdout) > 0


def test_init_keeps_what_is_there(tmp_path: Path) -> None:
    """A second time only what is missing is made."""
    monagent("init", tmp_path)
    (tmp_path / "client.cfg").write_text("mine")
    (tmp_path / "sensors" / "disk" / "check").write_text("mine")
    (tmp_path / "sensors" / "load" / "check").unlink()
    (tmp_path / "sensors" / "load").rmdir()
    done = monagent("init", tmp_path)

    assert done.returncode == 0
    assert f"kept {tmp_path}/client.cfg" in done.stderr
    assert "copied 1 sensors: load" in done.stderr
    assert (tmp_path / "client.cfg").read_text() == "mine"
    assert (tmp_path / "sensors" / "disk" / "check").read_text() == "mine"
    assert "copied 0 sensors: all were there" in monagent("init", tmp_path).stderr


def test_init_into_a_file_is_a_mistake_of_usage(tmp_path: Path) -> None:
    """2."""
    (tmp_path / "file").touch()

    assert monagent("init", tmp_path / "file").returncode == 2


def test_init_below_a_file_is_an_error_of_the_system(tmp_path: Path) -> None:
    """74, with the path."""
    (tmp_path / "file").touch()
    done = monagent("init", tmp_path / "file" / "agent")

    assert (done.returncode, done.stdout) == (74, "")
    assert "Traceback" not in done.stderr
    assert "file" in done.stderr


@pytest.mark.skipif(os.geteuid() != 0, reason="root makes what an ordinary user may not touch")
def test_init_where_one_may_not_write_is_a_matter_of_permission(tmp_path: Path) -> None:
    """77, with the path."""
    done = as_nobody("init", "/usr/no-permission")

    assert (done.returncode, done.stdout) == (77, "")
    assert done.stderr == "monagent: /usr/no-permission: no permission\n"


# -- check-config -------------------------------------------------------------------------------------------------

BAD = """\
; a comment
[sensor]
timeout = soon
tiemout = 5
[monitor]
url = nonsense
[agnet]
port = 8080
[security]
allow = 10.0.0.0/33
"""


def test_a_good_file_has_no_problems(config: Path) -> None:
    """0; and with --json the same for programs."""
    done, for_programs = monagent("check-config", "-c", config), monagent("check-config", "-c", config, "--json")

    assert (done.returncode, done.stdout, done.stderr) == (0, "", f"{config}: no problems\n")
    assert for_programs.returncode == 0
    assert json.loads(for_programs.stdout) == {"ok": True, "problems": [], "hints": []}


def test_all_problems_are_told_at_once_with_their_lines(tmp_path: Path) -> None:
    """78; file, line, section, option, what is wrong and what would do."""
    bad = tmp_path / "client.cfg"
    bad.write_text(BAD)
    done = monagent("check-config", "-c", bad)

    assert (done.returncode, done.stdout) == (78, "")
    assert done.stderr.splitlines() == [
        f'{bad}:3 [sensor] timeout: "soon" is not a duration (examples: 30, 1.5s, 10m, 26h, 7d)',
        f"{bad}:4 [sensor] tiemout: unknown option; did you mean timeout?",
        f'{bad}:6 [monitor] url: "nonsense" is not an http or https URL (example: http://monitor.example.org:8081/xmlrpc/)',
        f"{bad}:7 [agnet]: unknown section; did you mean agent?",
        f'{bad}:10 [security] allow: "10.0.0.0/33" is not a network (example: 10.0.0.0/8)',
    ]


def test_problems_can_be_had_as_json(tmp_path: Path) -> None:
    """On stdout, and the exit code is the same."""
    bad = tmp_path / "client.cfg"
    bad.write_text(BAD)
    done = monagent("check-config", "-c", bad, "--json")
    told = json.loads(done.stdout)

    assert (done.returncode, done.stderr, told["ok"]) == (78, "", False)
    assert [(one["line"], one["section"], one["option"]) for one in told["problems"]] == [
        (3, "sensor", "timeout"), (4, "sensor", "tiemout"), (6, "monitor", "url"), (7, "agnet", ""),
        (10, "security", "allow"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param("", "[monitor] url: must be given", id="empty"),
        pytest.param("url = x\n", ":1: a section like [sensor] must come before", id="no section"),
        pytest.param("[monitor]\nurl\n", ":2", id="no value"),
        pytest.param("[monitor]\nurl = http://a/\nurl = http://b/\n", ":3 [monitor] url: stands twice", id="twice"),
        pytest.param("[monitor]\nurl = http://%(host)s/\n", ":2 [monitor] url: refers to %(host)s", id="reference"),
        pytest.param("[monitor]\nurl = http://a/\n[agent]\nhost = 0.0.0.0\n", ":4 [agent] host:", id="exposed"),
        pytest.param("[monitor]\nurl = http://a/\n[agent]\nworkers = 0\n", ":4 [agent] workers:", id="out of bounds"),
    ],
)
def test_each_kind_of_mistake_is_found(tmp_path: Path, text: str, message: str) -> None:
    """With the place where it stands."""
    bad = tmp_path / "client.cfg"
    bad.write_text(text)
    done = monagent("check-config", "-c", bad)

    assert done.returncode == 78
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_a_file_that_is_not_there_or_no_text_is_told(tmp_path: Path) -> None:
    """78, by every command that needs it."""
    (tmp_path / "binary.cfg").write_bytes(b"\xff\xfe\x00")
    for command in (("check-config",), ("config",), ("run",), ("sensor", "list"), ("spool",)):
        missing = monagent(*command, "-c", tmp_path / "missing.cfg")
        binary = monagent(*command, "-c", tmp_path / "binary.cfg")

        assert (missing.returncode, binary.returncode) == (78, 78)
        assert "missing.cfg" in missing.stderr
        assert (
            "cannot be read: there is no such file; monagent init DIR writes one, -c FILE names another"
            in missing.stderr
        )
        assert "is not UTF-8 text" in binary.stderr
        assert "Traceback" not in missing.stderr + binary.stderr


@pytest.mark.skipif(os.geteuid() != 0, reason="root makes what an ordinary user may not read")
@pytest.mark.parametrize("command", ["check-config", "config", "run", "spool"])
def test_a_file_that_may_not_be_read_is_told(command: str) -> None:
    """78 with the reason, as for any other file that cannot be used."""
    secret = Path("/tmp") / f"monagent-unreadable-{os.getpid()}-{command}.cfg"
    secret.touch(0o600)
    try:
        done = as_nobody(command, "-c", secret)
    finally:
        secret.unlink()

    assert (done.returncode, done.stdout) == (78, "")
    assert f"{secret}" in done.stderr
    assert "cannot be read: Permission denied" in done.stderr


def test_the_files_of_tls_are_checked_like_the_rest(config: Path) -> None:
    """Each problem at the line that names the file; 78, as at the start."""
    ca = Authority(config.parent)
    pair, expired = ca.issue("a"), ca.expired("b")
    expired.key.chmod(0o644)
    good = f"{config.read_text()}[security]\ncertificate = {pair.certificate.name}\nkey = {pair.key.name}\n"
    config.write_text(good)
    fine = monagent("check-config", "-c", config)
    config.write_text(good.replace(pair.key.name, expired.key.name) + "client_ca = nowhere.pem\n")
    done, for_programs = monagent("check-config", "-c", config), monagent("check-config", "-c", config, "--json")

    assert (fine.returncode, fine.stderr) == (0, f"{config}: no problems\n")
    assert (done.returncode, done.stdout) == (78, "")
    assert done.stderr.splitlines() == [
        f"{config}:7 [security] key: {expired.key} holds a key and can be read by others: chmod 600 {expired.key} (and make a new key)",
        f"{config}:8 [security] client_ca: there is no file {config.parent}/nowhere.pem",
    ]
    assert [(one["line"], one["option"]) for one in json.loads(for_programs.stdout)["problems"]] == [
        (7, "key"), (8, "client_ca"),
    ]  # fmt: skip


# -- config -------------------------------------------------------------------------------------------------------


def test_the_effective_settings_are_shown(config: Path) -> None:
    """What the file says, the defaults for the rest, and paths in full."""
    key = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
    config.write_text(config.read_text() + f"workers = 3\n[sensor:disk]\ntimeout = 2m\n[sensor]\npublic_key = {key}\n")
    done, for_programs = monagent("config", "-c", config), monagent("config", "-c", config, "--json")
    shown = json.loads(for_programs.stdout)

    assert (done.returncode, done.stderr, for_programs.returncode) == (0, "", 0)
    assert "\n[agent]\nhost = 127.0.0.1\n" in done.stdout
    assert "\nworkers = 3\n" in done.stdout
    assert f"\npath = {config.parent}/sensors\n" in done.stdout
    assert f"\npublic_key = {key}\n" in done.stdout
    assert shown["sensor"]["public_key"] == key
    assert shown["agent"]["workers"] == 3
    assert shown["sensor:disk"]["timeout"] == 120
    assert shown["security"]["allow"] == "127.0.0.0/8 ::1/128"


def test_the_shown_settings_are_a_valid_file(config: Path) -> None:
    """What is printed means what was read."""
    limits = "memory = none\ncpu = 5\nnice = -1\nionice = best-effort:7\n"
    config.write_text(f"{config.read_text()}[sensor]\n{limits}[sensor:disk]\nnice = -1\nionice = none\n")
    shown = config.parent / "shown.cfg"
    shown.write_text(monagent("config", "-c", config).stdout)

    assert monagent("check-config", "-c", shown).returncode == 0
    assert monagent("config", "-c", shown, "--json").stdout == monagent("config", "-c", config, "--json").stdout


def test_the_file_is_found_by_the_option_then_the_environment_then_here(config: Path, tmp_path: Path) -> None:
    """In this order."""
    other = tmp_path / "other"
    other.mkdir()
    (other / "client.cfg").write_text("[monitor]\nurl = http://here/\n")

    def url(*arguments: str | Path, **environment: str) -> str:
        shown = json.loads(monagent("config", "--json", *arguments, cwd=other, **environment).stdout)
        return str(shown["monitor"]["url"])

    assert url() == "http://here/"
    assert url(MONAGENT_CONFIG=str(config)).startswith("http://127.0.0.1")
    assert url("-c", other / "client.cfg", MONAGENT_CONFIG=str(config)) == "http://here/"
    assert url("--config", config).startswith("http://127.0.0.1")
