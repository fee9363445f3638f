"""Moves from one server to another: what is checked before, what changes, and what stays as it was."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
import tempfile
import time
import xmlrpc.client
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import StartAgent
from tests.integration.served import ECHO, fault_of, wait_until
from tests.support.agent import AgentProcess, write_sensor
from tests.support.bad_server import BAD
from tests.support.monitor import Monitor, identity
from tests.support.ports import free_port
from tests.support.rights import AS_ROOT, needs_root

ASK = "cmd_get_new_monitor_url"


@pytest.fixture
def new() -> Iterator[Monitor]:
    """The server to move to; `monitor` is the one that the agent is with."""
    monitor = Monitor(extended=True)
    monitor.start()
    yield monitor
    monitor.stop()


@pytest.fixture
def agent(monitor: Monitor, new: Monitor, make_agent: StartAgent) -> AgentProcess:
    """An agent whose server names the new one."""
    monitor.next_url = new.url
    agent = make_agent(monitor.url)
    write_sensor(agent.directory, "echo", ECHO)
    agent.start()
    return agent


def move(agent: AgentProcess, told: Monitor, ticket: int | str = "move") -> dict[str, Any]:
    """Command a move and give the outcome that a server is told."""
    assert agent.proxy().cmd_update_config(ticket) == "OK"
    command, outcome = told.wait_for_ticket(ticket).content
    assert command == "update_config"
    assert outcome["message"].isprintable()
    assert "internal error" not in outcome["message"]
    return dict(outcome)


def status(agent: AgentProcess, told: Monitor, ticket: str) -> dict[str, Any]:
    """How the agent is doing."""
    agent.proxy().cmd_status(ticket)
    return dict(told.wait_for_ticket(ticket).content[1])


def left_behind(agent: AgentProcess) -> list[str]:
    """What only a move that is under way may leave."""
    names = [*os.listdir(agent.directory), *os.listdir(agent.directory / "var")]
    return [name for name in names if name == "move.json" or name.endswith(".new")]


def refused(agent: AgentProcess, monitor: Monitor, *words: str) -> None:
    """A move is refused for a reason that is told, and changes nothing."""
    before, state = agent.config.read_bytes(), agent.config.lstat()
    outcome = move(agent, monitor)

    assert outcome["status"] == "error"
    assert (outcome["url"], outcome["previous"]) == (monitor.url, monitor.url)
    assert all(word in outcome["message"] for word in words), outcome["message"]
    assert len(outcome["message"]) < 1000
    assert agent.config.read_bytes() == before
    assert (agent.config.lstat().st_ino, agent.config.lstat().st_mtime_ns) == (state.st_ino, state.st_mtime_ns)
    assert left_behind(agent) == []
    agent.proxy().cmd_submit_reading("after", "echo", [1])
    assert monitor.wait_for_ticket("after").content[:2] == [0, "1"]


# -- there --------------------------------------------------------------------------------------------------------


def test_after_a_move_everything_goes_to_the_new_server(monitor: Monitor, new: Monitor, agent: AgentProcess) -> None:
    """The outcome of the move too, and nothing but the URL has changed in the file; a restart changes nothing."""
    before = agent.config.read_text()
    agent.proxy().cmd_submit_reading("before", "echo", [1])
    monitor.wait_for_ticket("before")
    outcome = move(agent, new)
    agent.proxy().cmd_submit_reading("after", "echo", [2])
    new.wait_for_ticket("after")
    agent.kill()
    agent.start()
    agent.proxy().cmd_submit_reading("restarted", "echo", [3])
    new.wait_for_ticket("restarted")

    assert (outcome["status"], outcome["url"], outcome["previous"]) == ("ok", new.url, monitor.url)
    assert monitor.tickets() == ["before"]
    assert list(new.results()) == ["move", "after", "restarted"]
    assert agent.config.read_text() == before.replace(monitor.url, new.url)
    assert left_behind(agent) == []


def test_the_old_server_is_asked_by_the_hosts_name_and_the_new_one_for_its_health(
    monitor: Monitor, new: Monitor, make_agent: StartAgent
) -> None:
    """`[monitor] name` where it is set."""
    monitor.next_url = new.url
    agent = make_agent(monitor.url)
    agent.edit("timeout = 5", "timeout = 5\nname = web1")
    agent.start()
    move(agent, new)

    assert monitor.asked == ["web1"]
    assert new.asked == []
    assert new.called[0] == "healthcheck"


def test_what_is_not_delivered_yet_goes_to_the_new_server(monitor: Monitor, new: Monitor, agent: AgentProcess) -> None:
    """Results that the old one refused, and all that came while it was dying."""

    def refuse(_ticket: int | str) -> bool:
        return True

    monitor.refuse = refuse
    for number in range(10):
        agent.proxy().cmd_submit_reading(number, "echo", [number])
    wait_until(lambda: agent.log.read_text().count("result refused") >= 10, "the old server refuses them all")

    def dies() -> str:
        monitor.stop()
        for number in range(10, 20):
            agent.proxy().cmd_submit_reading(number, "echo", [number])
        return "OK"

    new.healthy = dies
    move(agent, new)

    for number in range(20):
        assert new.wait_for_ticket(number).content[:2] == [0, str(number)]
    assert monitor.handed == []


def test_a_plain_server_takes_over_from_an_extended_one(
    monitor: Monitor, plain_monitor: Monitor, agent: AgentProcess
) -> None:
    """It gets readings in its own dialect, and no outcome, which it could not take."""
    monitor.next_url = plain_monitor.url
    agent.proxy().cmd_submit_reading("before", "echo", [1])
    monitor.wait_for_ticket("before")
    agent.proxy().cmd_update_config("move")
    wait_until(lambda: "server speaks the original dialect" in agent.log.read_text(), "the new server is asked")
    agent.proxy().cmd_submit_reading("after", "echo", [2])

    assert plain_monitor.wait_for_ticket("after").content == [0, "2"]
    assert plain_monitor.tickets() == ["after"]


def test_the_status_tells_which_server_is_used_and_whether_it_is_on_probation(
    monitor: Monitor, new: Monitor, agent: AgentProcess
) -> None:
    """While the new server refuses everything it is on probation; with the first result that it takes, it is not."""
    assert status(agent, monitor, "first")["server"] == monitor.url
    taking: list[bool] = []
    new.refuse = lambda ticket: not taking and ticket != "asked"
    agent.proxy().cmd_update_config("move")
    wait_until(lambda: "result refused ticket=move" in agent.log.read_text(), "the new server refuses")
    agent.proxy().cmd_status("asked")
    first = new.wait_for_ticket("asked").content[1]
    agent.proxy().cmd_status("later")
    taking.append(True)
    later = new.wait_for_ticket("later").content[1]

    assert (first["server"], first["on_probation"]) == (new.url, True)
    assert (later["server"], later["on_probation"]) == (new.url, False)


def test_a_server_that_names_itself_is_stayed_with(monitor: Monitor, agent: AgentProcess) -> None:
    """That is no error, and the file is not written."""
    monitor.next_url = monitor.url
    state = agent.config.stat()
    outcome = move(agent, monitor)

    assert (outcome["status"], outcome["url"], outcome["previous"]) == ("ok", monitor.url, monitor.url)
    assert (agent.config.stat().st_ino, agent.config.stat().st_mtime_ns) == (state.st_ino, state.st_mtime_ns)
    assert "healthcheck" not in monitor.called


def test_a_move_in_the_original_systems_form_is_made_once_and_sends_no_result(
    monitor: Monitor, new: Monitor, agent: AgentProcess
) -> None:
    """`cmd_register_new_server()`; it takes no ticket."""
    assert agent.proxy().cmd_register_new_server() == "OK"
    wait_until(lambda: new.url in agent.config.read_text(), "the agent has moved")
    agent.proxy().cmd_submit_reading("after", "echo", [2])
    new.wait_for_ticket("after")
    agent.kill()
    agent.start()
    time.sleep(0.5)

    assert monitor.called.count(ASK) == 1
    assert new.called.count(ASK) == 0
    assert (list(monitor.results()), list(new.results())) == ([], ["after"])
    assert fault_of(lambda: agent.proxy().cmd_register_new_server("ticket")).faultCode == -32602


def test_a_repeated_ticket_is_acknowledged_and_the_move_made_once(
    monitor: Monitor, new: Monitor, agent: AgentProcess
) -> None:
    """Also when the new server would name the old one."""
    new.next_url = monitor.url
    for _ in range(5):
        assert agent.proxy().cmd_update_config("move") == "OK"
    new.wait_for_ticket("move")
    assert agent.proxy().cmd_update_config("move") == "OK"
    time.sleep(0.5)

    assert (monitor.called.count(ASK), new.called.count(ASK)) == (1, 0)
    assert new.tickets() == ["move"]
    assert new.url in agent.config.read_text()


def test_moves_there_and_back_again_arrive_in_order(monitor: Monitor, new: Monitor, agent: AgentProcess) -> None:
    """Twenty of them, each commanded when the last one is settled."""
    new.next_url = monitor.url
    for number in range(20):
        there, back = (new, monitor) if number % 2 == 0 else (monitor, new)
        outcome = move(agent, there, number)

        assert (outcome["status"], outcome["url"], outcome["previous"]) == ("ok", there.url, back.url)
    assert monitor.url in agent.config.read_text()


# -- not there ----------------------------------------------------------------------------------------------------

UNWELL = {
    "answers in lower case": lambda: "ok",
    "answers with a blank": lambda: "OK ",
    "answers true": lambda: True,
    "answers 1": lambda: 1,
    "answers nothing": lambda: "",
    "answers with an array": lambda: ["OK"],
    "answers with a struct": lambda: {"status": "OK"},
}


@pytest.mark.parametrize("how", UNWELL)
def test_a_server_that_is_not_well_is_not_moved_to(
    monitor: Monitor, new: Monitor, agent: AgentProcess, how: str
) -> None:
    """Only the string OK will do."""
    new.healthy = UNWELL[how]
    refused(agent, monitor, new.url, "instead of OK")


@pytest.mark.parametrize(
    "bad", ["a Fault", "HTTP 500", "HTTP 404", "a web page", "the end at once", "no HTTP", "no answer"]
)
def test_a_server_that_fails_its_healthcheck_is_not_moved_to(
    monitor: Monitor, new: Monitor, agent: AgentProcess, bad: str
) -> None:
    """It got nothing but the healthcheck (and tests/integration/test_bad_servers.py knows many more ways to fail)."""
    new.spoilt["healthcheck"] = BAD[bad].spoil
    refused(agent, monitor, f"{new.url} was not moved to: its healthcheck failed")

    assert set(new.called) == {"healthcheck"}


def test_a_dead_server_is_not_moved_to(monitor: Monitor, new: Monitor, agent: AgentProcess) -> None:
    """Nobody listens there."""
    new.stop()
    refused(agent, monitor, new.url, "connection refused")


def test_the_old_server_may_refuse_to_name_another(monitor: Monitor, agent: AgentProcess) -> None:
    """Its Fault is told."""
    monitor.spoilt[ASK] = BAD["a Fault"].spoil
    refused(agent, monitor, "fault 4: 'no'")


def test_an_old_server_that_is_away_leaves_everything_as_it_is(monitor: Monitor, agent: AgentProcess) -> None:
    """When it is back it learns that the move was not made."""
    before = agent.config.read_bytes()
    monitor.stop()
    agent.proxy().cmd_update_config("move")
    wait_until(lambda: "no move ticket=move" in agent.log.read_text(), "the move is given up")
    monitor.start()
    outcome = monitor.wait_for_ticket("move").content[1]

    assert outcome["status"] == "error"
    assert "could not be asked" in outcome["message"]
    assert agent.config.read_bytes() == before


def _bad_urls() -> dict[str, Callable[[str], Any]]:
    """What a server may name, made of the URL of a server that would answer."""
    return {
        "empty": lambda _url: "",
        "blank": lambda _url: " ",
        "a word": lambda _url: "monitor",
        "ftp": lambda url: url.replace("http", "ftp"),
        "file": lambda _url: "file:///etc/passwd",
        "no scheme": lambda url: url.removeprefix("http:"),
        "javascript": lambda _url: "javascript:alert(1)",
        "http+unix": lambda url: url.replace("http", "http+unix"),
        "a user": lambda url: url.replace("//", "//user@"),
        "a user and a password": lambda url: url.replace("//", "//user:pass@"),
        "an empty user": lambda url: url.replace("//", "//@"),
        "no host": lambda _url: "http:///xmlrpc/",
        "a port that is none": lambda _url: "http://127.0.0.1:http/xmlrpc/",
        "a port that is too large": lambda _url: "http://127.0.0.1:65536/xmlrpc/",
        "port 0": lambda _url: "http://127.0.0.1:0/xmlrpc/",
        "a fragment": lambda url: url + "#x",
        "a blank behind": lambda url: url + " ",
        "a blank within": lambda url: url + "a b",
        "a line feed behind": lambda url: url + "\n",
        "a second option": lambda url: url + "\nprobation = 1d",
        "a second section": lambda url: url + "\n[security]\nallow = 0.0.0.0/0",
        "a second line that goes on": lambda url: url + "\n  x",
        "a carriage return": lambda url: url.replace("/xmlrpc", "/\rxmlrpc"),
        "a header": lambda url: url + "\r\nX-Evil: 1",
        "a tab": lambda url: url + "\tx",
        "beyond ASCII": lambda url: url + "\u00e4",
        "a wide slash": lambda _url: "http:\uff0f\uff0f127.0.0.1/xmlrpc/",
        "5,000 characters of a host": lambda _url: f"http://{'a' * 5000}/xmlrpc/",
        "5,000 characters of a path": lambda url: url + "a" * 5000,
        "60,000 characters": lambda url: url + "a" * 60_000,
        "an IPv6 address that is none": lambda _url: "http://[::1/xmlrpc/",
        "a host that is nowhere": lambda _url: "http://monitor.invalid/xmlrpc/",
        "an int": lambda _url: 5,
        "a truth": lambda _url: True,
        "an array": lambda url: [url],
        "a struct": lambda url: {"url": url},
        "bytes": lambda url: xmlrpc.client.Binary(url.encode()),
    }


@pytest.mark.parametrize("name", _bad_urls())
def test_a_bad_url_is_not_moved_to(monitor: Monitor, new: Monitor, agent: AgentProcess, name: str) -> None:
    """It is told what was named and why that will not do; a server that may hide behind it is not called."""
    monitor.next_url = _bad_urls()[name](new.url)
    refused(agent, monitor, "still with")

    assert [method for method in new.called if method != "healthcheck"] == []


def test_a_url_as_long_as_a_book_is_refused_even_when_a_server_would_answer_there(
    monitor: Monitor, new: Monitor, agent: AgentProcess
) -> None:
    """It would stand in client.cfg, in every log line about the server and in every status."""
    new.any_path = True
    monitor.next_url = f"{new.url}?{'a' * 5000}"
    refused(agent, monitor, "still with")


# -- TLS ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def secure(tmp_path: Path) -> Iterator[tuple[Monitor, Path]]:
    """A server that speaks https, and the certificate to trust for it."""
    context, certificate = identity(tmp_path)
    monitor = Monitor(extended=True, tls=context)
    monitor.start()
    yield monitor, certificate
    monitor.stop()


@pytest.fixture
def secure_agent(secure: tuple[Monitor, Path], make_agent: StartAgent) -> AgentProcess:
    """An agent that is with that server."""
    monitor, certificate = secure
    agent = make_agent(monitor.url)
    agent.edit("timeout = 5", f"timeout = 5\nca = {certificate}")
    write_sensor(agent.directory, "echo", ECHO)
    agent.start()
    return agent


def test_an_agent_never_goes_from_https_to_http(
    secure: tuple[Monitor, Path], new: Monitor, secure_agent: AgentProcess
) -> None:
    """The server without TLS is not even called."""
    secure[0].next_url = new.url
    refused(secure_agent, secure[0], new.url, "never goes on without it")

    assert new.called == []


def test_an_agent_goes_from_one_https_server_to_another(
    secure: tuple[Monitor, Path], secure_agent: AgentProcess, tmp_path: Path
) -> None:
    """Whose certificate the same authority has signed: here it is the same certificate."""
    monitor, _ = secure
    other = Monitor(extended=True, tls=monitor._tls)
    other.start()
    monitor.next_url = other.url
    try:
        assert move(secure_agent, other)["status"] == "ok"
        secure_agent.proxy().cmd_submit_reading("after", "echo", [2])
        other.wait_for_ticket("after")
    finally:
        other.stop()


def test_an_https_server_that_nobody_vouches_for_is_not_moved_to(
    monitor: Monitor, secure: tuple[Monitor, Path], agent: AgentProcess
) -> None:
    """Its certificate is unknown to the system."""
    monitor.next_url = secure[0].url
    refused(agent, monitor, "healthcheck failed: TLS: its certificate is signed by itself, and not known here")


def test_an_https_server_that_the_system_trusts_is_moved_to(
    monitor: Monitor,
    secure: tuple[Monitor, Path],
    make_agent: StartAgent,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """From http to https there is a way."""
    monkeypatch.setenv("SSL_CERT_FILE", str(secure[1]))
    monitor.next_url = secure[0].url
    agent = make_agent(monitor.url)
    agent.start()

    assert move(agent, secure[0])["status"] == "ok"
    assert secure[0].url in agent.config.read_text()


def test_tls_files_that_have_gone_do_not_matter_until_the_next_start(
    secure: tuple[Monitor, Path], secure_agent: AgentProcess
) -> None:
    """A running agent goes by what it read, also after a move: the files may be out of its reach by then."""
    monitor, certificate = secure
    monitor.next_url = monitor.url.replace("/xmlrpc/", "/RPC2")
    hidden = certificate.rename(certificate.with_suffix(".gone"))
    secure_agent.proxy().cmd_update_sensor_code("update", "echo")
    secure_agent.proxy().cmd_update_config("move")

    assert monitor.wait_for_ticket("move").content[1]["status"] == "ok"
    assert "fault" in monitor.wait_for_ticket("update").content[1]["message"]
    assert "the old settings stay" in secure_agent.reload()
    secure_agent.proxy().cmd_status("after")
    monitor.wait_for_ticket("after")
    hidden.rename(certificate)
    assert "settings loaded again" in secure_agent.reload()


# -- client.cfg ---------------------------------------------------------------------------------------------------

FILE = """\
; the monitoring agent of web1
# do not edit on Fridays

[agent]
port={port}
[sensor:echo]
  timeout: 7   ; seconds

# where results go
[monitor]   ; two spaces
timeout =   5
   ; was http://old.example.org/
{url}
probation = 10m ; long enough
[sensor]

path = sensors/
[sensor:load]
timeout = 5
  ; the end, without an end of line"""

URL_LINES = {
    "plain": "url = {}",
    "without blanks": "url={}",
    "with a colon": "url: {}",
    "in capitals": "URL = {}",
    "with blanks": "url   =   {}",
    "with a comment": "url = {}   ; since March",
    "with a comment that looks like a section": "url = {} ; [security] allow = all",
}


@pytest.mark.parametrize("line", URL_LINES)
def test_all_but_the_url_stays_as_it_was_in_the_file(
    monitor: Monitor, new: Monitor, make_agent: StartAgent, line: str
) -> None:
    """Comments, order, blanks, mode and owner."""
    monitor.next_url = new.url
    agent = make_agent(monitor.url)
    text = FILE.format(port=agent.port, url=URL_LINES[line].format(monitor.url))
    agent.config.write_text(text)
    agent.config.chmod(0o604)
    owner = (1234, 4321) if AS_ROOT else (os.geteuid(), os.getegid())
    os.chown(agent.config, *owner)
    agent.start()
    assert move(agent, new)["status"] == "ok"
    state = agent.config.stat()

    assert agent.config.read_text() == text.replace(monitor.url, new.url)
    assert (stat.S_IMODE(state.st_mode), state.st_uid, state.st_gid) == (0o604, *owner)


def test_a_url_that_refers_to_another_option_is_replaced_and_the_other_option_stays(
    monitor: Monitor, new: Monitor, make_agent: StartAgent
) -> None:
    """What `%(server)s` stood for may be used elsewhere, too."""
    monitor.next_url = new.url
    agent = make_agent(monitor.url)
    text = f"[DEFAULT]\n{agent.config.read_text()}"
    text = text.replace("[DEFAULT]\n", f"[DEFAULT]\nname = 127.0.0.1:{monitor.port}\n").replace(
        monitor.url, "http://%(name)s/xmlrpc/"
    )
    agent.config.write_text(text)
    agent.start()
    assert move(agent, new)["status"] == "ok"

    assert agent.config.read_text() == text.replace("http://%(name)s/xmlrpc/", new.url)


@pytest.mark.parametrize(
    "written",
    [
        pytest.param(lambda text: text.replace(b"\n", b"\r\n"), id="lines end as on Windows"),
        pytest.param(lambda text: b"\xef\xbb\xbf" + text, id="with a byte order mark"),
        pytest.param(
            lambda text: text.replace(b"[agent]", "; \u00e4\u00f6\u00fc \U0001f600\n[agent]".encode()),
            id="not all ASCII",
        ),
        pytest.param(lambda text: text.rstrip(b"\n"), id="no end of the last line"),
        pytest.param(lambda text: text + b"\n\n\n", id="empty lines at the end"),
        pytest.param(lambda text: text.replace(b"\n", b"  \n"), id="blanks at the ends of lines"),
    ],
)
def test_the_bytes_around_the_url_stay_as_they_were(
    monitor: Monitor, new: Monitor, make_agent: StartAgent, written: Callable[[bytes], bytes]
) -> None:
    """However the file was written."""
    monitor.next_url = new.url
    agent = make_agent(monitor.url)
    before = written(agent.config.read_bytes())
    agent.config.write_bytes(before)
    agent.start()
    assert move(agent, new)["status"] == "ok"

    assert agent.config.read_bytes() == before.replace(monitor.url.encode(), new.url.encode())


def test_a_symbolic_link_stays_one_and_the_file_that_it_leads_to_is_written(
    monitor: Monitor, new: Monitor, make_agent: StartAgent
) -> None:
    """As configuration management lays its files out."""
    monitor.next_url = new.url
    agent = make_agent(monitor.url)
    real = agent.directory / "managed" / "agent.cfg"
    real.parent.mkdir()
    before = agent.config.read_text()
    real.write_text(before)
    agent.config.unlink()
    agent.config.symlink_to("managed/agent.cfg")
    agent.start()
    assert move(agent, new)["status"] == "ok"

    assert os.readlink(agent.config) == "managed/agent.cfg"
    assert real.read_text() == before.replace(monitor.url, new.url)
    assert os.listdir(real.parent) == ["agent.cfg"]


@needs_root
@pytest.mark.parametrize("what", ["file", "directory"])
def test_a_file_that_root_cannot_write_either_is_a_reason_not_to_move(
    monitor: Monitor, agent: AgentProcess, what: str
) -> None:
    """`chattr +i`, the most common way to keep programs from a file."""
    target = agent.config if what == "file" else agent.directory
    if subprocess.run(["chattr", "+i", target], capture_output=True).returncode:
        assert not os.environ.get("MONAGENT_REQUIRE_REAL")
        pytest.skip("this file system has no immutable files")
    try:
        refused(agent, monitor, "client.cfg", "cannot be written", "not permitted")
    finally:
        subprocess.run(["chattr", "-i", target], check=True)


AS_NOBODY = """
import os, sys, encodings.idna, encodings.utf_8_sig, stringprep
from monagent.cli import main
import monagent.agent.service
os.setgroups([]); os.setgid(65534); os.setuid(65534)
sys.argv[0] = "monagent"
main.main()
"""


@pytest.fixture
def open_directory() -> Iterator[Path]:
    """A directory that every user can reach."""
    directory = Path(tempfile.mkdtemp(dir="/tmp"))
    directory.chmod(0o755)
    yield directory
    shutil.rmtree(directory)


@needs_root
@pytest.mark.usefixtures("readable_python")
def test_an_agent_that_may_not_write_its_file_says_so_and_stays(
    monitor: Monitor, new: Monitor, open_directory: Path
) -> None:
    """It runs as nobody, and the file and its directory are root's; its own state is not."""
    monitor.next_url = new.url
    agent = AgentProcess(open_directory / "agent", monitor.url)
    write_sensor(agent.directory, "echo", ECHO)
    (agent.directory / "var").mkdir()
    os.chown(agent.directory / "var", 65534, 65534)
    agent.program = [sys.executable, "-c", AS_NOBODY]
    try:
        agent.start()
        refused(agent, monitor, "client.cfg", "cannot be written", "ermission denied")
    finally:
        agent.kill()


@needs_root
@pytest.mark.usefixtures("readable_python")
def test_an_agent_that_may_write_the_directory_but_does_not_own_the_file_says_so_and_stays(
    monitor: Monitor, new: Monitor, open_directory: Path
) -> None:
    """A new file would be nobody's, and the owner of the file would be lost."""
    monitor.next_url = new.url
    agent = AgentProcess(open_directory / "agent", monitor.url)
    write_sensor(agent.directory, "echo", ECHO)
    os.chown(agent.directory, 65534, 65534)
    agent.program = [sys.executable, "-c", AS_NOBODY]
    try:
        agent.start()
        refused(agent, monitor, "client.cfg", "cannot be written")
    finally:
        agent.kill()


def test_a_file_that_was_edited_meanwhile_is_not_overwritten(monitor: Monitor, agent: AgentProcess) -> None:
    """Somebody has written another server into it and not told the agent: a person's word counts."""
    agent.edit(monitor.url, f"http://127.0.0.1:{free_port()}/xmlrpc/")
    refused(agent, monitor, "edited", "reload")


def test_an_edit_of_something_else_meanwhile_is_kept(monitor: Monitor, new: Monitor, agent: AgentProcess) -> None:
    """It is in the file after the move, but not in force before a reload."""
    agent.edit("[agent]", "; moved soon\n[agent]\nworkers = 3")
    before = agent.config.read_text()
    assert move(agent, new)["status"] == "ok"

    assert agent.config.read_text() == before.replace(monitor.url, new.url)


@pytest.mark.parametrize(
    "broken", ["nonsense", "[agent", "[monitor]\nurl = http://x/", "[unknown]\nx = 1", "[sensor:x]\ntimeout = never"]
)
def test_a_file_that_was_broken_meanwhile_is_not_written(monitor: Monitor, agent: AgentProcess, broken: str) -> None:
    """The outcome says what is wrong with it, and where."""
    agent.config.write_text(f"{agent.config.read_text()}{broken}\n")
    refused(agent, monitor, "client.cfg:", "still with")


def test_a_file_that_has_gone_is_a_reason_not_to_move(monitor: Monitor, agent: AgentProcess) -> None:
    """And no new one is made."""
    agent.config.unlink()
    outcome = move(agent, monitor)

    assert outcome["status"] == "error"
    assert "client.cfg" in outcome["message"]
    assert not agent.config.exists()
    assert left_behind(agent) == []


def test_a_reason_not_to_move_goes_away_with_what_caused_it(
    monitor: Monitor, new: Monitor, agent: AgentProcess
) -> None:
    """A refused move leaves nothing that stands in the way of the next one."""
    new.healthy = lambda: "no"
    assert move(agent, monitor, 1)["status"] == "error"
    new.healthy = lambda: "OK"
    assert move(agent, new, 2)["status"] == "ok"
