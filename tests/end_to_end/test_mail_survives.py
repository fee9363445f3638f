"""Mails and alarms over kill -9 at random moments, with a mail server that refuses, stalls and goes away meanwhile."""

from __future__ import annotations

import random
import time
from collections import Counter

from tests.conftest import StartAgent
from tests.support.agent import AgentProcess
from tests.support.monitor import Monitor
from tests.support.smtp import MailServer

KILLS, MAILS = 25, 60


def test_no_mail_is_lost_and_a_repeat_is_the_same_mail(make_agent: StartAgent, monitor: Monitor) -> None:
    """Each acknowledged ticket ends once; whatever arrived more than once has one Message-ID; the order is kept."""
    chance = random.Random(7)
    with MailServer() as server:
        moody = {"MAIL": "421 going", "RCPT": "450 later", "DATA": "451 not now"}
        for step, reply in moody.items():
            server.replies[step] = lambda _address, reply=reply: reply if chance.random() < 0.1 else None
        agent = make_agent(
            monitor.url,
            f"[mail]\nhost = 127.0.0.1:{server.port}\nsender = mon@b.c\ntimeout = 3\n[mail:ops]\nto = a@b.c\n",
        )
        agent.start()
        sent: list[str] = []
        for turn in range(KILLS):
            for _ in range(MAILS // KILLS + 1):
                _send(agent, f"t{len(sent)}", sent)
            time.sleep(chance.random() * 0.25)
            agent.kill()
            if turn % 5 == 4:
                agent.start()
                time.sleep(0.5)
                agent.kill()
            agent.start()
        server.replies.clear()
        for ticket in sent:
            assert monitor.wait_for_ticket(ticket, 120).content[1]["status"] == "ok"
        arrived = server.arrived

    assert set(monitor.results()) == set(sent)
    ids = Counter(one.mail["message-id"] for one in arrived)
    titles = {one.mail["message-id"]: one.mail["subject"].split(":")[0] for one in arrived}
    assert sorted(titles.values()) == sorted(sent)
    assert len(arrived) - len(ids) <= KILLS
    first = list(dict.fromkeys(one.mail["subject"].split(":")[0] for one in arrived))
    assert first == sent


def _send(agent: AgentProcess, ticket: str, sent: list[str]) -> None:
    assert agent.proxy().cmd_send_mail(ticket, "ops", {"title": ticket}) == "OK"
    sent.append(ticket)
