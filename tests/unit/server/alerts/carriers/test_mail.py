"""Notifications as mail, taken by a real mail server."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from monagent.config import server_settings
from monagent.errors import Refused
from monagent.mail.settings import Mailing, Server
from monagent.server.alerts.carriers.mail import MailChannel, recipients_of
from monagent.server.alerts.carriers.parcels import FAILED, SENT, Parcel
from monagent.server.alerts.carriers.settings import mailing_of
from monagent.server.alerts.carriers.shelf import Shelf
from monagent.server.alerts.reports.definition import definition_of, report_view_of
from monagent.server.alerts.reports.periods import Period
from monagent.server.database import Database
from tests.support.ports import free_port
from tests.support.smtp import MailServer, html_of, once, text_of
from tests.unit.server.alerts.carriers.conftest import StartCarrier
from tests.unit.server.alerts.carriers.receiver import until
from tests.unit.server.alerts.carriers.rows import (
    add_host,
    add_incident,
    add_probe,
    add_readings,
    content,
    notifications,
    put,
    states,
)
from tests.unit.server.alerts.reports.readings import DAY, START, fill

PERIOD = Period("daily", START, START + DAY)


@pytest.fixture
def mails() -> Iterator[MailServer]:
    """A mail server."""
    with MailServer() as server:
        yield server


def _channel(database: Database, port: int, templates: Path | None = None) -> MailChannel:
    server = Server("127.0.0.1", port, timeout=5.0)
    mailing = Mailing("monitor", ("Monitor", "monitor@example.org"), (server,), {}, templates)
    return MailChannel(database, mailing, report_view_of(database))


def _claimed(database: Database, now: float) -> Parcel:
    parcel, _ = Shelf(database).claim(now)
    assert parcel is not None
    return parcel


def test_a_problem_and_its_recovery_are_one_thread(database: Database, mails: MailServer, carry: StartCarrier) -> None:
    """With a plot of what the database holds, and who sent it by which rule."""
    host = add_host(database)
    probe = add_probe(database, host)
    now = time.time()
    add_readings(database, host, probe, {now - 300 * n: 30.0 - n for n in range(20)})
    incident = add_incident(database, host, probe)
    put(database, incident_id=incident)
    recovery = {"state": "ok", "value": 52.0, "message": "it was CRITICAL since midnight"}
    put(database, incident_id=incident, what="recovery", content=recovery)
    carry(database, mail=_channel(database, mails.port))

    problem, recovered = (one.mail for one in mails.wait(2))
    assert problem["Subject"] == "CRITICAL: disk percent / on web1 (2.8)"
    assert recovered["Subject"] == "OK: disk percent / on web1 (52)"
    assert recovered["In-Reply-To"] == problem["Message-ID"]
    assert problem["X-Monagent-Incident"] == "web1/root disk/1795350600"
    assert problem["To"] == "ops@example.org"
    assert "20 readings" in text_of(problem)
    assert "by its rule “ops”" in text_of(problem)
    assert "client.cfg" not in html_of(problem)
    assert [part.get_content_type() for part in problem.walk()].count("image/png") == 1
    until(lambda: states(database) == [SENT, SENT])


def test_a_mail_that_is_sent_again_is_the_same_mail(database: Database, mails: MailServer) -> None:
    """Mail programs and servers that see it twice can tell."""
    put(database)
    now = time.time()
    channel = _channel(database, mails.port)
    channel.send(_claimed(database, now))
    channel.send(_claimed(database, now + 1000))

    first, second = mails.wait(2)
    assert first.mail["Message-ID"] == second.mail["Message-ID"]
    assert first.mail["Message-ID"].endswith("@example.org>")


def test_an_outage_of_the_network_is_one_mail(database: Database, mails: MailServer, carry: StartCarrier) -> None:
    """The worst first, the rest in a table beside it."""
    due = time.time() - 10
    for number in range(300):
        more = {"host": f"web{number}", "state": "critical" if number == 250 else "warning"}
        put(database, created=due, next_try=due, content=more)
    carry(database, mail=_channel(database, mails.port))

    (mail,) = (one.mail for one in mails.wait(1))
    assert mail["Subject"] == "CRITICAL: 300 notifications: 1 CRITICAL, 299 WARNING"
    assert mail["X-Monagent-State"] == "critical"
    html = html_of(mail)
    assert html.index("web250") < html.index("web0<")
    assert "The first 50 of 300 rows" in html
    (table,) = (part for part in mail.walk() if part.get_content_type() == "text/csv")
    assert table.get_content().count("\n") == 301
    until(lambda: set(states(database)) == {SENT})
    time.sleep(0.1)
    assert len(mails.arrived) == 1


def test_recipients_have_a_fate_each(database: Database, mails: MailServer) -> None:
    """Who has it gets it once; who was refused is told of; who was put off is tried again."""
    put(database, target="a@example.org,full@example.org,gone@example.org")
    answers = {"full@example.org": once("450 mailbox is busy"), "gone@example.org": lambda _address: "550 no such user"}
    mails.replies["RCPT"] = lambda address: answers[address](address) if address in answers else None
    channel, shelf, now = _channel(database, mails.port), Shelf(database), time.time()

    first = _claimed(database, now)
    verdict = channel.send(first)
    assert verdict.outcome == "later"
    assert verdict.trouble == "full@example.org: 450 mailbox is busy; gone@example.org: 550 no such user"
    shelf.settle(first, verdict, now, now + 10)
    second = _claimed(database, now + 10)
    verdict = channel.send(second)
    shelf.settle(second, verdict, now, 0.0)

    assert [one.recipients for one in mails.wait(2)] == [["a@example.org"], ["full@example.org"]]
    (row,) = notifications(database)
    assert (row.state, row.trouble) == (SENT, "gone@example.org: 550 no such user")


def test_a_mail_that_nobody_may_have_fails(database: Database, mails: MailServer, carry: StartCarrier) -> None:
    """At once, and with what the mail server said."""
    mails.replies["RCPT"] = lambda _address: "550 no such user"
    put(database)
    put(database, target="nobody")
    carry(database, mail=_channel(database, mails.port))

    until(lambda: states(database) == [FAILED, FAILED])
    first, second = notifications(database)
    assert first.trouble == "ops@example.org: 550 no such user"
    assert second.trouble.startswith('the alert\'s recipients are wrong: "nobody" is not a mail address')


def test_a_mail_server_that_is_away_gets_all_when_it_is_back(
    database: Database, carry: StartCarrier, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only one of them tries; those that had tried before go with the others."""
    monkeypatch.setattr("monagent.server.alerts.carriers.gates.LONGEST_SECONDS", 1.0)
    port = free_port()
    put(database)
    put(database, rule="night")
    carrier = carry(database, mail=_channel(database, port))
    until(lambda: any(row.trouble for row in notifications(database)))
    assert sum(row.attempts for row in notifications(database)) == 1

    with MailServer(port=port) as mails:
        carrier.wake()
        mails.wait(2)
        until(lambda: states(database) == [SENT, SENT])


def test_a_template_of_the_site_that_is_broken_keeps_nobody_from_knowing(
    database: Database, mails: MailServer, tmp_path: Path
) -> None:
    """The built-in one is taken."""
    (tmp_path / "alert.subject").write_text("{{ nothing.of.that }}")
    put(database)
    _channel(database, mails.port, tmp_path).send(_claimed(database, time.time()))

    assert mails.wait(1)[0].mail["Subject"] == "CRITICAL: disk percent / on web1 (2.8)"


def test_a_host_as_a_whole_has_no_check(database: Database, mails: MailServer) -> None:
    """Its message says what is wrong; there is no plot."""
    silent = dict.fromkeys(("probe", "sensor", "arguments", "value", "warning", "critical"))
    for state, message in (("silent", "it has handed in nothing for 15 min"), ("stale", "it is overdue")):
        put(database, rule=state, content={**silent, "state": state, "message": message})
    channel, now = _channel(database, mails.port), time.time()
    channel.send(_claimed(database, now))
    channel.send(_claimed(database, now))

    assert [one.mail["Subject"] for one in mails.wait(2)] == [
        "CRITICAL: it has handed in nothing for 15 min on web1",
        "UNKNOWN: it is overdue on web1",
    ]


def test_a_test_says_that_it_is_one(database: Database, mails: MailServer) -> None:
    """In the language of the alert, too."""
    members = {"host": "monitor", "state": "ok", "message": "", "since": 0.0}
    bare = dict.fromkeys(content()) | members
    put(database, what="test", content=bare)
    put(database, what="test", rule="zh", content={**bare, "language": "zh"})
    channel, now = _channel(database, mails.port), time.time()
    channel.send(_claimed(database, now))
    channel.send(_claimed(database, now))

    english, chinese = (one.mail for one in mails.wait(2))
    assert english["Subject"] == "OK: this is a test: nothing is wrong on monitor"
    assert "这是一条测试通知" in chinese["Subject"]


def test_a_report_is_made_when_it_is_sent(database: Database, mails: MailServer, carry: StartCarrier) -> None:
    """From what the database holds then; too large a one goes without its file."""
    fill(database, add_probe(database, add_host(database)), 1)
    put(database, what="report", rule="quality", content=definition_of("quality", {}).content(PERIOD))
    carry(database, mail=_channel(database, mails.port))

    (mail,) = (one.mail for one in mails.wait(1))
    assert mail["Subject"].startswith("Daily quality report: quality: 1 of 1 checks had trouble")
    assert [part.get_filename() for part in mail.iter_attachments()] == ["checks.csv"]
    assert "report “quality”" in text_of(mail)
    until(lambda: states(database) == [SENT])


def test_a_mail_server_that_takes_no_large_mail_gets_it_without_files(database: Database) -> None:
    """The mail says so."""
    fill(database, add_probe(database, add_host(database)), 1)
    put(database, what="report", content=definition_of("quality", {}).content(PERIOD))
    parcel = _claimed(database, time.time())
    with MailServer() as probe:
        letter = _channel(database, probe.port).letter(parcel, ["a@b.c"])
    assert letter.lean is not None
    with MailServer(size=len(letter.whole) - 1) as mails:
        assert _channel(database, mails.port).send(parcel).outcome == SENT
        (arrived,) = mails.wait(1)

    assert not list(arrived.mail.iter_attachments())
    assert "The attachments were left out" in text_of(arrived.mail)


@pytest.mark.parametrize("target", ["", " , ", "a@b.c,\r\nBcc: x@y.z", "a b@c.d"])
def test_recipients_that_are_none_are_refused(target: str) -> None:
    """Nothing of them gets into a header."""
    with pytest.raises(Refused):
        recipients_of(target)


def test_settings_of_mail_become_servers(tmp_path: Path) -> None:
    """All of [mail] in server.cfg, the password out of its file."""
    secret, config = tmp_path / "password", tmp_path / "server.cfg"
    secret.write_text("hush\n")
    secret.chmod(0o600)
    config.write_text(
        "[mail]\nhost = mx1 mx2:587\nuser = me\nsecurity = starttls\npassword_file = password\ncap = 50\n"
    )
    found = mailing_of(server_settings.load(config).mail, "monitor")

    assert [(one.host, one.port, one.password) for one in found.servers] == [("mx1", 25, "hush"), ("mx2", 587, "hush")]
    assert (found.sender, found.cap) == (("", "monagent@monitor"), 50)
    config.write_text("[mail]\nsender = Monitor <m@example.org>\n")
    assert mailing_of(server_settings.load(config).mail, "monitor").sender == ("Monitor", "m@example.org")
