"""`monagent mail`: make a report's mail and send it, look at it, or try how far one would get."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from monagent.cli.mail_context import context_of
from monagent.cli.options import config_option, json_option, print_json
from monagent.config import settings
from monagent.config.checks import RESERVED_REPORTS
from monagent.errors import Refused
from monagent.mail.example import EXAMPLES
from monagent.mail.example import example as example_of
from monagent.mail.settings import QUEUE_FILE, incidents_of, template_for

if TYPE_CHECKING:
    from monagent.config.settings import Settings
    from monagent.mail.compose import Made

EXIT_REFUSED, EXIT_AWAY, EXIT_LATER = 1, 69, 75
_FORMS = (".html", ".eml", ".txt")


@click.command()
@click.argument("report", metavar="REPORT | test | queue")
@click.option("--context", "context_file", metavar="FILE.json", help="What the template shows; - reads standard input.")
@click.option(
    "--example",
    type=click.Choice(list(EXAMPLES)),
    help="Show one of the contexts that are shipped: an alert, a report, a web site's traffic, a backup.",
)
@click.option(
    "--preview",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE.html",
    help="Write what would be sent, send nothing: .html has the pictures in it, .eml is the mail, .txt its text.",
)
@config_option
@json_option
@click.pass_context
def mail(
    context: click.Context,
    report: str,
    context_file: str | None,
    example: str | None,
    preview: Path | None,
    config: Path,
    as_json: bool,
) -> None:
    """Send the mail of a [mail:REPORT] section now, without the running agent's queue.

    \b
    monagent mail nightly                          from what the agent has recorded
    monagent mail ops --context visits.json        with values of your own
    monagent mail ops --preview /tmp/ops.html      look at it first
    monagent mail ops --example site --preview /tmp/site.html
    monagent mail test                             walk to each mail server, step by step; sends nothing
    monagent mail queue                            what waits in the agent's queue, and why

    Exit 0: taken for every recipient; 1: refused; 69: no mail server can be reached; 75: try again later.
    """  # noqa: D301 - click wants the backspace itself
    loaded = settings.load(config)
    if report in RESERVED_REPORTS:
        if context_file or preview or example:
            raise click.UsageError(f"`monagent mail {report}` takes no --context, --example or --preview")
        if report == "queue":
            _show_queue(loaded, as_json=as_json)
        else:
            context.exit(_test(loaded, as_json=as_json))
        return
    if context_file and example:
        raise click.UsageError("give --context or --example, not both")
    made = _made(loaded, report, example, context_of(context_file) if context_file else {})
    if preview is not None:
        _write(made, preview)
        return
    context.exit(_send(loaded, made, as_json=as_json))


def _made(loaded: Settings, name: str, shipped: str | None, context: dict[str, Any]) -> Made:
    from monagent.agent.mailing import mailing  # noqa: PLC0415 - loads what no other command needs
    from monagent.agent.wiring import mail_sources, sync_jobs, trusted_by  # noqa: PLC0415
    from monagent.mail.compose import Composer  # noqa: PLC0415

    found = mailing(loaded)
    if name not in found.reports:
        known = ", ".join(sorted(found.reports)) or "there is no [mail:REPORT] section"
        raise click.UsageError(f"there is no report {name!r} in {loaded.file} (known: {known})")
    sources = mail_sources(loaded.agent.state, trusted_by(loaded), lambda: sync_jobs(loaded))
    composer = Composer(found.host, found.sender, found.templates, sources)
    report = found.reports[name]
    if not report.to:
        raise Refused(f"[mail:{name}] to is empty in {loaded.file}: there is nobody to send it to")
    if shipped:
        return composer.compose(report.shown_by(EXAMPLES[shipped]), example_of(shipped, report.language))
    report = report if report.template else report.shown_by(template_for(context))
    return composer.compose(report, context, incidents=incidents_of(context))


def _write(made: Made, file: Path) -> None:
    form = file.suffix.lower()
    if form not in _FORMS:
        raise click.UsageError(f"--preview writes one of {', '.join(_FORMS)}, by the name of the file")
    data = {".html": made.page.encode(), ".eml": made.mail.whole, ".txt": made.rendered.text.encode()}[form]
    file.write_bytes(data)
    click.echo(f"monagent: {made.rendered.subject!r} for {', '.join(made.mail.recipients)} is in {file}", err=True)


def _send(loaded: Settings, made: Made, *, as_json: bool) -> int:
    from monagent.agent.mailing import mail_servers  # noqa: PLC0415
    from monagent.mail.direct import send_now  # noqa: PLC0415

    replies = send_now(made.mail, mail_servers(loaded))
    if as_json:
        recipients = [{"address": one, "taken": reply.taken, "reply": str(reply)} for one, reply in replies.items()]
        print_json({"message_id": made.mail.message_id, "subject": made.rendered.subject, "recipients": recipients})
    else:
        for address, reply in replies.items():
            click.echo(f"{address}: {'taken' if reply.taken else 'not taken'}: {reply}")
    if all(reply.taken for reply in replies.values()):
        return 0
    return EXIT_LATER if all(reply.taken or reply.passing for reply in replies.values()) else EXIT_REFUSED


def _test(loaded: Settings, *, as_json: bool) -> int:
    """Walk to each server as each report would."""
    from monagent.agent.mailing import mailing  # noqa: PLC0415
    from monagent.mail.direct import walk  # noqa: PLC0415

    found = mailing(loaded)
    if not found.reports:
        raise Refused(f"{loaded.file} has no [mail:REPORT] section: there is nobody to send mail to")
    recipients = list(dict.fromkeys(address for report in found.reports.values() for address in report.to))
    steps: list[dict[str, str]] = []

    def tell(step: str, problem: str) -> None:
        steps.append({"step": step, "problem": problem})
        if not as_json:
            click.echo(f"{'FAIL' if problem else 'ok  '} {step}{': ' + problem if problem else ''}")

    well = [walk(server, found.sender[1], recipients, tell) for server in found.servers]
    if as_json:
        print_json({"ok": any(well), "steps": steps})
    elif not any(well):
        problem = "no mail server can be reached" if set(well) == {None} else "no mail server would take all of it"
        click.echo(f"monagent: {problem}", err=True)
    return 0 if any(well) else EXIT_AWAY if set(well) == {None} else EXIT_REFUSED


def _show_queue(loaded: Settings, *, as_json: bool) -> None:
    """What waits; read beside a running agent."""
    from monagent.mail.outbox import TROUBLE  # noqa: PLC0415
    from monagent.mail.queue import Queue  # noqa: PLC0415

    file = loaded.agent.state / QUEUE_FILE
    waiting, trouble = [], ""
    if file.exists():
        with contextlib.closing(Queue(file, read_only=True)) as queue:
            waiting, trouble = queue.waiting(), queue.remembered().get(TROUBLE, "")
    rows: Sequence[dict[str, Any]] = [
        {
            "id": one.id,
            "report": one.report,
            "subject": one.subject,
            "made": one.made,
            "attempts": one.attempts,
            "next_try": one.next_try,
            "recipients": [
                {"address": address, "state": state, "reply": reply}
                for address, (state, reply) in one.recipients.items()
            ],
        }
        for one in waiting
    ]
    if as_json:
        print_json({"trouble": trouble, "waiting": rows})
        return
    for row in rows:
        left = row["next_try"] - time.time()
        when = f", again in {left:.0f} s" if left > 0 else ""
        click.echo(f"{row['id']}  [mail:{row['report']}]  tried {row['attempts']} times{when}  {row['subject']}")
        for one in row["recipients"]:
            click.echo(f"    {one['address']}: {one['state']}{': ' + one['reply'] if one['reply'] else ''}")
    if trouble:
        click.echo(f"monagent: nothing can be sent now: {trouble}", err=True)
    click.echo(f"monagent: {len(rows)} mails wait", err=True)
