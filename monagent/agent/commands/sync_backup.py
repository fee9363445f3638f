"""`cmd_sync_backup`: make a backup equal to its source, or look whether it is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from monagent.agent.commands.kind import BACKUP, CommandKind, Tools
from monagent.errors import BadArguments
from monagent.models import Job, Outcome, Value
from monagent.protocol import SYNC_BACKUP
from monagent.sync.job import CHECK, SYNC


def check(params: Sequence[Value], tools: Tools) -> list[Any]:
    """Make `[job, mode]` of what follows the ticket.

    Raises:
        BadArguments: there is no such job or mode.
    """
    if not 1 <= len(params) <= 2 or not isinstance(params[0], str):
        raise BadArguments("after the ticket comes the name of a backup job, then a mode or nothing")
    job, mode = params[0], params[1] if len(params) == 2 and params[1] is not None else SYNC
    if job not in tools.backups.jobs:
        known = ", ".join(sorted(tools.backups.jobs)) or "none is configured"
        raise BadArguments(f"there is no backup job of that name (known: {known})")
    if mode not in (SYNC, CHECK):
        raise BadArguments(f"the mode is {SYNC} or {CHECK}")
    return [job, mode]


def perform(job: Job, tools: Tools) -> Outcome:
    """Run it beside us, however long it takes."""
    name, mode = job.command.arguments
    return tools.backups.run(name, mode)


COMMAND = CommandKind(
    method=SYNC_BACKUP,
    arguments=", job[, mode]",
    signatures=(("string",), ("string", "string")),
    help="Runs the [backup:JOB] section: makes the backup equal to its source (mode sync, the default) or looks whether "
    "it is (mode check), and reports what was found and done by cmd_store_command_result.",
    check=check,
    perform=perform,
    lane=BACKUP,
)
