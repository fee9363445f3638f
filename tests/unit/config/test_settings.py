"""client.cfg as frozen, validated records."""

from __future__ import annotations

import dataclasses
import socket
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest

from monagent.config.manager import ConfigManager
from monagent.config.sections import NAMED_SECTIONS, PLAIN_SECTIONS
from monagent.config.settings import Settings, load, settings_from
from monagent.config.table import options_of
from monagent.errors import ConfigError

from .conftest import Write

URL = "http://monitor.example.org:8081/xmlrpc/"
MINIMAL = f"[monitor]\nurl = {URL}\n"
EVERYTHING = (
    f"{MINIMAL}[sensor:disk]\n[backup:home]\nsource = /home\ntarget = /backup/home\n[mail:morning]\nto = a@b.c\n"
    "[alert:full]\nsensor = disk\ncritical = ~:90\nmail = morning\n"
)


def told(path: Path) -> list[str]:
    """The problems that the file has, each without its directory."""
    with pytest.raises(ConfigError) as caught:
        load(path)
    return [str(problem).removeprefix(f"{path.parent}/") for problem in caught.value.problems]


def section_of(settings: Settings, name: str) -> Any:
    """The record of a section of `EVERYTHING`."""
    groups = {
        "sensor": settings.sensors,
        "backup": settings.backups,
        "mail": settings.reports,
        "alert": settings.alerts,
    }
    prefix, colon, rest = name.partition(":")
    return groups[prefix][rest] if colon else getattr(settings, name)


BASE = Path("@")
"""Stands for the file's directory."""

DEFAULTS: dict[str, dict[str, Any]] = {
    "sensor": {
        "executable": "check", "help": "options", "path": BASE / "sensors", "backup": BASE / "sensors_backup", "keep_backups": 5,
        "timeout": 30.0, "output_limit": 65536, "user": "", "public_key": b"", "memory": 1024**3, "processes": 4096, "files": 1024,
        "cpu": -1, "file_size": 1024**3, "nice": 0, "ionice": -1,
    },
    "sensor:disk": {
        "command": (), "format": "number", "overlap": False, "timeout": None, "output_limit": None, "user": None, "memory": None,
        "processes": None, "files": None, "cpu": None, "file_size": None, "nice": None, "ionice": None,
    },
    "monitor": {"timeout": 30.0, "name": "", "probation": 600.0, "certificate": None, "key": None, "ca": None, "url": URL},
    "agent": {
        "host": "127.0.0.1", "port": 8080, "state": BASE / "var", "log": None, "log_format": "text", "grace": 10.0,
        "user": "", "workers": 8, "journal_limit": 256 * 1024**2,
    },
    "security": {
        "allow": (ip_network("127.0.0.0/8"), ip_network("::1/128")), "certificate": None, "key": None, "client_ca": None, "peers": (),
        "insecure": False, "direct_listing": True,
    },
    "backup:home": {
        "source": Path("/home"), "target": Path("/backup/home"), "exclude": (), "compare": "content", "delete": False,
        "max_delete": "10%", "max_shrink": "30%", "max_age": 26 * 3600.0, "reflink": False, "mail": ("", ""), "bin": None,
        "bin_age": 30 * 86400.0, "nice": 10, "ionice": -1, "bandwidth": -1,
    },
    "mail": {
        "host": (("localhost", 0),), "port": 25, "security": "none", "user": "", "password_file": None, "sender": ("", ""), "ca": None,
        "timeout": 30.0, "cap": 100, "templates": None,
    },
    "mail:morning": {"to": ("a@b.c",), "subject": "", "template": "", "language": "en", "period": 86400.0},
    "alert:full": {
        "sensor": "disk", "arguments": (), "warning": "", "critical": "~:90", "for_": 1, "hysteresis": 0.0, "remind": 0.0,
        "quiet": None, "cap": 10, "after": 1800.0, "mail": "morning",
    },
}  # fmt: skip


@pytest.mark.parametrize("section", DEFAULTS)
def test_every_option_has_its_documented_default(write: Write, section: str) -> None:
    """All of them, and no option besides."""
    path = write(EVERYTHING)
    record = section_of(load(path), section)
    values = {field.name: getattr(record, field.name) for field in dataclasses.fields(record)}
    expected = {
        name: path.parent / value.relative_to(BASE) if isinstance(value, Path) and value.is_relative_to(BASE) else value
        for name, value in DEFAULTS[section].items()
    }

    assert values == expected


def test_only_the_servers_url_must_be_given(write: Write) -> None:
    """A file of two lines is enough."""
    settings = load(write(MINIMAL))

    assert settings.monitor.url == URL
    assert (settings.sensors, settings.backups, settings.reports, settings.alerts) == ({}, {}, {}, {})


@pytest.mark.parametrize("text", ["", "[sensor]\n", "[monitor]\n", "[monitor]\nurl =\n"])
def test_without_the_servers_url_nothing_goes(write: Write, text: str) -> None:
    """The problem says what is missing and how it looks."""
    (problem,) = told(write(text))

    assert "[monitor] url: " in problem
    assert "http://monitor.example.org:8081/xmlrpc/" in problem


def test_a_missing_file_is_a_problem(tmp_path: Path) -> None:
    """The agent's file must be there."""
    assert told(tmp_path / "client.cfg") == [
        "client.cfg: cannot be read: there is no such file; monagent init DIR writes one, -c FILE names another"
    ]


def test_the_host_name_is_the_systems_unless_given(write: Write) -> None:
    """What the server knows this host by."""
    assert load(write(MINIMAL)).host_name == socket.gethostname()
    assert load(write(f"{MINIMAL}name = web1\n")).host_name == "web1"


def test_relative_paths_start_at_the_file(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wherever the agent is started."""
    path = write("""
        [sensor]
        path = a
        backup = /b
        [monitor]
        url = https://m/
        ca = ca.pem
        [agent]
        state = ../var
        [sensor:x]
        command = plugins/check -a b/c
        [backup:j]
        source = src
        target = /dst
        [mail]
        password_file = secret
    """)
    monkeypatch.chdir("/")
    settings, base = load(path), path.parent

    assert (settings.sensor.path, settings.sensor.backup) == (base / "a", Path("/b"))
    assert (settings.monitor.ca, settings.agent.state) == (base / "ca.pem", base / "../var")
    assert settings.sensors["x"].command == (str(base / "plugins/check"), "-a", "b/c")
    assert (settings.backups["j"].source, settings.backups["j"].target) == (base / "src", Path("/dst"))
    assert settings.mail.password_file == base / "secret"
    assert settings.file == path


def test_a_file_named_relatively_is_absolute_in_the_settings(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    """A daemon may leave the directory later."""
    path = write(MINIMAL)
    monkeypatch.chdir(path.parent)
    settings = load(path.name)

    assert settings.file == path
    assert settings.sensor.path == path.parent / "sensors"


def test_references_work_everywhere(write: Write) -> None:
    """Within a section and from the defaults."""
    settings = load(
        write(f"[DEFAULT]\nroot = /srv\n{MINIMAL}[sensor]\npath = %(root)s/sensors\nbackup = %(path)s.old\n")
    )

    assert (settings.sensor.path, settings.sensor.backup) == (Path("/srv/sensors"), Path("/srv/sensors.old"))


def test_records_are_frozen(write: Write) -> None:
    """What was validated stays as it is."""
    settings = load(write(MINIMAL))

    with pytest.raises(dataclasses.FrozenInstanceError):
        settings.agent.port = 1  # type: ignore[misc]


def test_an_opened_file_can_be_validated(write: Write) -> None:
    """With changes that were not saved yet."""
    manager = ConfigManager(write(MINIMAL))
    manager.agent.port = 9

    assert settings_from(manager).agent.port == 9


def test_all_problems_are_told_together_in_the_order_of_the_file(write: Write) -> None:
    """One run of check-config is enough."""
    path = write("""
        [sensr]
        path = x
        [sensor]
        timeout = soon
        pth = x
        [monitor]
        url = ftp://a
        [agent]
        port = 70000
        exclude = %(nowhere)s
        host = %(nobody)s
        [backup:j]
        source = a
        delete = perhaps
        [sensor:x]
        command = 'a
        [zzz]
        """)

    assert told(path) == [
        "client.cfg:1 [sensr]: unknown section; did you mean sensor?",
        'client.cfg:4 [sensor] timeout: "soon" is not a duration (examples: 30, 1.5s, 10m, 26h, 7d)',
        "client.cfg:5 [sensor] pth: unknown option; did you mean path?",
        'client.cfg:7 [monitor] url: "ftp://a" is not an http or https URL (example: http://monitor.example.org:8081/xmlrpc/)',
        'client.cfg:9 [agent] port: "70000" is not a whole number from 0 to 65535',
        "client.cfg:10 [agent] exclude: unknown option (known: host, port, state, log, log_format, grace, user, workers, journal_limit)",
        "client.cfg:11 [agent] host: refers to %(nobody)s, which is neither in this section nor in [DEFAULT]",
        "client.cfg:12 [backup:j] target: must be given: where its copy lives",
        'client.cfg:14 [backup:j] delete: "perhaps" is neither yes nor no',
        "client.cfg:16 [sensor:x] command: has an unbalanced quote",
        "client.cfg:17 [zzz]: unknown section (known: sensor, monitor, agent, security, mail, sensor:NAME, backup:NAME, mail:NAME, alert:NAME)",
    ]


def test_what_no_option_can_know_alone_is_told_with_the_rest(write: Write) -> None:
    """A bad value elsewhere does not hide it until the next run."""
    path = write(
        f"{MINIMAL}timeout = soon\n[sensor]\nexecutable = a/b\n[sensor:-x]\n[agent]\nhost = 0.0.0.0\n[security]\nallow = 10.0.0.0/8\n"
    )

    assert [problem.partition(":")[2].split(":", 1)[0] for problem in told(path)] == [
        "3 [monitor] timeout", "5 [sensor] executable", "6 [sensor", "8 [agent] host",
    ]  # fmt: skip


BAD: dict[str, dict[str, list[str]]] = {
    "sensor": {
        "executable": ["", "a/b", "../check"], "path": [""], "backup": [""], "keep_backups": ["-1", "1001", "few"],
        "timeout": ["0", "soon"], "output_limit": ["0", "-1", "much"], "public_key": ["x", "A" * 43 + "=", "A" * 44],
        "memory": ["0", "much", ""], "processes": ["0", "1000001", ""], "files": ["7", "all", ""], "cpu": ["0", "1m", ""],
        "file_size": ["0", "No", ""], "nice": ["20", "-21", "none", ""], "ionice": ["low", "idle:1", "best-effort:8"],
    },
    "sensor:disk": {
        "command": ["check", "'/a"], "format": ["xml", ""], "overlap": ["maybe", ""], "timeout": ["0", "x"], "output_limit": ["0", "x"],
        "memory": ["0"], "processes": ["0"], "files": ["7"], "cpu": ["0"], "file_size": ["0"], "nice": ["20"], "ionice": ["low"],
    },
    "monitor": {"url": ["", "a", "ftp://a", "http://u:p@a/", "http://a:0/"], "timeout": ["0", ""], "probation": ["0", "never"]},
    "agent": {
        "port": ["-1", "65536", "http", ""], "state": [""],
        "log_format": ["xml", ""], "grace": ["-1", "soon", ""],
        "workers": ["0", "257", "many", ""], "journal_limit": ["0", "5X", ""],
    },
    "security": {
        "allow": ["all", "10.0.0.1/8", "10.0.0.0/33"], "insecure": ["maybe"], "direct_listing": ["", "never"],
        "key": ["a"], "client_ca": ["a"], "peers": ["a"],
    },
    "backup:home": {
        "source": [""], "target": [""], "compare": ["hash", ""], "delete": ["all"], "max_delete": ["x", "101%", "-1"],
        "max_shrink": ["", "200%"], "max_age": ["0", "old"], "reflink": ["auto"], "mail": ["nobody", "morning often", "nobody always"],
    },
    "mail": {
        "port": ["0", "65536", "smtp"], "security": ["ssl", ""], "host": ["", "a:b", "a:0", "[x]:1", "a/b"], "sender": ["me", "A <b>"],
        "timeout": ["0"], "cap": ["3", "many"],
    },
    "mail:morning": {
        "to": ["root", "a@b.c, d@", "a@b.c;d@e.f"], "template": ["a/b", "../alert"], "language": ["de", ""], "period": ["0"],
    },
    "alert:full": {
        "for": ["0", "1001", "long"], "after": ["0", "late"], "sensor": ["", "a/b"], "arguments": ["'"], "warning": ["x", "9:1"],
        "critical": ["x"], "hysteresis": ["-1", "x"], "remind": ["often"], "quiet": ["night", "9-10"], "cap": ["3"],
        "mail": ["", "evening"],
    },
}  # fmt: skip


@pytest.mark.parametrize(
    ("section", "option", "value"),
    [(section, option, value) for section, options in BAD.items() for option, bad in options.items() for value in bad],
)
def test_every_options_bad_value_is_told_at_its_line(write: Write, section: str, option: str, value: str) -> None:
    """One problem, at the line of the option."""
    path = write(EVERYTHING)
    manager = ConfigManager(path)
    manager.set(section, option, value)
    manager.save_config()
    (problem,) = told(path)

    assert problem.startswith(f"client.cfg:{ConfigManager(path).line(section, option)} [{section}] {option}: ")


@pytest.mark.parametrize("section", DEFAULTS)
def test_every_sections_unknown_option_gets_a_hint(write: Write, section: str) -> None:
    """The nearest of the options of that section."""
    prefix = section.partition(":")[0] + ":"
    cls = NAMED_SECTIONS[prefix] if ":" in section else PLAIN_SECTIONS[section]
    known = next(iter(options_of(cls).values())).name
    path = write(EVERYTHING)
    manager = ConfigManager(path)
    manager.set(section, f"{known}x", "1")
    manager.save_config()

    assert [problem.partition("]")[2] for problem in told(path)] == [
        f" {known}x: unknown option; did you mean {known}?"
    ]


@pytest.mark.parametrize("command", ["", "command = /usr/lib/nagios/plugins/check_load -w 5,4,3 -c 10,6,4\n"])
def test_a_sensor_may_be_a_nagios_style_plug_in(write: Write, command: str) -> None:
    """A program elsewhere, or one in its directory."""
    assert load(write(f"{MINIMAL}[sensor:load]\nformat = nagios\n{command}")).sensors["load"].format == "nagios"


@pytest.mark.parametrize("name", ["-x", ".x", "a b", "a/b", "é", "x" * 65, " x"])
def test_a_sensors_section_needs_a_sensors_name(write: Write, name: str) -> None:
    """What can be a directory below sensors/, and nothing else."""
    (problem,) = told(write(f"{MINIMAL}[sensor:{name}]\n"))

    assert problem.startswith(f"client.cfg:3 [sensor:{name}]: is not a sensor's name")


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "::1", "localhost"])
def test_loopback_needs_no_consent(write: Write, host: str) -> None:
    """Nobody else can reach it."""
    assert load(write(f"{MINIMAL}[agent]\nhost = {host}\n")).agent.host == host


EXPOSED = f"{MINIMAL}[agent]\nhost = 0.0.0.0\n[security]\nallow = 192.0.2.10\n"


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "web1", ""])
def test_listening_beyond_loopback_needs_tls_or_consent(write: Write, host: str) -> None:
    """Both ways are told; either will do."""
    exposed = EXPOSED.replace("0.0.0.0", host)
    (problem,) = told(write(exposed))

    assert problem.startswith("client.cfg:4 [agent] host: ")
    assert "[security] certificate" in problem
    assert "insecure = yes" in problem
    for protection in ("insecure = yes\n", "certificate = a.pem\nkey = a.key\n", "certificate = both.pem\n"):
        assert load(write(exposed + protection)).agent.host == host


@pytest.mark.parametrize("allow", ["", "127.0.0.0/8 ::1", "127.0.0.1", "::ffff:127.0.0.1"])
@pytest.mark.parametrize("protection", ["certificate = a.pem", "insecure = yes"])
def test_listening_for_nobody_makes_no_sense(write: Write, allow: str, protection: str) -> None:
    """Who listens beyond loopback must let somebody in."""
    (problem,) = told(write(f"{EXPOSED.replace('192.0.2.10', allow)}{protection}\n"))

    assert problem.startswith("client.cfg:6 [security] allow: lets nobody in but this host")
    assert "example: 192.0.2.10" in problem


def test_all_that_listening_needs_is_told_at_once(write: Write) -> None:
    """Also where [security] is not there yet."""
    assert [problem.split(": ")[0] for problem in told(write(f"{MINIMAL}[agent]\nhost = ::\n"))] == [
        "client.cfg [security] allow",
        "client.cfg:4 [agent] host",
    ]


@pytest.mark.parametrize("allow", ["127.0.0.0/8 192.0.2.10", "0.0.0.0/0", "::/0", "10.0.0.0/8"])
def test_whoever_else_is_let_in_will_do(write: Write, allow: str) -> None:
    """It is a matter of trust, and of the certificate."""
    assert load(write(f"{EXPOSED.replace('192.0.2.10', allow)}certificate = a.pem\n")).security.certificate


def test_tls_can_be_served_on_loopback(write: Write) -> None:
    """With everything that belongs to it; the files are looked at by those who use them."""
    path = write(
        f"{MINIMAL}[security]\ncertificate = a.pem\nkey = /b\nclient_ca = c\npeers = monitor.example.org, 192.0.2.10\n"
    )
    security = load(path).security

    assert (security.certificate, security.key, security.client_ca) == (
        path.parent / "a.pem",
        Path("/b"),
        path.parent / "c",
    )
    assert security.peers == ("monitor.example.org", "192.0.2.10")


@pytest.mark.parametrize(
    ("lines", "option", "hint"),
    [
        ("key = a", "key", "needs a certificate"),
        ("client_ca = a", "client_ca", "needs a certificate"),
        ("peers = a", "peers", "needs a certificate"),
        ("certificate = a\npeers = b", "peers", "needs client_ca"),
        ("certificate = a\nclient_ca = b\npeers = c *.example.org", "peers", "written in full"),
        ("certificate = a\nclient_ca = b\npeers = *", "peers", "written in full"),
        ("certificate = a\ninsecure = yes", "insecure", "leave one of them out"),
    ],
)
def test_options_of_tls_that_do_not_go_together_are_told(write: Write, lines: str, option: str, hint: str) -> None:
    """A host would be less safe than its file says."""
    path = write(f"{MINIMAL}[security]\n{lines}\n")
    (problem,) = told(path)

    assert problem.startswith(f"client.cfg:{ConfigManager(path).line('security', option)} [security] {option}: ")
    assert hint in problem


def test_a_sensors_own_limits_are_read(write: Write) -> None:
    """What stands in its section, and only that."""
    one = load(
        write(f"{MINIMAL}[sensor:disk]\ntimeout = 5m\noutput_limit = 1K\nuser = nobody\noverlap = yes\n")
    ).sensors["disk"]

    assert (one.timeout, one.output_limit, one.user, one.overlap) == (300.0, 1024, "nobody", True)


def test_patterns_stand_one_a_line(write: Write) -> None:
    """With comments after them."""
    path = write(f"{MINIMAL}[backup:j]\nsource = a\ntarget = b\nexclude =\n  *.tmp ; temporary\n  my docs/\n  !keep\n")

    assert load(path).backups["j"].exclude == ("*.tmp", "my docs/", "!keep")


MAILS = f"{MINIMAL}[mail:ops]\nto = a@b.c\n"


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ("[mail:x]\nsubject = s\n", "[mail:x] to: must be given"),
        ("[mail:test]\nto = a@b.c\n", "[mail:test]: cannot be a report's name: `monagent mail test` is something else"),
        ("[mail:a b]\nto = a@b.c\n", "[mail:a b]: is not a report's name"),
        ("[alert:x]\nsensor = load\nmail = ops\n", "[alert:x] critical: or warning must be given"),
        ("[alert:x]\nsensor = load\ncritical = 5\n", "[alert:x] mail: must be given: the report that it is mailed by (known: ops)"),
        ("[alert:x]\ncritical = 5\nmail = ops\n", "[alert:x] sensor: must be given"),
        ("[alert:server]\nafter = 5m\nmail = ops\nsensor = load\n", "[alert:server]: is about the monitoring server alone"),
        ("[mail:nobody]\n[alert:server]\nmail = nobody\n", "[alert:server] mail: nobody would get it: [mail:nobody] has no to"),
        ("[mail:nobody]\n[backup:b]\nsource = /a\ntarget = /b\nmail = nobody\n", "[backup:b] mail: nobody would get it"),
        ("[mail]\nuser = me\n", "[mail] password_file: must be given: a login is a user and a password_file"),
    ],
)  # fmt: skip
def test_a_mail_that_nobody_could_get_is_told(write: Write, more: str, words: str) -> None:
    """Before the night in which it would be missed."""
    (problem,) = told(write(MAILS + more))

    assert words in problem


def test_the_frame_of_a_section_is_allowed(write: Write) -> None:
    """Nobody relies on it yet; check-config gives a hint."""
    settings = load(write(f"{MINIMAL}[mail:x]\nto =\n[alert:y]\nsensor =\nmail =\n"))

    assert (settings.reports["x"].to, settings.alerts["y"].mail) == ((), "")
