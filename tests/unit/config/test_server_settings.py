"""server.cfg as frozen, validated records."""

from __future__ import annotations

from pathlib import Path

import pytest

from monagent.config.server_settings import load
from monagent.errors import ConfigError

from .conftest import Write


def told(path: Path) -> list[str]:
    """The problems that the file has, each without its directory."""
    with pytest.raises(ConfigError) as caught:
        load(path)
    return [str(problem).removeprefix(f"{path.parent}/") for problem in caught.value.problems]


def test_a_missing_file_means_all_defaults(tmp_path: Path) -> None:
    """A server starts without any configuration."""
    settings = load(tmp_path / "server.cfg")

    assert (settings.server.host, settings.server.port, settings.server.url) == ("127.0.0.1", 8081, None)
    assert settings.database.url == f"sqlite:///{tmp_path}/monitor.db"
    assert settings.sensor.source_dir == tmp_path / "packages"
    assert (settings.mail.host, settings.mail.port, settings.mail.security) == ((("localhost", 0),), 25, "none")
    assert not (tmp_path / "server.cfg").exists()


def test_everything_can_be_set(write: Write) -> None:
    """Each option of each section."""
    settings = load(
        write("""
            [server]
            host = ::1
            port = 0
            url = http://monitor.example.org/
            [database]
            url = postgresql+psycopg://u@h/d
            [sensor]
            source_dir = /srv/packages
            [mail]
            host = mx
            port = 587
            security = starttls
        """)
    )

    assert (settings.server.host, settings.server.port, settings.server.url) == (
        "::1",
        0,
        "http://monitor.example.org/",
    )
    assert (settings.database.url, settings.sensor.source_dir) == ("postgresql+psycopg://u@h/d", Path("/srv/packages"))
    assert (settings.mail.host, settings.mail.port, settings.mail.security) == ((("mx", 0),), 587, "starttls")


@pytest.mark.parametrize(
    ("host", "port", "url"),
    [
        ("127.0.0.1", 8081, "http://127.0.0.1:8081/xmlrpc/"),
        ("::1", 9, "http://[::1]:9/xmlrpc/"),
        ("web1", 80, "http://web1:80/xmlrpc/"),
    ],
)
def test_the_url_is_made_of_host_and_port(tmp_path: Path, host: str, port: int, url: str) -> None:
    """Where it was not given."""
    assert load(tmp_path / "server.cfg").url_at(host, port) == url


def test_a_given_url_goes_first(write: Write) -> None:
    """Behind a proxy host and port say nothing."""
    assert load(write("[server]\nurl = https://m/x\n")).url_at("127.0.0.1", 1) == "https://m/x"


def test_all_problems_are_told_together_in_the_order_of_the_file(write: Write) -> None:
    """With hints."""
    path = write("[servr]\n[mail]\nport = 0\n[server]\nprt = 1\nport = x\n[database]\nurl = monitor.db\n[backup:x]\n")

    assert told(path) == [
        "client.cfg:1 [servr]: unknown section; did you mean server?",
        'client.cfg:3 [mail] port: "0" is not a whole number from 1 to 65535',
        "client.cfg:5 [server] prt: unknown option; did you mean port?",
        'client.cfg:6 [server] port: "x" is not a whole number from 0 to 65535',
        'client.cfg:8 [database] url: "monitor.db" is not a database URL (example: sqlite:///monitor.db)',
        "client.cfg:9 [backup:x]: unknown section (known: server, database, sensor, agents, retention, metrics, mail)",
    ]


@pytest.mark.parametrize("url", ["nonsense", "ftp://a/", "monitor.example.org:8081"])
def test_a_url_that_no_agent_could_use_is_a_problem(write: Write, url: str) -> None:
    """The server hands it to agents, which refuse it."""
    (problem,) = told(write(f"[server]\nurl = {url}\n"))

    assert problem.startswith("client.cfg:2 [server] url: ")
