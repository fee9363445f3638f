"""The smallest console: one page with the newest readings. It grows in its own time."""

from __future__ import annotations

from html import escape

import cherrypy

from monagent.server.records import StoredReading
from monagent.server.store import Store

PATHS = ("/",)

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
<table><thead><tr><th>Host</th><th>Sensor</th><th>Arguments</th><th>Reading</th><th>Ended</th><th>When (UTC)</th></tr></thead>
<tbody>
{rows}
</tbody></table></body></html>
"""


class Pages:
    """Root of the CherryPy application."""

    favicon_ico = None  # CherryPy would serve its own

    def __init__(self, store: Store) -> None:
        self._store = store

    @cherrypy.expose  # type: ignore[untyped-decorator]
    def index(self) -> str:
        """The newest reading of everything that was ever checked."""
        headers = cherrypy.response.headers
        headers["Content-Security-Policy"] = "default-src 'none'; style-src 'unsafe-inline'"
        return _PAGE.format(rows="\n".join(_row(reading) for reading in self._store.latest()))


def _row(reading: StoredReading) -> str:
    ended = reading.error or ("ok" if reading.ret_code == 0 else f"exit {reading.ret_code}")
    cells = [reading.host, reading.sensor, " ".join(map(str, reading.arguments))]
    left = "".join(f"<td>{escape(cell)}</td>" for cell in cells)
    when = reading.finished.strftime("%Y-%m-%d %H:%M:%S")
    return f'<tr>{left}<td class="number">{escape(reading.data)}</td><td>{escape(ended)}</td><td>{when}</td></tr>'
