"""`cmd_register_new_server`: the original system's name for `cmd_update_config`, without a ticket."""

from __future__ import annotations

from monagent.agent.commands import update_config
from monagent.agent.commands.kind import LONG, CommandKind, no_arguments
from monagent.protocol import REGISTER_NEW_SERVER

COMMAND = CommandKind(
    method=REGISTER_NEW_SERVER,
    arguments="",
    signatures=((),),
    help="Does what cmd_update_config does; takes no ticket and sends no result.",
    check=no_arguments,
    perform=update_config.perform,
    lane=LONG,
    ticketed=False,
    unticketed=True,
)
