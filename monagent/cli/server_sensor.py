"""`monserver sensor`: define the sensors that probes run, and keep their packages."""

from __future__ import annotations

from monagent.cli.server_kinds import kind_group
from monagent.cli.server_sensor_packages import SENSOR_COMMANDS

sensor = kind_group("sensor", "Define the sensors that probes run.", 'disk --note "free space"')
for command in SENSOR_COMMANDS:
    sensor.add_command(command)
