"""What the standard `xmlrpc.client` says to an agent, and what it hears; one JSON object on stdout."""

from __future__ import annotations

import json
import sys
import xmlrpc.client
from typing import Any

proxy = xmlrpc.client.ServerProxy(sys.argv[1])
heard: dict[str, dict[str, Any]] = {}


def call(name: str, method: str, *arguments: Any) -> None:
    """Make one call and note what was answered under that name."""
    try:
        heard[name] = {"value": getattr(proxy, method)(*arguments)}
    except xmlrpc.client.Fault as fault:
        heard[name] = {"fault": fault.faultCode, "text": fault.faultString}


call("healthcheck", "healthcheck")
call("methods", "system.listMethods")
call("help", "system.methodHelp", "cmd_submit_reading")
call("text, array", "cmd_submit_reading", "text-1", "echo", ["1.5"])
call("text, string", "cmd_submit_reading", "007", "echo", "'2'")
call("int, array", "cmd_submit_reading", 42, "echo", [3, 4.5])
call("int, string", "cmd_submit_reading", 43, "echo", "4")
call("no sensor", "cmd_submit_reading", 44, "no-such-sensor")
call("no method", "cmd_fly")
batch = xmlrpc.client.MultiCall(proxy)
batch.cmd_submit_reading("m-1", "echo", [5])
batch.cmd_fly()
batch.cmd_submit_reading(77, "echo", [6])
heard["multicall"] = {"value": batch().results}
json.dump(heard, sys.stdout)
