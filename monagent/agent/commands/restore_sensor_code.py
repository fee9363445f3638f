"""`cmd_restore_sensor_code`: put the newest backup of a sensor back."""

from __future__ import annotations

from monagent.agent.commands.kind import CommandKind, Tools
from monagent.agent.commands.update_sensor_code import check, told
from monagent.agent.receipts import token_of
from monagent.models import Job, Outcome
from monagent.protocol import RESTORE_SENSOR_CODE


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
    long=True,
)
