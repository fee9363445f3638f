"""Cut what the server's mails are made and sent by out of its settings."""

from __future__ import annotations

from monagent.config.sections import MailSection
from monagent.mail.settings import Mailing, Server
from monagent.private_file import read_password


def mailing_of(mail: MailSection, host: str) -> Mailing:
    """All that `[mail]` of server.cfg says; there are no reports in it, alerts name their recipients.

    Args:
        mail: the section.
        host: the name of this host.

    Raises:
        Refused: the password cannot be read.
    """
    name, address = mail.sender
    password = read_password(mail.password_file) if mail.password_file else ""
    servers = tuple(
        Server(one, port or mail.port, mail.security, mail.user, password, mail.ca, mail.timeout, host)
        for one, port in mail.host
    )
    return Mailing(host, (name, address or f"monagent@{host}"), servers, {}, mail.templates, mail.cap)
