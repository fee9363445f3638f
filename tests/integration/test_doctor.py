"""`monagent doctor` and `monagent support-bundle` beside real agents, servers and mail servers that are not there."""

from __future__ import annotations

import json
import os
import socket
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.agent import AgentProcess, write_sensor
from tests.support.monitor import Monitor
from tests.support.ports import free_port

HELPFUL = '#!/bin/sh\n[ "$1" = options ] && { echo help; exit 0; }\necho 1\n'


@pytest.fixture
def agent(tmp_path: Path, monitor: Monitor) -> Iterator[AgentProcess]:
    """An agent's directory; nothing runs there yet."""
    one = AgentProcess(tmp_path / "agent", monitor.url)
    write_sensor(one.directory, "good", HELPFUL)
    yield one
    one.kill()


def examined(agent: AgentProcess) -> tuple[int, dict[str, dict[str, str]]]:
    """The exit code, and what was found by subject."""
    done = agent.command("doctor", "--json")
    return done.returncode, {one["subject"]: one for one in json.loads(done.stdout)["found"]}


def problem(found: dict[str, dict[str, str]], words: str) -> dict[str, str]:
    """The one thing whose subject holds these words; it must have a remedy exactly when it has a problem."""
    (one,) = (one for subject, one in found.items() if words in subject)
    assert bool(one["problem"]) == bool(one["remedy"])
    return one


def test_where_all_is_well_it_says_so(agent: AgentProcess) -> None:
    """Before the first start and beside the running agent."""
    code, found = examined(agent)
    assert (code, [one for one in found.values() if one["problem"]]) == (0, [])
    assert f"port {agent.port} can be listened on" in " ".join(found)
    agent.start()
    code, found = examined(agent)

    assert (code, [one for one in found.values() if one["problem"]]) == (0, [])
    assert f"the running agent (pid {agent.pid}) takes connections" in " ".join(found)


def test_an_occupied_port_is_told(agent: AgentProcess) -> None:
    """With how to find out by whom."""
    with socket.create_server(("127.0.0.1", agent.port)):
        code, found = examined(agent)

    assert code == 1
    assert "in use" in problem(found, "can be listened on")["problem"]
    assert "ss -ltnp" in problem(found, "can be listened on")["remedy"]


@pytest.mark.parametrize(
    ("url", "word", "remedy"),
    [
        ("http://127.0.0.1:{free}/xmlrpc/", "refused", "running"),
        ("http://no-such-host.invalid/xmlrpc/", "", "resolver"),
        ("http://127.0.0.1:{port}/elsewhere", "404", "path"),
    ],
)
def test_each_trouble_with_the_server_has_a_remedy_of_its_own(
    agent: AgentProcess, monitor: Monitor, url: str, word: str, remedy: str
) -> None:
    """A tired operator is not sent through all of them."""
    agent.edit(f"url = {monitor.url}", f"url = {url.format(free=free_port(), port=monitor.port)}")
    code, found = examined(agent)

    assert code == 1
    assert word in problem(found, "is well")["problem"]
    assert remedy in problem(found, "is well")["remedy"]


def test_a_server_that_cannot_come_here_is_told(agent: AgentProcess) -> None:
    """The agent listens on loopback, and the server is elsewhere."""
    text = agent.config.read_text().splitlines()
    agent.config.write_text("\n".join(["[monitor]", "url = http://192.0.2.1:9/xmlrpc/", "timeout = 0.2", *text[3:]]))
    _, found = examined(agent)

    assert "which only this host reaches" in problem(found, "can send commands here")["problem"]


def test_a_server_that_is_not_allowed_is_told(agent: AgentProcess) -> None:
    """With what to add."""
    text = agent.config.read_text().splitlines()
    agent.config.write_text(
        "\n".join(["[monitor]", "url = http://192.0.2.1:9/xmlrpc/", "timeout = 0.2", *text[3:], "host = 0.0.0.0"])
    )
    agent.config.write_text(agent.config.read_text() + "\n[security]\ninsecure = yes\nallow = 198.51.100.0/24\n")
    _, found = examined(agent)

    assert "192.0.2.1 is not in [security] allow" in problem(found, "can send commands here")["problem"]


def test_what_later_commands_need_is_tried_too(agent: AgentProcess, tmp_path: Path) -> None:
    """Directories of backups, and the mail server; only where they are configured."""
    (tmp_path / "source").mkdir()
    agent.config.write_text(
        agent.config.read_text()
        + f"[backup:nightly]\nsource = {tmp_path}/source\ntarget = {tmp_path}/nowhere/below\n"
        + f"[mail]\nhost = 127.0.0.1\nport = {free_port()}\n[mail:report]\nto = root@localhost\n"
    )
    code, found = examined(agent)

    assert code == 1
    assert "empty" in problem(found, "source")["problem"]
    assert "not mounted" in problem(found, "target")["problem"]
    assert "refused" in problem(found, "mail server")["problem"]


def test_a_broken_sensor_is_told(agent: AgentProcess) -> None:
    """By its self test."""
    write_sensor(agent.directory, "broken", "#!/no/such/interpreter\n")
    _, found = examined(agent)

    assert "interpreter" in problem(found, "sensor broken starts")["problem"]
    assert problem(found, "sensor good starts")["problem"] == ""


# -- the bundle ---------------------------------------------------------------------------------------------------


def test_a_support_bundle_holds_what_helps_and_no_secret(agent: AgentProcess, tmp_path: Path) -> None:
    """Readable by its maker alone."""
    secret = "hunter2-very-secret"
    (tmp_path / "pw").write_text(secret)
    (tmp_path / "pw").chmod(0o600)
    agent.config.write_text(
        agent.config.read_text()
        + f"[mail]\nhost = 127.0.0.1\nport = {free_port()}\nuser = me\npassword_file = {tmp_path}/pw\n[mail:report]\nto = a@b.c\n"
        + f"[sensor:db]\ncommand = /bin/echo --password {secret} --token={secret} -H db1\n"
    )
    agent.start()
    agent.proxy().cmd_submit_reading("t1", "good")
    target = tmp_path / "bundle.tar.gz"
    done = agent.command("support-bundle", str(target))
    assert (done.returncode, done.stdout.strip()) == (0, str(target))
    with tarfile.open(target) as archive:
        parts = {member.name.split("/")[1]: archive.extractfile(member).read().decode() for member in archive}  # type: ignore[union-attr]

    assert set(parts) == {"versions.json", "settings.txt", "doctor.txt", "journal.json", "log.txt"}
    assert not [name for name, text in parts.items() if secret in text]
    assert "command = /bin/echo (5 arguments)" in parts["settings.txt"]
    assert target.stat().st_mode & 0o777 == 0o600
    assert "CherryPy" in parts["versions.json"]


def test_a_support_bundle_can_be_had_of_a_broken_configuration(agent: AgentProcess, tmp_path: Path) -> None:
    """That is when one wants it; nothing is overwritten."""
    agent.edit("timeout = 5", "timeout = soon")
    target = tmp_path / "bundle.tar.gz"
    assert agent.command("support-bundle", str(target)).returncode == 0
    with tarfile.open(target) as archive:
        settings = archive.extractfile("monagent-support/settings.txt")
        assert settings is not None
        assert b"[monitor] timeout" in settings.read()
        versions = archive.extractfile("monagent-support/versions.json")
        assert versions is not None
        assert b"CherryPy" in versions.read()
    before = target.read_bytes()

    assert agent.command("support-bundle", str(target)).returncode == 74
    assert target.read_bytes() == before
    assert os.path.getsize(target) > 0
