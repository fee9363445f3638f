"""`cmd_update_sensor_code`: fetch a sensor's package from the server, test it, put it in the place of the old version."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from monagent.agent.commands.kind import LONG, CommandKind, Tools
from monagent.agent.memory import give_back
from monagent.agent.receipts import token_of
from monagent.errors import BadArguments, Refused
from monagent.models import Job, Outcome, Value, is_sensor_name
from monagent.protocol import UPDATE_SENSOR_CODE

log = logging.getLogger(__name__)


def check(params: Sequence[Value], _tools: Tools) -> list[Any]:
    """Make `[sensor]` of what follows the ticket. The sensor need not be here yet.

    Raises:
        BadArguments: it is not one sensor's name.
    """
    if len(params) != 1 or not isinstance(params[0], str) or not is_sensor_name(params[0]):
        raise BadArguments(
            "after the ticket comes a sensor's name: letters, digits, _ - . (not first: - .), at most 64 characters"
        )
    return [params[0]]


def perform(job: Job, tools: Tools) -> Outcome:
    """Fetch and install. Whatever is refused has changed nothing."""
    (name,) = job.command.arguments
    try:
        return told(job, tools, lambda: tools.updater.install(name, tools.fetch(name), token_of(job)))
    finally:
        give_back()


def told(job: Job, tools: Tools, change: Any) -> Outcome:
    """The outcome of a change to a sensor, also when it was refused."""
    (name,) = job.command.arguments
    try:
        outcome: Outcome = change()
    except Refused as refused:
        message = str(refused)
    except OSError as error:
        message = f"{error.filename or tools.sensors.path}: {error.strerror or error}"
    else:
        return outcome
    log.warning("sensor %s left as it is ticket=%s: %s", name, job.command.ticket, message)
    here = tools.sensors.installed(name)
    return {
        "status": "error",
        "message": f"{name} was left as it is: {message}",
        "sensor": name,
        "version": here.version,
        "digest": here.digest,
        "replaced": {},
    }


COMMAND = CommandKind(
    method=UPDATE_SENSOR_CODE,
    arguments=", sensor",
    signatures=(("string",),),
    help="Fetches the package of a sensor from the server by cmd_get_sensor_code, tests it and puts it in place; "
    "the version before becomes a backup. Without a ticket it does the same and sends no result.",
    check=check,
    perform=perform,
    lane=LONG,
    unticketed=True,
)
