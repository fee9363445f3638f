"""What a person with curl and an editor says to an agent, and what it answers."""

from __future__ import annotations

import subprocess
import xmlrpc.client
from typing import Any

_MULTICALL = """<?xml version="1.0"?>
<methodCall>
  <methodName>system.multicall</methodName>
  <params><param><value><array><data>
    <value><struct>
      <member><name>methodName</name><value>cmd_submit_reading</value></member>
      <member><name>params</name><value><array><data>
        <value>m-1</value><value>echo</value>
        <value><array><data><value><i4>5</i4></value></data></array></value>
      </data></array></value></member>
    </struct></value>
    <value><struct>
      <member><name>methodName</name><value>cmd_fly</value></member>
      <member><name>params</name><value><array><data/></array></value></member>
    </struct></value>
    <value><struct>
      <member><name>methodName</name><value>cmd_submit_reading</value></member>
      <member><name>params</name><value><array><data>
        <value><int>77</int></value><value>echo</value>
        <value><array><data><value><int>6</int></value></data></array></value>
      </data></array></value></member>
    </struct></value>
  </data></array></value></param></params>
</methodCall>
"""

BODIES = {
    "healthcheck": "<methodCall><methodName>healthcheck</methodName></methodCall>",
    "methods": "<methodCall><methodName>system.listMethods</methodName><params/></methodCall>",
    "help": """<?xml version='1.0' encoding='us-ascii'?>
        <methodCall><methodName>system.methodHelp</methodName>
        <params><param><value>cmd_submit_reading</value></param></params></methodCall>""",
    "text, array": """<methodCall><methodName>cmd_submit_reading</methodName><params>
        <param><value>text-1</value></param><param><value><string>echo</string></value></param>
        <param><value><array><data><value>1.5</value></data></array></value></param></params></methodCall>""",
    "text, string": """<methodCall><methodName>cmd_submit_reading</methodName><params>
        <param><value><string>007</string></value></param><param><value>echo</value></param>
        <param><value>'2'</value></param></params></methodCall>""",
    "int, array": """<methodCall><methodName>cmd_submit_reading</methodName><params>
        <param><value><i4>42</i4></value></param><param><value>echo</value></param>
        <param><value><array><data><value><int>3</int></value><value><double>4.5</double></value></data></array></value>
        </param></params></methodCall>""",
    "int, string": """<methodCall><methodName>cmd_submit_reading</methodName><params>
        <param><value><int> 43 </int></value></param><param><value>echo</value></param>
        <param><value>4</value></param></params></methodCall>""",
    "no sensor": """<methodCall><methodName>cmd_submit_reading</methodName><params>
        <param><value><int>44</int></value></param><param><value>no-such-sensor</value></param></params></methodCall>""",
    "no method": "<methodCall><methodName>cmd_fly</methodName><params></params></methodCall>",
    "multicall": _MULTICALL,
}


def talk(curl: str, url: str) -> dict[str, dict[str, Any]]:
    """Send every body; the answers are read by the standard library."""
    return {name: _heard(_post(curl, url, body)) for name, body in BODIES.items()}


def _post(curl: str, url: str, body: str) -> bytes:
    command = [curl, "--silent", "--show-error", "--fail", "--max-time", "20", "--noproxy", "*"]
    return subprocess.run(
        [*command, "-H", "Content-Type: text/xml", "--data-binary", "@-", url],
        input=body.encode(),
        stdout=subprocess.PIPE,
        timeout=30,
        check=True,
    ).stdout


def _heard(answer: bytes) -> dict[str, Any]:
    try:
        return {"value": xmlrpc.client.loads(answer)[0][0]}
    except xmlrpc.client.Fault as fault:
        return {"fault": fault.faultCode, "text": fault.faultString}
