"""Names and shapes on the wire, for both sides (docs/protocol.md)."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from monagent.errors import BadArguments
from monagent.models import Outcome, Result, Ticket, Value

OK = "OK"
PATHS = ("/xmlrpc/", "/xmlrpc", "/RPC2")
CAPABILITY = "monagent"
CAPABILITIES: dict[str, Value] = {CAPABILITY: {"specUrl": "docs/protocol.md", "specVersion": 1}}
"""What both sides name in `system.getCapabilities` to tell that they speak the extended dialect."""

SUBMIT_READING = "cmd_submit_reading"
UPDATE_CONFIG = "cmd_update_config"
UPDATE_SENSOR_CODE = "cmd_update_sensor_code"
SYNC_BACKUP = "cmd_sync_backup"
SEND_MAIL = "cmd_send_mail"
RESTORE_SENSOR_CODE = "cmd_restore_sensor_code"
REGISTER_NEW_SERVER = "cmd_register_new_server"
STORE_PROBE_DATA = "cmd_store_probe_data"
STORE_COMMAND_RESULT = "cmd_store_command_result"
GET_NEW_MONITOR_URL = "cmd_get_new_monitor_url"
GET_SENSOR_CODE = "cmd_get_sensor_code"
HEALTHCHECK = "healthcheck"
MULTICALL = "system.multicall"
GET_CAPABILITIES = "system.getCapabilities"

EXIT_NOT_EXECUTABLE = 126
EXIT_NOT_FOUND = 127
NOT_A_NUMBER = "nan"

PACKAGE_LIMIT = 6 * 1024 * 1024
"""Bytes of a sensor's package; three of it must fit into the memory that an agent may spend on a server's answer."""

ERROR_LIMIT, NUMBER_LIMIT = 32, 400
"""Characters of a reading's error, and of its number."""
STDERR_LIMIT = 4096
"""Bytes of a sensor's stderr that travel with a reading."""

_NUMBER = re.compile(r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_TICKET = re.compile(r"[\x20-\x7e]{1,128}")
_INT32 = range(-(2**31), 2**31)
_TICKET_RANGE = range(-(2**63), 2**63)


def number_in(output: bytes) -> str | None:
    """The one finite number that a sensor printed, as it printed it, or None when there is not just that."""
    text = output.strip().decode("ascii", "replace")
    if _NUMBER.fullmatch(text) and math.isfinite(float(text)):
        return text
    return None


def ticket_from_wire(value: Value) -> Ticket:
    """Check a ticket.

    Raises:
        BadArguments: it is neither an integer nor 1 to 128 printable ASCII characters.
    """
    if isinstance(value, int) and not isinstance(value, bool) and value in _TICKET_RANGE:
        return value
    if isinstance(value, str) and _TICKET.fullmatch(value):
        return value
    raise BadArguments("the ticket must be an integer or a string of 1 to 128 printable ASCII characters")


def ticket_key(ticket: Ticket) -> str:
    """The form under which a ticket is remembered: an integer and its decimal string share it."""
    return str(ticket)


def callback(result: Result, *, extended: bool) -> tuple[str, list[Value]]:
    """The call that hands a result to the server, in its dialect. A result always carries a ticket."""
    ticket, when = result.command.ticket, _utc(result.finished)
    if result.command.method == SUBMIT_READING:
        return STORE_PROBE_DATA, [ticket, _probe(result.outcome, extended=extended), when]
    name = result.command.method.removeprefix("cmd_")
    return STORE_COMMAND_RESULT, [ticket, name, result.outcome, when]


def _probe(outcome: Outcome, *, extended: bool) -> list[Value]:
    probe: list[Value] = [outcome["ret_code"], outcome["data"]]
    if extended:
        probe.append(
            {
                "started": _utc(outcome["started"]),
                "duration": outcome["duration"],
                "error": outcome["error"],
                "stderr": outcome["stderr"],
                "metrics": outcome["metrics"],
            }
        )
    return probe


def _utc(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def probe_from_wire(params: Sequence[Value]) -> tuple[Ticket, Outcome, datetime]:
    """Read the parameters of `cmd_store_probe_data` in either dialect.

    Raises:
        BadArguments: they are not (ticket, [ret_code, data, (details)], timestamp).
    """
    if len(params) != 3:
        raise BadArguments(f"{STORE_PROBE_DATA} takes (ticket, [ret_code, data], timestamp)")
    ticket, probe, when = ticket_from_wire(params[0]), params[1], params[2]
    if not (isinstance(probe, list) and 2 <= len(probe) <= 3):
        raise BadArguments("the probe must be an array [ret_code, data]")
    ret_code, data = probe[0], probe[1]
    if not isinstance(ret_code, int) or isinstance(ret_code, bool) or not isinstance(data, str):
        raise BadArguments("the probe must be an array of an int and a string")
    if ret_code not in _INT32:
        raise BadArguments("no program ends with such a code")
    if not isinstance(when, datetime):
        raise BadArguments("the timestamp must be a dateTime.iso8601")
    if data != NOT_A_NUMBER and (len(data) > NUMBER_LIMIT or number_in(data.encode()) is None):
        raise BadArguments("the data must be one number as text, or nan")
    details = probe[2] if len(probe) == 3 else {}
    return ticket, {"ret_code": ret_code, "data": data, **_details(details)}, when


def _details(details: Value) -> dict[str, Any]:
    if not isinstance(details, dict):
        raise BadArguments("the third member of the probe must be a struct")
    expected: dict[str, type | tuple[type, ...]] = {
        "started": datetime,
        "duration": (float, int),
        "error": str,
        "stderr": str,
        "metrics": list,
    }
    for name, kind in expected.items():
        if name in details and not isinstance(details[name], kind):
            raise BadArguments(f"{name} in the third member of the probe has the wrong type")
    if len(str(details.get("error", ""))) > ERROR_LIMIT:
        raise BadArguments("error in the third member of the probe is none of those that there are")
    if not all(isinstance(metric, dict) for metric in details.get("metrics", ())):  # type: ignore[union-attr]
        raise BadArguments("metrics in the third member of the probe must be an array of structs")
    return {name: details[name] for name in expected if name in details}


def command_result_from_wire(params: Sequence[Value]) -> tuple[Ticket, str, Outcome, datetime]:
    """Read the parameters of `cmd_store_command_result`.

    Raises:
        BadArguments: they are not (ticket, command, outcome, timestamp), or the outcome lacks its two fixed members.
    """
    if len(params) != 4:
        raise BadArguments(f"{STORE_COMMAND_RESULT} takes (ticket, command, outcome, timestamp)")
    ticket, command, outcome, when = ticket_from_wire(params[0]), params[1], params[2], params[3]
    if not isinstance(command, str) or not isinstance(outcome, dict) or not isinstance(when, datetime):
        raise BadArguments("the command must be a string, the outcome a struct, the timestamp a dateTime.iso8601")
    if outcome.get("status") not in ("ok", "error") or not isinstance(outcome.get("message"), str):
        raise BadArguments("the outcome must have a status, ok or error, and a message")
    return ticket, command, outcome, when
