"""`cmd_list_sensors`: report every sensor and its help text."""

from __future__ import annotations

import time
from dataclasses import replace

from monagent.agent.commands.kind import LONG, CommandKind, Tools, no_arguments
from monagent.models import Job, Outcome, Value

HELP_SECONDS = 5.0
HELP_LIMIT = 8 * 1024
TOTAL_SECONDS = 20.0
"""For all sensors together; those whose turn does not come are named without their help."""
DIRECT_SECONDS = 5.0
"""Where a caller waits for the answer, and a thread with it."""
TOTAL_LIMIT = 256 * 1024
"""Bytes of all help texts together; what goes beyond is left out, the names are not."""


def help_texts(tools: Tools, seconds: float) -> dict[str, str]:
    """The help of every sensor, by its name, within so many seconds."""
    texts: dict[str, str] = {}
    left = TOTAL_LIMIT
    until = time.monotonic() + seconds
    for name in tools.sensors.names():
        texts[name] = _help_text(name, tools, until - time.monotonic())[: max(left, 0)]
        left -= len(texts[name])
    return texts


def _help_text(name: str, tools: Tools, seconds: float) -> str:
    if seconds <= 0:
        return "(no help: the sensors before it took too long)"
    sensor = tools.sensors.find(name)
    if sensor is None:
        return "(gone)"
    timeout = min(HELP_SECONDS, sensor.timeout, seconds)
    with tools.occupancy.run_in(tools.sensors.directory(name)):
        result = tools.run(replace(sensor.run([sensor.help_argument]), timeout=timeout, output_limit=HELP_LIMIT))
    if result.code not in sensor.help_codes:
        return f"(no help: {result.error or f'it ended with {result.code}'})"
    return result.output.decode("utf-8", "replace").strip()


def perform(_job: Job, tools: Tools) -> Outcome:
    """Ask every sensor for its help."""
    texts = help_texts(tools, TOTAL_SECONDS)
    installed = {name: _installed(name, tools) for name in texts}
    return {"status": "ok", "message": f"{len(texts)} sensors", "sensors": texts, "installed": installed}


def _installed(name: str, tools: Tools) -> dict[str, Value]:
    with tools.occupancy.run_in(tools.sensors.directory(name)):
        return tools.sensors.installed(name).as_value()


def direct(tools: Tools) -> Value:
    """The form without a ticket: the answer is the struct itself."""
    return dict(help_texts(tools, DIRECT_SECONDS))


COMMAND = CommandKind(
    method="cmd_list_sensors",
    arguments="",
    signatures=((),),
    help="Reports every sensor with its help text, version and digest by cmd_store_command_result. "
    "Without a ticket it answers directly with a struct of name and help text.",
    check=no_arguments,
    perform=perform,
    lane=LONG,
    direct=direct,
)
