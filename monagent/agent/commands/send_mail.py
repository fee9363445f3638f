"""`cmd_send_mail`: send a report by mail to the recipients that the configuration names."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from monagent.agent.commands.kind import MAIL, CommandKind, Tools
from monagent.errors import BadArguments
from monagent.models import Job, Outcome, Value
from monagent.protocol import SEND_MAIL


def check(params: Sequence[Value], tools: Tools) -> list[Any]:
    """Make `[report, context]` of what follows the ticket.

    Raises:
        BadArguments: there is no such report, or the context is none.
    """
    if not 1 <= len(params) <= 2 or not isinstance(params[0], str):
        raise BadArguments("after the ticket comes the name of a report, then a struct for its template or nothing")
    report, context = params[0], params[1] if len(params) == 2 and params[1] is not None else {}
    if report not in tools.mails.mailing.reports:
        known = ", ".join(sorted(tools.mails.mailing.reports)) or "none is configured"
        raise BadArguments(f"there is no report of that name (known: {known})")
    if not isinstance(context, dict):
        raise BadArguments("the context must be a struct")
    return [report, {name: _plain(value) for name, value in context.items()}]


def _plain(value: Value) -> Any:
    """The same as JSON can carry it."""
    if isinstance(value, datetime):
        return value.isoformat() + ("" if value.tzinfo else "Z")
    if isinstance(value, bytes):
        raise BadArguments("the context must not hold base64: nothing would show it")
    if isinstance(value, dict):
        return {name: _plain(one) for name, one in value.items()}
    if isinstance(value, list):
        return [_plain(one) for one in value]
    return value


def perform(job: Job, tools: Tools) -> Outcome | None:
    """Make it and put it into the queue; the outcome comes when a mail server has taken it."""
    report, context = job.command.arguments
    return tools.mails.send(job, report, context)


COMMAND = CommandKind(
    method=SEND_MAIL,
    arguments=", report[, context]",
    signatures=(("string",), ("string", "struct")),
    help="Sends the [mail:REPORT] HTML mail, its template filled in with the context, and reports by "
    "cmd_store_command_result once a mail server has taken it for each recipient, or it was given up.",
    check=check,
    perform=perform,
    lane=MAIL,
)
