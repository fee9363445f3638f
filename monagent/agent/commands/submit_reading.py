"""`cmd_submit_reading`: run a sensor and hand in the number that it prints."""

from __future__ import annotations

import errno
import logging
import shlex
import time
from collections.abc import Sequence
from typing import Any

from monagent.agent.commands.kind import CommandKind, Tools
from monagent.errors import BadArguments, Refused
from monagent.models import NAGIOS, NUMBER, Job, Outcome, RunResult, Sensor, Value
from monagent.protocol import (
    EXIT_NOT_EXECUTABLE,
    EXIT_NOT_FOUND,
    NOT_A_NUMBER,
    STDERR_LIMIT,
    SUBMIT_READING,
    number_in,
)
from monagent.sensors import perfdata
from monagent.sensors.probation import STARTS

log = logging.getLogger(__name__)

_USAGE = f"{SUBMIT_READING} takes (ticket, sensor, [arguments])"
LINE_LIMIT = 8192
"""Characters of arguments in one string; splitting takes a time that grows with the square."""
_NEVER_STARTED = ("not-executable", "not-found")
_SENSORS_FAULT = (errno.ENOENT, errno.EACCES, errno.ENOEXEC, errno.ENOTDIR, errno.ELOOP)
_UNTRUSTED = ("timeout", "output-too-long", *_NEVER_STARTED)
_METRIC = ("label", "value", "unit", "warn", "crit", "min", "max")


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


def perform(job: Job, tools: Tools) -> Outcome:
    """Run the sensor. It may have gone since the command was accepted: that is a result, too."""
    name, arguments = job.command.arguments
    with tools.occupancy.run_in(tools.sensors.directory(name)):
        sensor = tools.sensors.find(name)
        result = _run(sensor, arguments, tools)
        hopeless = _judge(name, result, tools) if sensor else ""
    outcome = reading(result, NUMBER if sensor is None else sensor.format)
    if hopeless:
        outcome["stderr"] += _take_back(name, hopeless, tools)
    log.info(
        "check done ticket=%s sensor=%s code=%d data=%s error=%s seconds=%.3f",
        job.command.ticket,
        name,
        outcome["ret_code"],
        outcome["data"],
        outcome["error"] or "-",
        result.duration,
    )
    return outcome


def _run(sensor: Sensor | None, arguments: list[str], tools: Tools) -> RunResult:
    if sensor is None:
        return RunResult(EXIT_NOT_FOUND, b"", b"the sensor is gone", "not-found", time.time(), 0.0)
    return tools.run(sensor.run(arguments))


def _judge(name: str, result: RunResult, tools: Tools) -> str:
    """The digest of a new version that has failed to start too often; otherwise nothing."""
    if result.error not in _NEVER_STARTED:
        tools.probation.started(name)
        return ""
    # Too long an argument, or no process to spare, is not the sensor's fault.
    return tools.probation.could_not_start(name) if result.errno in _SENSORS_FAULT else ""


def _take_back(name: str, digest: str, tools: Tools) -> str:
    """What became of a new version that could not start, as a line for its reading."""
    try:
        message = tools.updater.take_back(name, digest)["message"]
    except (Refused, OSError) as error:
        message = f"and the version before could not be put back: {error}"
    log.error("sensor %s: the new version could not start %d times; %s", name, STARTS, message)
    return f"\nmonagent: the new version of {name} could not start {STARTS} times; {message}"


def reading(result: RunResult, sensor_format: str = NUMBER) -> Outcome:
    """What goes to the server for a run: the code, and the number where there is one to trust."""
    if sensor_format == NAGIOS:
        return _reading_of_plugin(result)
    number = None if result.error in _UNTRUSTED else number_in(result.output)
    said = result.stderr.decode("utf-8", "replace")
    if result.error == "output-too-long":
        said += f"\nmonagent: it printed {result.printed} bytes, more than [sensor] output_limit allows"
    return _reading(result, number, said.lstrip("\n"), [])


def _reading_of_plugin(result: RunResult) -> Outcome:
    """The number is the first performance value, and what the plug-in says to people goes the way of its stderr."""
    parsed = perfdata.parse(result.output.decode("utf-8", "replace"))
    said = "\n".join(text for text in (parsed.text, result.stderr.decode("utf-8", "replace")) if text)
    said = said.encode()[:STDERR_LIMIT].decode("utf-8", "ignore")
    if result.error:  # cut short somewhere, perhaps in the middle of a number
        return _reading(result, None, said, [])
    metrics = [{name: getattr(metric, name) for name in _METRIC} for metric in parsed.metrics]
    return _reading(result, parsed.number, said, metrics)


def _reading(result: RunResult, number: str | None, said: str, metrics: list[dict[str, Any]]) -> Outcome:
    return {
        "ret_code": result.code,
        "data": NOT_A_NUMBER if number is None else number,
        "started": result.started,
        "duration": round(result.duration, 6),
        "error": result.error or ("not-a-number" if number is None else ""),
        "stderr": said,
        "metrics": metrics,
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
