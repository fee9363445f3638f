"""`cmd_restore_sensor_code`: put the newest backup of a sensor back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from monagent.agent.commands import update_sensor_code
from monagent.agent.commands.kind import LONG, CommandKind, Tools
from monagent.agent.commands.update_sensor_code import told
from monagent.agent.receipts import token_of
from monagent.errors import BadArguments
from monagent.models import Job, Outcome, Value
from monagent.protocol import RESTORE_SENSOR_CODE


def check(params: Sequence[Value], tools: Tools) -> list[Any]:
    """Make `[sensor]` of what follows the ticket.

    Raises:
        BadArguments: it is not one sensor's name, or nothing is known of that sensor.
    """
    arguments = update_sensor_code.check(params, tools)
    if not tools.updater.knows(arguments[0]):
        raise BadArguments("no such sensor here, and no backup of one")
    return arguments


def perform(job: Job, tools: Tools) -> Outcome:
    """Put it back by the road of an update: tested, swapped, the version before kept."""
    (name,) = job.command.arguments
    return told(job, tools, lambda: tools.updater.restore(name, token_of(job)))


COMMAND = CommandKind(
    method=RESTORE_SENSOR_CODE,
    arguments=", sensor",
    signatures=(("string",),),
    help="Puts the newest backup of a sensor back, tested before; the version that it replaces becomes a backup.",
    check=check,
    perform=perform,
    lane=LONG,
)
