"""How long a report takes to be made, and what mail costs an agent that sends none."""

from __future__ import annotations

import json
import math
import subprocess
import sys
import time
from pathlib import Path

from benchmarks.agent import Agent
from benchmarks.load import Sink
from benchmarks.rows import Row

MAILS, ROWS, CHECKS, READINGS = 15, 50, 3, 1440
IDLE_SECONDS = 3.0
_MAY_MAIL = (
    "[mail:ops]\nto = a@b.c\n[alert:high]\nsensor = other\ncritical = ~:5\nmail = ops\n"
    "[alert:server]\nafter = 1d\nmail = ops\n"
)


def rows(folder: Path, sink: Sink, tiny: Path) -> list[Row]:
    """A report of 50 rows and three plots; memory of an agent with reports and alerts beside that of one without."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.mail"], capture_output=True, text=True, timeout=120, check=True
    )
    first, *times = json.loads(done.stdout)
    return [
        Row("report of 50 rows and 3 plots, the first", "ms", (first,)),
        Row("report of 50 rows and 3 plots, from then on", "ms", tuple(times), "<", 100.0),
        _memory(folder, sink, tiny),
    ]


def _memory(folder: Path, sink: Sink, tiny: Path) -> Row:
    figures = []
    for name, more in (("without", ""), ("with", _MAY_MAIL)):
        with Agent(folder / f"mail-{name}", sink.url, tiny, more=more) as agent:
            agent.submit("a", "tiny")
            time.sleep(IDLE_SECONDS)
            figures.append(agent.memory() / 2**20)
    note = f"{figures[0]:.1f} and {figures[1]:.1f} MB"
    return Row(
        "memory, with reports and alerts set up and never used", "", (figures[1] / figures[0],), "<=", 1.03, note
    )


def _make() -> list[float]:
    """Milliseconds of each mail."""
    from monagent.mail.compose import Composer, Sources  # noqa: PLC0415 - a part of what is measured
    from monagent.mail.figures import Series  # noqa: PLC0415
    from monagent.mail.settings import ReportSettings  # noqa: PLC0415

    now = time.time()
    checks = []
    for name in range(CHECKS):
        series = Series(f"check{name}")
        for number in range(READINGS):
            bad = number % (50 + name) == 0
            series.add(now - (READINGS - number) * 60, None if bad else 50 + 40 * math.sin(number / 90), failed=bad)
        checks.append(series)
    table = {
        "title": "Pages",
        "columns": ["page", "views", "share"],
        "rows": [[f"/page/{n}", n * 7, n / 3] for n in range(ROWS)],
    }
    composer = Composer("web1", ("", "mon@b.c"), None, Sources(history=lambda _names, _since: checks))
    report = ReportSettings("ops", ("a@b.c",))
    times = []
    for _ in range(MAILS):
        begun = time.perf_counter()
        composer.compose(report, {"title": "Week", "tables": [table]})
        times.append((time.perf_counter() - begun) * 1000)
    return times


if __name__ == "__main__":
    print(json.dumps(_make()))
