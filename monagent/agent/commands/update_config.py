"""`cmd_update_config`: move to the server that the current server names."""

from __future__ import annotations

import logging

from monagent.agent.commands.kind import LONG, CommandKind, Tools, no_arguments
from monagent.agent.receipts import token_of
from monagent.errors import Refused
from monagent.models import Job, Outcome
from monagent.protocol import UPDATE_CONFIG

log = logging.getLogger(__name__)


def perform(job: Job, tools: Tools) -> Outcome:
    """Move, or tell why not. A refused move has changed nothing."""
    try:
        return tools.move(token_of(job))
    except Refused as refused:
        log.warning("no move ticket=%s: %s", job.command.ticket, refused)
        url = tools.server_url()
        return {"status": "error", "message": f"still with {url}: {refused}", "url": url, "previous": url}


COMMAND = CommandKind(
    method=UPDATE_CONFIG,
    arguments="",
    signatures=((),),
    help="Asks the current server which server to use by cmd_get_new_monitor_url, makes sure that it is well, writes its "
    "URL into client.cfg and uses it from then on. When it takes no result in time, the agent goes back.",
    check=no_arguments,
    perform=perform,
    lane=LONG,
)
