"""Send one mail now, without a queue, for a person who waits for the answer; or try how far one would get."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable, Mapping, Sequence

from monagent.errors import Unavailable
from monagent.mail.queue import Mail
from monagent.mail.settings import Server
from monagent.mail.transport import LoginRefused, MailTooLarge, Reply, Session, connect

Tell = Callable[[str, str], None]
"""Hears of a step of a trial, and what is wrong with it; "" when nothing is."""


def send_now(mail: Mail, servers: Sequence[Server]) -> Mapping[str, Reply]:
    """Hand a mail to the first server that lets us in; the answer for each recipient.

    Raises:
        Unavailable: none can be reached.
        LoginRefused: none of those that can takes our name and password.
    """
    session = _first(servers)
    with contextlib.closing(session):
        try:
            return session.send(mail.sender, mail.recipients, mail.whole)
        except MailTooLarge as error:
            if mail.lean is None:
                return dict.fromkeys(mail.recipients, Reply(552, str(error)))
        try:
            return session.send(mail.sender, mail.recipients, mail.lean)
        except MailTooLarge as error:
            return dict.fromkeys(mail.recipients, Reply(552, str(error)))


def _first(servers: Sequence[Server]) -> Session:
    problems: list[Unavailable | LoginRefused] = []
    for server in servers:
        try:
            return connect(server)
        except (Unavailable, LoginRefused) as error:
            problems.append(error)
    raise next((one for one in problems if isinstance(one, LoginRefused)), None) or Unavailable(
        "; ".join(str(one) for one in problems) or "no mail server is configured"
    )


def walk(server: Server, sender: str, recipients: Sequence[str], tell: Tell) -> bool | None:
    """Try one server step by step, without sending anything; whether all went well, None where it cannot be reached."""
    try:
        found = socket.getaddrinfo(server.host, server.port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        tell(f"look up {server.host}", getattr(error, "strerror", None) or str(error))
        return None
    tell(f"look up {server.host}: {', '.join(dict.fromkeys(str(one[4][0]) for one in found))}", "")
    try:
        with contextlib.closing(connect(server, lambda line: tell(line, ""))) as session:
            answers = session.try_envelope(sender, recipients)
    except LoginRefused as error:
        tell(f"log in as {server.user}", str(error))
        return False
    except Unavailable as error:
        tell(f"talk to {server}", str(error).removeprefix(f"{server}: "))
        return None
    for step, reply in answers:
        tell(f"{step}: {reply}" if reply.taken else step, "" if reply.taken else str(reply))
    return all(reply.taken for _, reply in answers)
