"""`cmd_send_mail` against a mail server that takes, refuses, puts off and goes away."""

from __future__ import annotations

import os
import signal
import ssl
import threading
import time
import xmlrpc.client
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import StartAgent
from tests.integration.served import wait_until
from tests.support.agent import AgentProcess, write_sensor
from tests.support.authority import Authority
from tests.support.monitor import Monitor
from tests.support.ports import free_port
from tests.support.smtp import MailServer, html_of, once, text_of

TO = ("admin@example.org", "night@example.org")


def mail_config(server: MailServer, more: str = "", report: str = "") -> str:
    """An agent that sends `ops` to two people."""
    return (
        f"[mail]\nhost = 127.0.0.1\nport = {server.port}\nsender = Monitoring <mon@example.org>\ntimeout = 5\n{more}\n"
        f"[mail:ops]\nto = {' '.join(TO)}\n{report}\n"
    )


@pytest.fixture
def server() -> Iterator[MailServer]:
    """A mail server that takes everything."""
    with MailServer() as server:
        yield server


@pytest.fixture
def agent(make_agent: StartAgent, monitor: Monitor, server: MailServer) -> AgentProcess:
    """An agent that mails by it."""
    agent = make_agent(monitor.url, mail_config(server))
    write_sensor(agent.directory, "echo", '#!/bin/sh\necho "$1"\n')
    agent.start()
    return agent


def outcome(monitor: Monitor, ticket: str, seconds: float = 20.0) -> dict[str, Any]:
    """What the server was told of it."""
    found: dict[str, Any] = monitor.wait_for_ticket(ticket, seconds).content[1]
    return found


def test_a_report_is_mailed_and_the_ticket_ends_when_the_server_has_it(
    monitor: Monitor, server: MailServer, agent: AgentProcess
) -> None:
    """From the command to the mail, with what the agent has recorded in it."""
    for number in (3, 5, 4):
        agent.proxy().cmd_submit_reading(f"r{number}", "echo", [str(number)])
        monitor.wait_for_ticket(f"r{number}")
    context = {
        "title": "Visits",
        "numbers": {"visits": 1234},
        "tables": [{"title": "Pages", "columns": ["page", "views"], "rows": [["/", 7]]}],
    }
    assert agent.proxy().cmd_send_mail("m", "ops", context) == "OK"
    told = outcome(monitor, "m")
    (arrived,) = server.wait(1)

    assert (told["status"], told["report"], told["message_id"]) == ("ok", "ops", arrived.mail["message-id"])
    assert {one["address"]: one["state"] for one in told["recipients"]} == dict.fromkeys(TO, "taken")
    assert (arrived.sender, sorted(arrived.recipients)) == ("mon@example.org", sorted(TO))
    mail = arrived.mail
    assert mail["subject"] == "Visits: no run failed, of 3 checks"
    for piece in ("1,234", "echo 5", "Pages"):
        assert piece in text_of(mail)
        assert piece in html_of(mail)
    assert [part.get_content_type() for part in mail.walk()] == [
        "multipart/mixed", "multipart/alternative", "text/plain", "multipart/related", "text/html", *["image/png"] * 6,
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("other",), -32602, "there is no report of that name (known: ops)"),
        ((), -32602, "after the ticket comes the name of a report"),
        ((5,), -32602, "after the ticket comes the name of a report"),
        (("ops", "text"), -32602, "the context must be a struct"),
        (("ops", {"a": xmlrpc.client.Binary(b"x")}), -32602, "must not hold base64"),
        (("ops", {}, 1), -32602, "after the ticket comes"),
    ],
)
def test_what_names_no_report_is_refused_at_once(
    agent: AgentProcess, server: MailServer, arguments: tuple[Any, ...], code: int, words: str
) -> None:
    """With a Fault, and nothing is sent."""
    with pytest.raises(xmlrpc.client.Fault) as refused:
        agent.proxy().cmd_send_mail("t", *arguments)

    assert refused.value.faultCode == code
    assert words in refused.value.faultString
    assert server.arrived == []


@pytest.mark.parametrize(
    ("context", "words"),
    [
        ({"tables": "x"}, "the context's tables must be an array, and is a string"),
        ({"tables": [{"columns": ["a"], "rows": [[1], [1, 2]]}]}, "the context's tables[0].rows[1] has 2 cells"),
        ({"numbers": {"a": [1]}}, "the context's numbers.a must be a string or a number, and is an array"),
        ({"tilte": "x"}, "the context's tilte is not known here (known: title,"),
        ({"language": "xx"}, "language must be one of en, zh"),
    ],
)
def test_a_context_of_wrong_types_is_the_outcome(
    monitor: Monitor, server: MailServer, agent: AgentProcess, context: dict[str, Any], words: str
) -> None:
    """It names the place, and nothing is sent."""
    agent.proxy().cmd_send_mail("t", "ops", context)
    told = outcome(monitor, "t")

    assert told["status"] == "error"
    assert words in told["message"]
    assert server.arrived == []


def test_the_outcome_never_comes_before_a_server_has_the_mail(
    monitor: Monitor, make_agent: StartAgent, server: MailServer
) -> None:
    """A 451 is tried again; until then the ticket is open, over a kill -9, too, and one mail arrives."""
    server.replies["DATA"] = once("451 try later")
    agent = make_agent(monitor.url, mail_config(server))
    agent.start()
    agent.proxy().cmd_send_mail("t", "ops", {"title": "once"})
    wait_until(lambda: "was not taken, it is tried again: 451" in agent.log.read_text(), "the first try")
    agent.kill()
    assert monitor.tickets() == []
    agent.start()
    told = outcome(monitor, "t", 30)

    assert told["status"] == "ok"
    assert len(server.arrived) == 1
    assert agent.proxy().cmd_send_mail("t", "ops", {"title": "once"}) == "OK"  # a repeat is acknowledged, and no more
    time.sleep(0.3)
    assert len(server.arrived) == 1


def test_a_repeat_after_a_crash_has_the_same_message_id(
    monitor: Monitor, make_agent: StartAgent, server: MailServer
) -> None:
    """The server took it, and the agent died before it heard so."""
    agent = make_agent(monitor.url, mail_config(server))
    agent.start()
    pid = agent.pid

    def die(_sender: str) -> None:
        if not server.arrived:
            threading.Timer(0.0, os.kill, (pid, signal.SIGKILL)).start()
            time.sleep(0.2)

    server.replies["DATA"] = die
    agent.proxy().cmd_send_mail("t", "ops", {})
    assert agent.wait() == -signal.SIGKILL
    agent.start()
    outcome(monitor, "t")

    assert len({one.mail["message-id"] for one in server.wait(2)}) == 1


def test_mails_wait_for_a_server_that_is_down_and_arrive_in_order(monitor: Monitor, make_agent: StartAgent) -> None:
    """Kill -9 in between; each arrives once."""
    port = free_port()
    agent = make_agent(monitor.url, mail_config(MailServer(port=port)))
    agent.start()
    for number in range(10):
        agent.proxy().cmd_send_mail(f"t{number}", "ops", {"title": f"mail {number}"})
    wait_until(lambda: "monagent: 10 mails wait\n" in agent.command("mail", "queue").stderr, "all are in the queue")
    agent.kill()
    agent.start()
    with MailServer(port=port) as again:
        for number in range(10):
            assert outcome(monitor, f"t{number}", 30)["status"] == "ok"

        assert [one.mail["subject"].split(":")[0] for one in again.arrived] == [
            f"mail {number}" for number in range(10)
        ]


def test_each_recipient_has_its_own_fate(monitor: Monitor, server: MailServer, agent: AgentProcess) -> None:
    """One is refused for good, one put off; the mail arrives once for each that wants it."""
    puts_off = once("450 greylisted")
    server.replies["RCPT"] = lambda address: "550 no such user" if address == TO[0] else puts_off(address)
    agent.proxy().cmd_send_mail("t", "ops", {})
    told = outcome(monitor, "t", 30)

    assert told["status"] == "error"
    assert {one["address"]: one["state"] for one in told["recipients"]} == {TO[0]: "refused", TO[1]: "taken"}
    assert f"not for {TO[0]} (550 no such user)" in told["message"]
    assert [one.recipients for one in server.arrived] == [[TO[1]]]


def test_421_is_a_server_that_goes_away(monitor: Monitor, server: MailServer, agent: AgentProcess) -> None:
    """It is tried again over a new connection."""
    server.replies["MAIL"] = once("421 shutting down")
    agent.proxy().cmd_send_mail("t", "ops", {})

    assert outcome(monitor, "t", 30)["status"] == "ok"
    assert (len(server.arrived), server.sessions) == (1, 2)


def test_a_mail_that_is_too_large_goes_without_its_attachments(monitor: Monitor, make_agent: StartAgent) -> None:
    """700 rows are attached, and the server takes 60 KB."""
    rows = [[f"/page/{number}/{'x' * 60}", number] for number in range(700)]
    with MailServer(size=60_000) as server:
        agent = make_agent(monitor.url, mail_config(server))
        agent.start()
        agent.proxy().cmd_send_mail(
            "t", "ops", {"tables": [{"title": "Pages", "columns": ["page", "n"], "rows": rows}]}
        )
        assert outcome(monitor, "t", 30)["status"] == "ok"
        mail = server.arrived[0].mail

    assert list(mail.iter_attachments()) == []
    assert "The attachments were left out" in text_of(mail)


def test_a_wrong_password_holds_the_queue_and_is_said_once(monitor: Monitor, make_agent: StartAgent) -> None:
    """Mending the password and HUP sends what waits."""
    with MailServer(login=("me", "right")) as server:
        agent = make_agent(monitor.url)
        password = agent.directory / "pw"
        password.write_text("mistyped\n")
        password.chmod(0o600)
        agent.config.write_text(
            agent.config.read_text() + mail_config(server, f"user = me\npassword_file = {password}")
        )
        agent.start()
        for number in range(3):
            agent.proxy().cmd_send_mail(f"t{number}", "ops", {})
        wait_until(lambda: "no mail is sent" in agent.log.read_text(), "the login is refused")
        time.sleep(1)
        assert agent.log.read_text().count("no mail is sent") == 1
        assert "refuses the login of me: 535" in agent.log.read_text()
        assert server.logins == [False] * len(server.logins)
        assert len(server.logins) < 4
        agent.proxy().cmd_status("s")
        assert "refuses the login" in outcome(monitor, "s")["mails"]["problem"]
        password.write_text("right\n")
        agent.reload()
        for number in range(3):
            assert outcome(monitor, f"t{number}")["status"] == "ok"

    assert "mistyped" not in agent.log.read_text()
    assert len(server.arrived) == 3


@pytest.mark.parametrize("security", ["starttls", "tls"])
@pytest.mark.parametrize("trusted", [True, False])
def test_certificates_are_verified(
    monitor: Monitor, make_agent: StartAgent, tmp_path: Path, security: str, trusted: bool
) -> None:
    """A server whose authority we do not know gets nothing, not even our password."""
    authority = Authority(tmp_path)
    pair = authority.issue("127.0.0.1")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(pair.certificate, pair.key)
    options: dict[str, Any] = {security: context}
    with MailServer(login=("me", "secret"), **options) as server:
        agent = make_agent(monitor.url)
        password = agent.directory / "pw"
        password.write_text("secret\n")
        password.chmod(0o600)
        ca = f"ca = {authority.file}\n" if trusted else ""
        agent.config.write_text(
            agent.config.read_text()
            + mail_config(server, f"security = {security}\nuser = me\npassword_file = {password}\n{ca}")
        )
        agent.start()
        agent.proxy().cmd_send_mail("t", "ops", {})
        if trusted:
            assert outcome(monitor, "t")["status"] == "ok"
        else:
            wait_until(lambda: "is not to be trusted" in agent.log.read_text(), "it is not trusted")
            assert (server.logins, server.arrived) == ([], [])
