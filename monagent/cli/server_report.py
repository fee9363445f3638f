"""`monserver report daily|weekly|monthly`: the quality report of the last full day, week or month."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import click
from sqlalchemy import insert, select

from monagent.addresses import address
from monagent.cli.options import json_option, print_json
from monagent.cli.server_kinds import kind_group
from monagent.cli.server_options import config_option, open_database
from monagent.config import server_settings
from monagent.errors import BadArguments, Refused
from monagent.mail.settings import Mailing
from monagent.mail.words import LANGUAGES
from monagent.server.alerts.carriers.letters import About, Letter, Letters
from monagent.server.alerts.reports import sums
from monagent.server.alerts.reports.definition import ReportDefinition, definition_of, report_view_of, zone_of
from monagent.server.alerts.reports.jobs import row_of
from monagent.server.alerts.reports.view import checks_json
from monagent.server.database import Database
from monagent.server.schema import host, notification

F = TypeVar("F", bound=Callable[..., Any])
FORMS = ("text", "html", "csv")


@click.group()
def report() -> None:
    """Show or send a quality report: how available each check was, its incidents, the worst with plots."""


def _zone(_context: click.Context, _parameter: click.Parameter, key: str) -> str:
    try:
        return zone_of(key).key
    except Refused as error:
        raise click.BadParameter(str(error)) from None


def report_options(command: F) -> F:
    """Adds what all of them take."""
    options = (
        click.option("--host", "hosts", multiple=True, metavar="HOST", help="This host. May be given several times."),
        click.option(
            "--group", "groups", multiple=True, metavar="GROUP", help="Hosts in this group. May be given several times."
        ),
        click.option(
            "--timezone", default="UTC", show_default=True, metavar="ZONE", callback=_zone, help="Whose days count."
        ),
        click.option("--language", default=LANGUAGES[0], show_default=True, type=click.Choice(LANGUAGES)),
        click.option(
            "--html",
            type=click.Path(path_type=Path, dir_okay=False),
            metavar="FILE",
            help="Write it there, with plots.",
        ),
        click.option("--mail", multiple=True, metavar="ADDRESS", help="Let the running server send it there."),
        click.option("--to-stdout", "form", type=click.Choice(FORMS), help="Print it; csv has every check's figures."),
        config_option,
        json_option,
    )
    for option in reversed(options):
        command = option(command)
    return command


@report.command()
@report_options
def daily(**options: Any) -> None:
    """Of yesterday. Prints text when nothing else is asked for."""
    _run("daily", **options)


@report.command()
@report_options
def weekly(**options: Any) -> None:
    """Of the last full week, Monday to Sunday. Prints text when nothing else is asked for."""
    _run("weekly", **options)


@report.command()
@report_options
def monthly(**options: Any) -> None:
    """Of the last full month. Prints text when nothing else is asked for."""
    _run("monthly", **options)


def _run(
    kind: str, *, config: Path, html: Path | None, mail: Sequence[str], form: str | None, as_json: bool, **chosen: Any
) -> None:
    database = open_database(config)
    wanted = definition_of("", {"period": kind, "mail": [_address(one) for one in mail], **chosen})
    _check(database, wanted)
    now = time.time()
    if as_json:
        period = wanted.last_full(now)
        print_json(checks_json(sums.quality(database, period, wanted.choice), period))
    if html or form or not (mail or as_json):
        letter = _letter(database, wanted, config, now)
        if html:
            html.write_text(letter.page, "utf-8")
            click.echo(f"{letter.rendered.subject!r} is in {html}", err=True)
        if form or not (html or mail or as_json):
            click.echo(_printed(letter, form or FORMS[0]), nl=False)
    if mail:
        with database.write() as db:
            number = db.scalar(insert(notification).values(row_of(wanted, now)).returning(notification.c.id))
        click.echo(f"queued as {number}; monserver notification list --all tells how it went", err=True)


def _address(text: str) -> str:
    try:
        return address(text)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--mail") from None


def _check(database: Database, wanted: ReportDefinition) -> None:
    """A misspelt name would make a report of nothing."""
    with database.read() as db:
        rows = db.execute(select(host.c.name, host.c.groups)).all()
    names, groups = {row.name for row in rows}, {group for row in rows for group in row.groups}
    for what, unknown in (("host", wanted.choice.hosts - names), ("group", wanted.choice.groups - groups)):
        if unknown:
            raise BadArguments(f"there is no {what} {min(unknown)!r}; monserver host list names them all")


def _letter(database: Database, wanted: ReportDefinition, config: Path, now: float) -> Letter:
    mail = server_settings.load(config).mail
    here = socket.gethostname()
    letters = Letters(Mailing(here, mail.sender, (), {}, mail.templates), lambda: now)
    content = row_of(wanted, now)["content"]
    about = About(wanted.kind, wanted.mail, "report", wanted.language, footer="report sent by")
    return letters.make(about, report_view_of(database)(content))


def _printed(letter: Letter, form: str) -> str:
    if form == "html":
        return letter.page
    if form == "text":
        return letter.rendered.text
    return letter.view.attachments[0].data.decode("utf-8-sig")


report = kind_group(
    "report", "Define who gets a report on quality, and when.", "weekly --period weekly --mail boss@example.org"
)
for command in (daily, weekly, monthly):
    report.add_command(command)
"""To stand beside those that define reports."""
