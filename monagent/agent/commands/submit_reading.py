"""`cmd_submit_reading`: run a sensor and hand in the number that it prints."""

from __future__ import annotations

import logging
import shlex
import time
from collections.abc import Sequence
from typing import Any

from monagent.agent.commands.kind import CommandKind, Tools
from monagent.errors import BadArguments
from monagent.models import Command, Outcome, Run, RunResult, Value
from monagent.protocol import EXIT_NOT_EXECUTABLE, EXIT_NOT_FOUND, NOT_A_NUMBER, SUBMIT_READING, number_in

log = logging.getLogger(__name__)

_USAGE = f"{SUBMIT_READING} takes (ticket, sensor, [arguments])"
LINE_LIMIT = 8192
"""Characters of arguments in one string; splitting takes a time that grows with the square."""
_UNTRUSTED = ("timeout", "output-too-long", "not-executable", "not-found")


def check(params: Sequence[Value], tools: Tools) -> list[Any]:
    """Make `[sensor, arguments]` of what follows the ticket.

    Raises:
        BadArguments: wrong count or types, unbalanced quotes, or a sensor that is not here.
    """
    if not 1 <= len(params) <= 2:
        raise BadArguments(_USAGE)
    name = params[0]
    if not isinstance(name, str):
        raise BadArguments(f"{_USAGE}: the sensor must be a string")
    if tools.sensors.find(name) is None:
        raise BadArguments("no such sensor here; cmd_list_sensors names them all")
    return [name, _arguments(params[1] if len(params) == 2 else None)]


def _arguments(value: Value) -> list[str]:
    if value is None:
        return []
    if isinstance(value, str):
        if len(value) > LINE_LIMIT:
            raise BadArguments(f"arguments in one string may have {LINE_LIMIT} characters; use an array for more")
        try:
            return shlex.split(value)
        except ValueError:
            raise BadArguments("the arguments have an unbalanced quote") from None
    if isinstance(value, list):
        return [_argument(item) for item in value]
    raise BadArguments("the arguments must be an array of strings or numbers, or one string")


def _argument(item: Value) -> str:
    if isinstance(item, bool) or not isinstance(item, str | int | float):
        raise BadArguments("the arguments must be strings or numbers")
    return str(item)


def perform(command: Command, tools: Tools) -> Outcome:
    """Run the sensor. It may have gone since the command was accepted: that is a result, too."""
    name, arguments = command.arguments
    sensor = tools.sensors.find(name)
    if sensor is None:
        result = RunResult(EXIT_NOT_FOUND, b"", b"the sensor is gone", "not-found", time.time(), 0.0)
    else:
        result = tools.run(Run((*sensor.command, *arguments), sensor.timeout, sensor.output_limit, sensor.user))
    outcome = reading(result)
    log.info(
        "check done ticket=%s sensor=%s code=%d data=%s error=%s seconds=%.3f",
        command.ticket,
        name,
        outcome["ret_code"],
        outcome["data"],
        outcome["error"] or "-",
        result.duration,
    )
    return outcome


def reading(result: RunResult) -> Outcome:
    """What goes to the server for a run: the code, and the number where there is one to trust."""
    number = None if result.error in _UNTRUSTED else number_in(result.output)
    return {
        "ret_code": result.code,
        "data": NOT_A_NUMBER if number is None else number,
        "started": result.started,
        "duration": round(result.duration, 6),
        "error": result.error or ("not-a-number" if number is None else ""),
        "stderr": result.stderr.decode("utf-8", "replace"),
        "metrics": [],
    }


def failed(message: str) -> Outcome:
    """The reading of a check that did not even get to its sensor."""
    return reading(RunResult(EXIT_NOT_EXECUTABLE, b"", message.encode(), "not-executable", time.time(), 0.0))


COMMAND = CommandKind(
    method=SUBMIT_READING,
    arguments=", sensor, [arguments]",
    signatures=(("string",), ("string", "array"), ("string", "string")),
    help="Runs a sensor with the arguments given and hands in its reading by cmd_store_probe_data.",
    check=check,
    perform=perform,
    failed=failed,
)
