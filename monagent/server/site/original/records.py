"""What a monitor.db of the original system holds, row by row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class OldHost:
    """A row of `host`; nothing in it has been checked."""

    id: int
    name: Any
    address: Any
    port: Any


@dataclass(frozen=True, slots=True)
class OldSensor:
    """A row of `sensor`."""

    id: int
    name: Any


@dataclass(frozen=True, slots=True)
class OldProbe:
    """A row of `probe`. Numbers above `warning` or `error` were bad."""

    id: int
    sensor_id: Any
    name: Any
    parameter: Any
    warning: Any
    error: Any


@dataclass(frozen=True, slots=True)
class OldHostProbe:
    """A row of `hostprobe`: a probe on a host, with its own thresholds where they are not null."""

    id: int
    probe_id: Any
    host_id: Any
    warning: Any
    error: Any


@dataclass(frozen=True, slots=True)
class OldSchedule:
    """A row of `probingschedule`."""

    id: int
    hostprobe_id: Any
    probeinterval: Any


@dataclass(frozen=True, slots=True)
class OldHostParam:
    """A row of `hostparams`."""

    id: int
    host_id: Any
    param: Any
    value: Any


@dataclass(frozen=True, slots=True)
class OldSystemParam:
    """A row of `systemparams`."""

    id: int
    name: Any
    value: Any


@dataclass(frozen=True, slots=True)
class OldReading:
    """A row of `probereading`."""

    id: int
    hostprobe_id: Any
    timestamp: Any
    probe_value: Any
    ret_code: Any


@dataclass(frozen=True, slots=True)
class Original:
    """All of it but the readings, which may be many. `waiting` counts rows of `ticketqueue`."""

    hosts: Sequence[OldHost]
    sensors: Sequence[OldSensor]
    probes: Sequence[OldProbe]
    host_probes: Sequence[OldHostProbe]
    schedules: Sequence[OldSchedule]
    host_params: Sequence[OldHostParam]
    system_params: Sequence[OldSystemParam]
    readings: int
    waiting: int
