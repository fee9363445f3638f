"""Cut what mails are made and sent by out of the settings, and find what is wrong with the files that they name."""

from __future__ import annotations

from dataclasses import replace

from monagent.addresses import address
from monagent.config.settings import Settings
from monagent.errors import ConfigError, Problem, Refused
from monagent.mail.settings import BUILT_IN, Mailing, ReportSettings, Server
from monagent.private_file import read_password


def mailing(settings: Settings) -> Mailing:
    """All that is set about mails.

    Raises:
        Refused: the password cannot be read.
    """
    return Mailing(
        host=settings.host_name,
        sender=_sender(settings),
        servers=mail_servers(settings) if settings.reports else (),
        reports={
            name: ReportSettings(name, one.to, one.subject, one.template, one.language, one.period)
            for name, one in settings.reports.items()
        },
        templates=settings.mail.templates,
        cap=settings.mail.cap,
    )


def _sender(settings: Settings) -> tuple[str, str]:
    name, address = settings.mail.sender
    return name, address or f"monagent@{settings.host_name}"


def mail_servers(settings: Settings) -> tuple[Server, ...]:
    """The mail servers, in order.

    Raises:
        Refused: the password cannot be read.
    """
    mail = settings.mail
    password = read_password(mail.password_file) if mail.password_file else ""
    return tuple(
        Server(
            host, port or mail.port, mail.security, mail.user, password, mail.ca, mail.timeout, settings.host_name
        )
        for host, port in mail.host
    )  # fmt: skip


def mail_problems(settings: Settings) -> list[Problem]:
    """What is wrong with templates and the authority's file. Loads what makes mails only where there is something to try."""
    found: list[Problem] = []
    if settings.reports:
        try:
            address(_sender(settings)[1])
        except ValueError as error:
            found.append(Problem("client.cfg", None, "mail", "sender", f"must be given: {error}"))
            return found
    if settings.mail.ca:
        from monagent.mail.transport import check_ca  # noqa: PLC0415

        try:
            check_ca(settings.mail.ca)
        except ConfigError as error:
            found += error.problems
    directory = settings.mail.templates
    if directory and not directory.is_dir():
        found.append(Problem("client.cfg", None, "mail", "templates", f"there is no directory {directory}"))
        return found
    return [*found, *_template_problems(settings)]


def _template_problems(settings: Settings) -> list[Problem]:
    own = {name for name, one in settings.reports.items() if one.subject or one.template not in ("", *BUILT_IN)}
    if not own and not (settings.reports and settings.mail.templates):
        return []
    from monagent.mail.compose import Composer  # noqa: PLC0415 - 10 MB

    composer = Composer(settings.host_name, _sender(settings), settings.mail.templates)
    found = []
    for name, one in settings.reports.items():
        report = ReportSettings(name, one.to, one.subject, language=one.language)
        for template in sorted(_shown_by(settings, name)):
            try:
                composer.check(replace(report, template=template))
            except Refused as error:
                option = "subject" if "template subject" in str(error) else "template"
                found.append(Problem("client.cfg", None, f"mail:{name}", option, str(error)))
    return found


def _shown_by(settings: Settings, report: str) -> set[str]:
    """The templates that a report is shown by."""
    own = settings.reports[report].template
    if own and own not in BUILT_IN:
        return {own}
    used = {own} if own else set()
    used |= {"alert"} if any(one.mail == report for one in settings.alerts.values()) else set()
    backups = [job for job in settings.backups.values() if job.mail[0] == report]
    return used | ({"alert", "backup"} if backups else set()) or {"report"}
