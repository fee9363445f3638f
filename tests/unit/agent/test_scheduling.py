"""The agent's threads wait for their turn; sensors are scheduled as usual."""

from __future__ import annotations

import os
import threading
from pathlib import Path

from monagent.agent.scheduling import patient_threads
from tests.conftest import StartAgent
from tests.support.agent import write_sensor
from tests.support.monitor import Monitor


def policy_of_a_new_thread() -> int:
    """How a thread that is started now is scheduled."""
    found: list[int] = []
    thread = threading.Thread(target=lambda: found.append(os.sched_getscheduler(0)))
    thread.start()
    thread.join()
    return found[0]


def test_only_threads_that_are_started_inside_are_patient() -> None:
    """The caller is itself again afterwards."""
    with patient_threads():
        assert policy_of_a_new_thread() == os.SCHED_BATCH

    assert policy_of_a_new_thread() == os.SCHED_OTHER
    assert os.sched_getscheduler(0) == os.SCHED_OTHER


def test_sensors_are_scheduled_as_usual(monitor: Monitor, make_agent: StartAgent) -> None:
    """Field 41 of /proc/PID/stat is the policy; most of the agent's threads have another one."""
    agent = make_agent(monitor.url)
    write_sensor(agent.directory, "policy", "#!/bin/sh\ncut -d ' ' -f 41 /proc/$$/stat\n")
    agent.start()
    agent.proxy().cmd_submit_reading("t", "policy")
    threads = Path(f"/proc/{agent.pid}/task").iterdir()
    policies = [os.sched_getscheduler(int(thread.name)) for thread in threads]

    assert monitor.wait_for_ticket("t").content[1] == str(os.SCHED_OTHER)
    assert policies.count(os.SCHED_BATCH) >= 10
