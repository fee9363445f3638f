"""HUP: the settings are read again while the agent works, and nothing else is disturbed."""

from __future__ import annotations

import http.client
import os
import signal
import threading
import time
import xmlrpc.client
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import StartAgent
from tests.integration.served import ECHO, fault_of, submission, wait_until
from tests.support.agent import AgentProcess, unpack_sensor, write_sensor
from tests.support.bad_server import BAD
from tests.support.monitor import Monitor
from tests.support.ports import free_port
from tests.support.processes import is_running

HEADERS = {"Content-Type": "text/xml"}
CHECK = submission("<string>{}</string>", "<string>echo</string>", "<array><data><value>1</value></data></array>")


@pytest.fixture
def new() -> Iterator[Monitor]:
    """A second server."""
    monitor = Monitor(extended=True)
    monitor.start()
    yield monitor
    monitor.stop()


@pytest.fixture
def agent(monitor: Monitor, make_agent: StartAgent) -> AgentProcess:
    """An agent with a sensor."""
    agent = make_agent(monitor.url, "[sensor]\ntimeout = 30\n[security]\nallow = 127.0.0.0/8")
    write_sensor(agent.directory, "echo", ECHO)
    agent.start()
    return agent


def check(agent: AgentProcess, monitor: Monitor, ticket: str, sensor: str = "echo", *arguments: str) -> list[object]:
    """Command a reading and give what arrives."""
    assert agent.proxy().cmd_submit_reading(ticket, sensor, list(arguments)) == "OK"
    return list(monitor.wait_for_ticket(ticket).content)


def listening_socket(agent: AgentProcess) -> str:
    """What the kernel calls the socket that the agent listens on."""
    listening = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    (inode,) = [line[9] for line in listening if line[1].endswith(f":{agent.port:04X}") and line[3] == "0A"]
    opened = [os.readlink(path) for path in Path(f"/proc/{agent.pid}/fd").iterdir()]
    assert f"socket:[{inode}]" in opened
    return inode


# -- what is taken over -------------------------------------------------------------------------------------------


def test_the_url_is_taken_over(monitor: Monitor, new: Monitor, agent: AgentProcess) -> None:
    """What waits for the old server, too, goes to the new one; nobody is asked, and there is no probation."""
    check(agent, monitor, "before")
    monitor.stop()
    agent.proxy().cmd_submit_reading("waiting", "echo", ["1"])
    wait_until(lambda: "server is away" in agent.log.read_text(), "the old server is missed")
    agent.edit(monitor.url, new.url)
    agent.reload()
    new.wait_for_ticket("waiting", 5)
    agent.proxy().cmd_status("status")
    status = new.wait_for_ticket("status").content[1]

    assert (status["server"], status["on_probation"]) == (new.url, False)
    assert "healthcheck" not in new.called


def test_a_sensors_time_out_is_taken_over(monitor: Monitor, agent: AgentProcess) -> None:
    """For runs that start after it; one that is under way ends by the old one."""
    write_sensor(agent.directory, "slow", "#!/bin/sh\nsleep 2\necho 1\n")
    agent.proxy().cmd_submit_reading("under way", "slow")
    time.sleep(0.3)
    agent.edit("[security]", "[sensor:slow]\ntimeout = 0.5\n[security]")
    agent.reload()

    assert check(agent, monitor, "after", "slow")[:2] == [-9, "nan"]
    assert monitor.wait_for_ticket("under way").content[:2] == [0, "1"]


def test_a_sensors_command_and_format_are_taken_over(monitor: Monitor, agent: AgentProcess) -> None:
    """A plug-in elsewhere becomes a sensor, and is none any more when its section has gone."""
    write_sensor(agent.directory.parent, "plugin", "#!/bin/sh\necho 'LOAD OK | load=0.5;1;2'\nexit 1\n")
    section = f"[sensor:load]\ncommand = {agent.directory.parent}/sensors/plugin/check\nformat = nagios\n"
    assert fault_of(lambda: agent.proxy().cmd_submit_reading("unknown", "load")).faultCode == -32602
    agent.edit("[security]", f"{section}[security]")
    agent.reload()
    assert check(agent, monitor, "known", "load")[:2] == [1, "0.5"]
    agent.edit("format = nagios\n", "")
    agent.reload()
    assert check(agent, monitor, "number", "load")[:2] == [1, "nan"]
    agent.edit(section.replace("format = nagios\n", ""), "")
    agent.reload()

    assert fault_of(lambda: agent.proxy().cmd_submit_reading("unknown again", "load")).faultCode == -32602


def test_another_directory_of_sensors_is_taken_over(monitor: Monitor, agent: AgentProcess) -> None:
    """With its backups."""
    unpack_sensor(agent.directory / "others" / "other", {"check": "#!/bin/sh\necho 7\n"})
    agent.edit("[sensor]\n", "[sensor]\npath = others\nbackup = others_backup\n")
    agent.reload()

    assert check(agent, monitor, "other", "other")[:2] == [0, "7"]
    assert fault_of(lambda: agent.proxy().cmd_submit_reading("echo", "echo")).faultCode == -32602


def test_the_allow_list_is_taken_over_also_for_connections_that_are_kept(agent: AgentProcess) -> None:
    """Who was let in is not let in for ever, and who was not may come in now."""
    kept = _connection(agent, "127.0.0.1")
    assert _post(kept, "healthcheck") == 200
    agent.edit("127.0.0.0/8", "127.0.0.2")
    agent.reload()
    assert _post(kept, "healthcheck") == 403
    assert _post(_connection(agent, "127.0.0.2"), "healthcheck") == 200
    agent.edit("allow = 127.0.0.2", "allow = 127.0.0.1")
    agent.reload()

    assert _post(_connection(agent, "127.0.0.2"), "healthcheck") == 403
    assert _post(_connection(agent, "127.0.0.1"), "healthcheck") == 200


def test_the_direct_listing_is_switched_off_and_on(agent: AgentProcess) -> None:
    """`cmd_list_sensors()` without a ticket."""
    assert agent.proxy().cmd_list_sensors() == {"echo": "echo NUMBER"}
    agent.edit("[security]", "[security]\ndirect_listing = no")
    agent.reload()
    assert fault_of(agent.proxy().cmd_list_sensors).faultCode == -32602
    assert ["struct"] not in agent.proxy().system.methodSignature("cmd_list_sensors")
    agent.edit("direct_listing = no", "direct_listing = yes")
    agent.reload()

    assert agent.proxy().cmd_list_sensors() == {"echo": "echo NUMBER"}
    assert ["struct"] in agent.proxy().system.methodSignature("cmd_list_sensors")


def test_the_time_for_the_server_is_taken_over(monitor: Monitor, agent: AgentProcess) -> None:
    """A server that hangs is given up after the new time."""
    monitor.spoilt["cmd_get_sensor_code"] = BAD["no answer"].spoil
    agent.edit("timeout = 5", "timeout = 1")
    agent.reload()
    started = time.monotonic()
    agent.proxy().cmd_update_sensor_code("t", "echo")

    assert monitor.wait_for_ticket("t").content[1]["status"] == "error"
    assert time.monotonic() - started < 3


# -- what is not disturbed ----------------------------------------------------------------------------------------


def test_a_kept_connection_and_the_listening_socket_live_on(monitor: Monitor, agent: AgentProcess) -> None:
    """A client that keeps its connection does not notice, also when it is in the middle of a request."""
    kept, inode = _connection(agent, "127.0.0.1"), listening_socket(agent)
    assert _post(kept, "healthcheck") == 200
    sock = kept.sock
    for number in range(3):
        agent.edit("timeout = 30", f"timeout = 3{number}")
        agent.edit(f"timeout = 3{number}", "timeout = 30")
        body = CHECK.format(f"t{number}").encode()
        kept.putrequest("POST", "/xmlrpc/")
        kept.putheader("Content-Type", "text/xml")
        kept.putheader("Content-Length", str(len(body)))
        kept.endheaders(body[:50])
        agent.reload()
        kept.send(body[50:])
        answer = kept.getresponse()

        assert (answer.status, b"OK" in answer.read()) == (200, True)
        assert monitor.wait_for_ticket(f"t{number}").content[:2] == [0, "1"]
    assert kept.sock is sock
    assert listening_socket(agent) == inode


def test_no_ticket_is_lost_or_refused_while_it_is_reloaded_all_the_time(monitor: Monitor, agent: AgentProcess) -> None:
    """A HUP every 20 ms, between two files, while four clients send without a break: hundreds of commands, each taken."""
    texts = [
        agent.config.read_text(),
        agent.config.read_text().replace("timeout = 30", "timeout = 29\nkeep_backups = 3"),
    ]
    sent: list[str] = []
    finished = threading.Event()

    def send(name: str) -> None:
        proxy = agent.proxy()
        number = 0
        while not finished.is_set():
            number += 1
            assert proxy.cmd_submit_reading(f"{name}-{number}", "echo", [number]) == "OK"
            sent.append(f"{name}-{number}")
            time.sleep(0.01)

    clients = [threading.Thread(target=send, args=(name,)) for name in "abcd"]
    for client in clients:
        client.start()
    reloads, until = 0, time.monotonic() + 60
    while (reloads <= 100 or len(sent) <= 500) and time.monotonic() < until:
        beside = agent.config.with_name("client.cfg.edited")
        beside.write_text(texts[reloads % 2])
        beside.replace(agent.config)
        agent.signal(signal.SIGHUP)
        time.sleep(0.02)
        reloads = agent.log.read_text().count("settings loaded again")
    finished.set()
    for client in clients:
        client.join(20)
    monitor.wait_for(len(sent))
    results = monitor.results()

    assert is_running(agent.pid)
    assert sorted(map(str, results)) == sorted(sent)
    assert all(
        one.content[:2] == [0, ticket.split("-")[1]] for ticket, one in results.items() if isinstance(ticket, str)
    )
    assert len(monitor.handed) == len(sent)
    assert len(sent) > 500
    assert reloads > 100


def test_a_hangup_while_it_starts_does_not_end_an_agent(monitor: Monitor, make_agent: StartAgent) -> None:
    """A supervisor may reload what it has just started."""
    agent = make_agent(monitor.url)
    write_sensor(agent.directory, "echo", ECHO)
    agent.launch()
    wait_until(lambda: "_sqlite3" in Path(f"/proc/{agent.pid}/maps").read_text(), "it loads what the agent consists of")
    for _ in range(50):
        agent.signal(signal.SIGHUP)
        time.sleep(0.005)
    agent.wait_until_up()

    assert check(agent, monitor, "t")[0] == 0


def test_a_hangup_while_it_stops_does_not_keep_an_agent_from_it(monitor: Monitor, agent: AgentProcess) -> None:
    """It drains and ends with 0."""
    write_sensor(agent.directory, "slow", "#!/bin/sh\nsleep 1\necho 1\n")
    agent.proxy().cmd_submit_reading("slow", "slow")
    time.sleep(0.2)
    agent.signal(signal.SIGTERM)
    for _ in range(5):
        agent.signal(signal.SIGHUP)
        time.sleep(0.05)

    assert agent.wait(10) == 0
    assert monitor.tickets() == ["slow"]


# -- what is wrong ------------------------------------------------------------------------------------------------

WRONG = {
    "no section": ("[monitor]", "url = x\n[monitor]", "client.cfg:1: "),
    "an unknown option": ("timeout = 30", "timeuot = 30", "client.cfg:7 [sensor] timeuot"),
    "an unknown section": ("[security]", "[secruity]", "client.cfg:8 [secruity]"),
    "not a duration": ("timeout = 30", "timeout = soon", "client.cfg:7 [sensor] timeout"),
    "not a network": ("127.0.0.0/8", "10.0.0.0/33", "client.cfg:9 [security] allow"),
    "not a URL": ("url = ", "url = ftp:", "client.cfg:2 [monitor] url"),
    "no URL": ("url = ", "name = ", "client.cfg:1 [monitor] url"),
    "an option twice": ("timeout = 30", "timeout = 30\ntimeout = 20", "client.cfg:8 [sensor] timeout"),
    "TLS for http": ("timeout = 5", "timeout = 5\nca = x.pem", "client.cfg:4 [monitor] ca"),
    "a line of nonsense": ("timeout = 30", "timeout = 30\nwhat is this", "client.cfg:8"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_file_that_is_wrong_leaves_the_old_settings_in_force(
    monitor: Monitor, agent: AgentProcess, name: str
) -> None:
    """All of them, also those that were not wrong; the log names the file and the line, and a mended file is taken."""
    old, wrong, place = WRONG[name]
    before = agent.config.read_text()
    agent.edit(old, wrong)
    agent.config.write_text(agent.config.read_text() + "[sensor:echo]\ncommand = /bin/false\n")
    said = agent.reload()

    assert "the old settings stay" in said
    assert place in said
    assert check(agent, monitor, "old", "echo", "5")[:2] == [0, "5"]
    agent.config.write_text(before + "[sensor:echo]\ncommand = /bin/false\n")
    assert "settings loaded again" in agent.reload()
    assert check(agent, monitor, "new", "echo", "5")[:2] == [1, "nan"]


@pytest.mark.parametrize("how", ["gone", "a directory", "not UTF-8", "empty", "zeros", "a gigantic line"])
def test_a_file_that_is_none_any_more_leaves_the_old_settings_in_force(
    monitor: Monitor, agent: AgentProcess, how: str
) -> None:
    """Whatever became of it, the agent goes on and says so."""
    agent.config.unlink()
    if how == "a directory":
        agent.config.mkdir()
    elif how != "gone":
        contents = {"not UTF-8": b"[monitor]\nurl = \xff\n", "empty": b"", "zeros": bytes(1000)}
        agent.config.write_bytes(contents.get(how, b"[monitor]\nurl = http://h/\n" + b"x" * 5_000_000))
    said = agent.reload()

    assert "the old settings stay" in said
    assert "client.cfg" in said
    assert len(said) < 5000
    assert check(agent, monitor, "t", "echo", "5")[:2] == [0, "5"]


def test_tls_files_that_cannot_be_used_leave_the_old_settings_in_force(monitor: Monitor, agent: AgentProcess) -> None:
    """An https server whose authority's file is not there."""
    agent.edit(f"url = {monitor.url}", f"url = https://127.0.0.1:{monitor.port}/\nca = nowhere.pem")
    agent.edit("timeout = 30", "timeout = 0.1")
    said = agent.reload()
    write_sensor(agent.directory, "slow", "#!/bin/sh\nsleep 0.5\necho 1\n")

    assert "the old settings stay" in said
    assert check(agent, monitor, "t", "slow")[:2] == [0, "1"]


@pytest.mark.parametrize("option", ["port", "host", "state", "workers", "journal_limit"])
def test_what_counts_only_from_the_next_start_on_is_told(monitor: Monitor, agent: AgentProcess, option: str) -> None:
    """And the rest of the file counts at once."""
    values = {
        "port": str(free_port()),
        "host": "127.0.0.3",
        "state": "elsewhere/",
        "workers": "3",
        "journal_limit": "1G",
    }
    port = f"port = {agent.port}"
    agent.edit(port, f"port = {values['port']}" if option == "port" else f"{port}\n{option} = {values[option]}")
    agent.edit("timeout = 30", "timeout = 0.5")
    write_sensor(agent.directory, "slow", "#!/bin/sh\nsleep 20\n")
    said = agent.reload()

    assert f"[agent] {option}: changed, but that counts only from the next start on" in said
    assert check(agent, monitor, "t", "slow")[0] == -9
    assert not (agent.directory / "elsewhere").exists()


def test_what_has_not_changed_is_not_told_to_need_a_restart(agent: AgentProcess) -> None:
    """A file that is the same gives one line."""
    said = agent.reload()

    assert said.count("settings loaded again") == 1
    assert "next start" not in said


# -- moves --------------------------------------------------------------------------------------------------------


def test_a_persons_choice_ends_a_probation(monitor: Monitor, new: Monitor, agent: AgentProcess) -> None:
    """Who edits the file during a probation knows better: the agent goes there, and does not go back later."""
    third = Monitor(extended=True)
    third.start()
    monitor.next_url = new.url
    new.refuse = lambda _ticket: True
    agent.edit("timeout = 5", "timeout = 5\nprobation = 2")
    agent.reload()
    try:
        agent.proxy().cmd_update_config("move")
        wait_until(lambda: "result refused ticket=move" in agent.log.read_text(), "the new server refuses")
        agent.edit(new.url, third.url)
        agent.reload()
        third.wait_for_ticket("move", 10)
        time.sleep(2.5)

        assert check(agent, third, "t")[0] == 0
        assert third.url in agent.config.read_text()
        assert monitor.handed == []
        assert not (agent.directory / "var" / "move.json").exists()
    finally:
        third.stop()


def test_a_reload_during_a_move_does_not_undo_half_of_it(monitor: Monitor, new: Monitor, agent: AgentProcess) -> None:
    """HUPs as fast as they can come, and moves there and back: the agent is always with the server of its file."""
    monitor.next_url, new.next_url = new.url, monitor.url
    sections = "".join(f"[sensor:s{number}]\ntimeout = {number + 1}\n" for number in range(100))
    agent.config.write_text(agent.config.read_text() + sections)  # it takes a while to read
    finished = threading.Event()

    def hang_up() -> None:
        while not finished.is_set():
            agent.signal(signal.SIGHUP)
            time.sleep(0.001)

    caller = threading.Thread(target=hang_up)
    caller.start()
    try:
        for number in range(60):
            agent.proxy().cmd_update_config(number)
            wait_until(lambda: number in (*monitor.tickets(), *new.tickets()), f"the outcome of move {number}")  # noqa: B023
    finally:
        finished.set()
        caller.join(10)
    agent.reload()
    taken = {**monitor.results(), **new.results()}
    outcomes = [taken[number].content[1] for number in range(60)]
    agent.proxy().cmd_status("status")
    wait_until(lambda: "status" in (*monitor.tickets(), *new.tickets()), "the status")
    status = {**monitor.results(), **new.results()}["status"].content[1]

    assert [outcome["message"] for outcome in outcomes if outcome["status"] != "ok"] == []
    assert f"url = {status['server']}\n" in agent.config.read_text()
    assert "is over" not in agent.log.read_text()


def _connection(agent: AgentProcess, source: str) -> http.client.HTTPConnection:
    return http.client.HTTPConnection("127.0.0.1", agent.port, timeout=10, source_address=(source, 0))


def _post(connection: http.client.HTTPConnection, method: str) -> int:
    connection.request("POST", "/xmlrpc/", xmlrpc.client.dumps((), method), HEADERS)
    answer = connection.getresponse()
    answer.read()
    return answer.status
