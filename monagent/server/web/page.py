"""The smallest console: one page with the newest readings, the worst first. It loads nothing and runs nothing."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any

from sqlalchemy import func, select

from monagent.server import schema
from monagent.server.database import Database
from monagent.server.times import shown
from monagent.server.web.bounded import bounded
from monagent.server.web.severity import SEVERITY_NOW

ROWS = 500
HEADERS = (("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'"),)

_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<meta http-equiv="refresh" content="5"><title>monagent: readings</title>
<style>
:root {{ color-scheme: light dark; font: 1rem/1.4 system-ui, sans-serif }}
body {{ max-width: 60rem; margin: 2rem auto; padding: 0 1rem }}
table {{ border-collapse: collapse; width: 100% }}
th, td {{ text-align: left; padding: .3rem .6rem; border-bottom: 1px solid #8886 }}
td.number {{ text-align: right; font-variant-numeric: tabular-nums }}
</style></head>
<body><h1>Readings</h1>
<table><thead><tr><th>Host</th><th>Sensor</th><th>Arguments</th><th>Reading</th><th>State</th><th>Ended</th><th>When (UTC)</th></tr></thead>
<tbody>
{rows}
</tbody></table>{more}</body></html>
"""

_probe, _host = schema.host_probe.c, schema.host.c
_ROWS = (
    select(
        _host.name,
        _probe.sensor,
        _probe.arguments,
        _probe.data,
        _probe.error,
        _probe.ret_code,
        _probe.finished,
        _probe.state,
        _probe.stale,
        _host.silent,
    )
    .join_from(schema.host_probe, schema.host)
    .where(_probe.active.is_(True))
    .order_by(SEVERITY_NOW.desc(), _host.name, _probe.probe)
    .limit(ROWS)
)
_COUNT = select(func.count()).select_from(schema.host_probe).where(_probe.active.is_(True))


def render(database: Database) -> str:
    """The page.

    Raises:
        TooMuch: it cannot be made in time.
        StoreAway: the database cannot be read.
    """
    with bounded(database) as db:
        rows: Sequence[Any] = db.execute(_ROWS).all()
        count = db.scalar(_COUNT) or 0
    left_out = count - len(rows)
    more = f"\n<p>and {left_out} more, none of them worse; the JSON API tells them all</p>" if left_out > 0 else ""
    return _PAGE.format(rows="\n".join(map(_row, rows)), more=more)


def _row(one: Any) -> str:
    ended = one.error or ("" if one.ret_code is None else "ok" if one.ret_code == 0 else f"exit {one.ret_code}")
    cells = [one.name, one.sensor, " ".join(map(str, one.arguments))]
    left = "".join(f"<td>{escape(cell)}</td>" for cell in cells)
    when = "" if one.finished is None else shown(one.finished)
    state = "silent" if one.silent is not None else "stale" if one.stale is not None else one.state or "waiting"
    value = f'<td class="number">{escape(one.data or "")}</td>'
    return f"<tr>{left}{value}<td>{state}</td><td>{escape(ended)}</td><td>{when}</td></tr>"
