"""Mail by a real Postfix: plain, STARTTLS, TLS, login, and what it refuses."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import StartAgent
from tests.integration.served import wait_until
from tests.support.agent import AgentProcess
from tests.support.monitor import Monitor
from tests.support.postfix import PASSWORD, USER, Postfix
from tests.support.rights import AS_ROOT, needs_program
from tests.support.smtp import html_of, text_of

pytestmark = [
    pytest.mark.skipif(not AS_ROOT, reason="Postfix is started by root alone"),
    needs_program("postfix"),
]


@pytest.fixture(scope="module")
def postfix(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Postfix]:
    """One that takes mails up to 60 KB for two people."""
    with Postfix(tmp_path_factory.mktemp("postfix"), size=60_000) as postfix:
        yield postfix


def agent_by(
    make_agent: StartAgent, monitor: Monitor, postfix: Postfix, port: int, security: str = "none", *,
    password: str = PASSWORD, ca: bool = True, to: str = "admin@example.org night@example.org",
) -> AgentProcess:  # fmt: skip
    """An agent that mails by it."""
    agent = make_agent(monitor.url)
    lines = [f"[mail]\nhost = 127.0.0.1\nport = {port}\nsecurity = {security}\nsender = mon@example.org\ntimeout = 5"]
    if security != "none":
        file = agent.directory / "password"
        file.write_text(password)
        file.chmod(0o600)
        lines.append(f"user = {USER}\npassword_file = {file}")
        lines += [f"ca = {postfix.authority.file}"] if ca else []
    agent.config.write_text(agent.config.read_text() + "\n".join(lines) + f"\n[mail:ops]\nto = {to}\nlanguage = zh\n")
    agent.start()
    return agent


def outcome(monitor: Monitor, ticket: str) -> dict[str, Any]:
    """What the server was told."""
    found: dict[str, Any] = monitor.wait_for_ticket(ticket, 30).content[1]
    return found


@pytest.mark.parametrize("security", ["none", "starttls", "tls"])
def test_a_mail_arrives(make_agent: StartAgent, monitor: Monitor, postfix: Postfix, security: str) -> None:
    """In any language, whichever way; Postfix and the standard library agree on what is in it."""
    port = {"none": postfix.plain, "starttls": postfix.submission, "tls": postfix.tls}[security]
    agent = agent_by(make_agent, monitor, postfix, port, security)
    title = f"网站访问 {security}"
    agent.proxy().cmd_send_mail("t", "ops", {"title": title, "numbers": {"访问次数": 5}})
    assert outcome(monitor, "t")["status"] == "ok"
    wait_until(lambda: sum(title in str(mail["subject"]) for mail in postfix.arrived()) == 2, "both have it")
    mail = next(mail for mail in postfix.arrived() if title in str(mail["subject"]))

    assert not list(mail.defects)
    assert "访问次数: 5" in text_of(mail)
    assert "访问次数" in html_of(mail)
    assert ("ESMTPSA" if security != "none" else "ESMTP") in str(mail["received"])


def test_a_wrong_password_is_535(make_agent: StartAgent, monitor: Monitor, postfix: Postfix) -> None:
    """Nothing is sent, and the password is in no log."""
    agent = agent_by(make_agent, monitor, postfix, postfix.submission, "starttls", password="not this one")
    agent.proxy().cmd_send_mail("t", "ops", {"title": "never"})
    wait_until(lambda: "no mail is sent" in agent.log.read_text(), "the login is refused")

    assert "535" in agent.log.read_text()
    assert "not this one" not in agent.log.read_text()
    assert [mail for mail in postfix.arrived() if "never" in str(mail["subject"])] == []
    assert agent.command("mail", "ops").returncode == 77


def test_an_unknown_authority_gets_nothing(make_agent: StartAgent, monitor: Monitor, postfix: Postfix) -> None:
    """Not even a name."""
    agent = agent_by(make_agent, monitor, postfix, postfix.tls, "tls", ca=False)
    agent.proxy().cmd_send_mail("t", "ops", {"title": "never"})
    wait_until(lambda: "certificate is not to be trusted" in agent.log.read_text(), "it is not trusted")

    assert monitor.tickets() == []
    done = agent.command("mail", "test")
    assert (done.returncode, "not to be trusted" in done.stdout) == (69, True)


def test_what_postfix_refuses_is_the_outcome(make_agent: StartAgent, monitor: Monitor, postfix: Postfix) -> None:
    """550 and 552 for one recipient each, 450 for one that is tried again; the others have it once."""
    to = "admin@example.org nobody@example.org full@example.org later@example.org"
    agent = agent_by(make_agent, monitor, postfix, postfix.plain, to=to)
    agent.proxy().cmd_send_mail("t", "ops", {"title": "some"})
    wait_until(lambda: "some" in str([mail["subject"] for mail in postfix.arrived()]), "one has it")
    wait_until(lambda: "it is tried again: 450" in agent.log.read_text(), "one is put off")
    time.sleep(1)

    log = agent.log.read_text()
    assert "nobody@example.org was not taken, it is dropped: 550" in log
    assert "full@example.org was not taken, it is dropped: 552" in log
    assert sum("some" in str(mail["subject"]) for mail in postfix.arrived()) == 1
    queued = agent.command("mail", "queue").stdout
    assert "later@example.org: waiting: 450 4.7.1" in queued
    assert "admin@example.org: taken: 250" in queued
    assert monitor.tickets() == []


def test_a_mail_over_the_limit_goes_without_attachments(
    make_agent: StartAgent, monitor: Monitor, postfix: Postfix
) -> None:
    """552 to MAIL, by its size."""
    agent = agent_by(make_agent, monitor, postfix, postfix.plain, to="admin@example.org")
    rows = [[f"/page/{number}/{'x' * 60}", number] for number in range(700)]
    agent.proxy().cmd_send_mail("t", "ops", {"title": "large", "tables": [{"columns": ["page", "n"], "rows": rows}]})

    assert outcome(monitor, "t")["status"] == "ok"
    (mail,) = [mail for mail in postfix.wait(1) if "large" in str(mail["subject"])]
    assert list(mail.iter_attachments()) == []


def test_the_walk_says_each_step(make_agent: StartAgent, monitor: Monitor, postfix: Postfix) -> None:
    """DNS, connection, TLS, login, sender, recipients; sends nothing."""
    before = len(postfix.arrived())
    agent = agent_by(
        make_agent, monitor, postfix, postfix.submission, "starttls", to="admin@example.org nobody@example.org"
    )
    done = agent.command("mail", "test")
    lines = done.stdout.splitlines()

    assert done.returncode == 1
    assert [line.split(":")[0] for line in lines] == [
        "ok   look up 127.0.0.1", f"ok   connected to 127.0.0.1 port {postfix.submission}", lines[2].split(":")[0],
        "ok   logged in as me@mail.example.org", "ok   sender mon@example.org", "ok   recipient admin@example.org",
        "FAIL recipient nobody@example.org",
    ]  # fmt: skip
    assert lines[2].startswith("ok   TLSv1.")
    assert "certificate for " in lines[2]
    assert "mail.example.org" in lines[2]
    assert "valid until " in lines[2]
    time.sleep(0.3)
    assert len(postfix.arrived()) == before


def test_a_person_sends_one_at_once(make_agent: StartAgent, monitor: Monitor, postfix: Postfix, tmp_path: Path) -> None:
    """And hears what the server said."""
    agent = agent_by(make_agent, monitor, postfix, postfix.plain, to="admin@example.org")
    done = agent.command("mail", "ops", "--example", "site")

    assert (done.returncode, done.stdout[:25]) == (0, "admin@example.org: taken:")
    wait_until(lambda: "www.example.org 第 47 周" in str([mail["subject"] for mail in postfix.arrived()]), "it came")
