"""Order probes by how much they need a look."""

from __future__ import annotations

from sqlalchemy import case, or_

from monagent.alarms.watch import CRITICAL, UNKNOWN, WARNING
from monagent.server.alerts.levels import SEVERITY
from monagent.server.schema import host_probe

_probe = host_probe.c

SEVERITY_NOW = case(
    (_probe.state == CRITICAL, SEVERITY[CRITICAL]),
    # One whose results do not come is as good as unknown.
    (or_(_probe.state == UNKNOWN, _probe.stale.is_not(None)), SEVERITY[UNKNOWN]),
    (_probe.state == WARNING, SEVERITY[WARNING]),
    else_=0,
)
"""Of a row of `host_probe`: the higher, the worse."""
