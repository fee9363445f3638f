"""`cmd_status`: report how the agent itself is doing."""

from __future__ import annotations

from monagent.agent.commands.kind import CommandKind, Tools, no_arguments
from monagent.models import Job, Outcome


def perform(_job: Job, tools: Tools) -> Outcome:
    """Gather the figures."""
    return {"status": "ok", "message": "the agent is running", **tools.status()}


COMMAND = CommandKind(
    method="cmd_status",
    arguments="",
    signatures=((),),
    help="Reports version, uptime, queue depths, the last delivery and the sensors by cmd_store_command_result.",
    check=no_arguments,
    perform=perform,
)
