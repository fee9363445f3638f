"""`monagent spool` beside a running agent: looking must never cost what was acknowledged."""

from __future__ import annotations

import json
from pathlib import Path

from tests.conftest import StartAgent
from tests.integration.served import ECHO
from tests.support.agent import write_sensor
from tests.support.monitor import Monitor


def test_looking_into_the_spool_of_a_running_agent_loses_nothing(make_agent: StartAgent, monitor: Monitor) -> None:
    """The looker ends, the agent goes on writing to the same files, and all of it survives kill -9."""
    monitor.stop()
    agent = make_agent(monitor.url)
    write_sensor(agent.directory, "echo", ECHO)
    agent.start()
    accepted: list[int] = []
    for number in range(5):
        assert agent.proxy().cmd_submit_reading(number, "echo", [number]) == "OK"
        accepted.append(number)
        listed = json.loads(agent.command("spool", "list", "--json").stdout)
        assert [one["ticket"] for one in listed] == accepted
        assert _deleted_files(agent.pid) == []
    assert agent.proxy().cmd_submit_reading(5, "echo", [5]) == "OK"
    accepted.append(5)
    agent.kill()
    monitor.start()
    agent.start()
    monitor.wait_for(len(accepted))

    assert sorted(monitor.tickets(), key=int) == accepted


def _deleted_files(pid: int) -> list[str]:
    """The files that a process still has open although nobody can find them any more."""
    opened = [str(Path(f"/proc/{pid}/fd/{name.name}").readlink()) for name in Path(f"/proc/{pid}/fd").iterdir()]
    return [path for path in opened if path.endswith("(deleted)")]
