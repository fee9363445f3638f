"""Write the newest reading of every probe as Prometheus reads it, the worst first where there are too many."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import Connection, func, select

from monagent.server import schema
from monagent.server.alerts.levels import SEVERITY
from monagent.server.web.severity import SEVERITY_NOW

_probe, _host = schema.host_probe.c, schema.host.c
_READ = (_probe.active.is_(True), _probe.finished.is_not(None))
_ROWS = (
    select(_host.name, _probe.probe, _probe.sensor, _probe.value, _probe.state, _probe.finished)
    .join_from(schema.host_probe, schema.host)
    .where(*_READ)
    .order_by(SEVERITY_NOW.desc(), _host.name, _probe.probe)
)
_COUNT = select(func.count()).select_from(schema.host_probe).where(*_READ)

Rows = Sequence[Any]


def fetch(db: Connection, limit: int) -> tuple[Rows, int]:
    """The newest readings, and how many more there are than the limit."""
    if not limit:
        return [], db.scalar(_COUNT) or 0
    rows = db.execute(_ROWS.limit(limit)).all()
    left_out = max((db.scalar(_COUNT) or 0) - limit, 0) if len(rows) == limit else 0
    return rows, left_out


def written(rows: Rows, left_out: int, now: float) -> bytes:
    """The lines. prometheus_client would take half a second for ten thousand probes."""
    values, states, ages = [], [], []
    for host, probe, sensor, value, state, finished in rows:
        who = f'host="{_escaped(host)}",probe="{_escaped(probe)}"'
        if value is not None:
            values.append(f'monagent_probe_value{{{who},sensor="{_escaped(sensor)}"}} {_number(value)}\n')
        if state in SEVERITY:
            states.append(f"monagent_probe_state{{{who}}} {SEVERITY[state]}\n")
        ages.append(f"monagent_probe_age_seconds{{{who}}} {now - finished:.3f}\n")
    parts = (
        _family("monagent_probe_value", "The newest number of a probe, where there is one to trust.", values),
        _family("monagent_probe_state", "The state of a probe: 0 ok, 1 warning, 2 unknown, 3 critical.", states),
        _family(
            "monagent_probe_age_seconds", "How long ago the newest reading was finished, by its agent's clock.", ages
        ),
        _family(
            "monagent_probes_left_out",
            "Probes whose newest readings are not here, because [metrics] values of server.cfg allows no more.",
            [f"monagent_probes_left_out {left_out}\n"],
        ),
    )
    return "".join(parts).encode()


def _family(name: str, help_text: str, lines: Iterable[str]) -> str:
    return f"# HELP {name} {help_text}\n# TYPE {name} gauge\n{''.join(lines)}"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')


def _number(value: float) -> str:
    if math.isfinite(value):
        return repr(value)
    return "NaN" if math.isnan(value) else "+Inf" if value > 0 else "-Inf"
