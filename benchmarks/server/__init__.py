"""What the server does in a second with a fleet of fake agents, and what a check costs it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

from benchmarks.programs import BenchmarkError
from benchmarks.rows import Row
from benchmarks.server import many, month, sustained
from benchmarks.server.databases import Kept, postgresql, sqlite
from benchmarks.server.sustained import Say, Station
from benchmarks.server.trials import Effort

FULL = Effort(warm=8.0, run=20.0)
QUICK = Effort(warm=6.0, run=8.0)
SQLITE_LEAST, POSTGRESQL_LEAST = 300.0, 500.0

_Kind = Callable[[Path], AbstractContextManager[Kept]]


def rows(folder: Path, *, full: bool, say: Say) -> list[Row]:
    """All figures of the server; a part that cannot be measured is one failed row."""
    effort = FULL if full else QUICK
    parts: list[tuple[str, _Kind, Callable[[Path, Kept], list[Row]]]] = [
        ("SQLite", sqlite, lambda where, kept: _sustained("SQLite", where, kept, SQLITE_LEAST, effort, say)),
        (
            "PostgreSQL",
            postgresql,
            lambda where, kept: _sustained("PostgreSQL", where, kept, POSTGRESQL_LEAST, effort, say),
        ),
        ("several processes", postgresql, lambda where, kept: many.processes(where, kept, effort, say)),
        ("10,000 agents", sqlite, lambda where, kept: many.agents(where, kept, effort, say)),
        ("a month, SQLite", sqlite, lambda _, kept: month.rows("SQLite", kept)),
        ("a month, PostgreSQL", postgresql, lambda _, kept: month.rows("PostgreSQL", kept)),
    ]
    found: list[Row] = []
    for number, (name, kind, measure) in enumerate(parts):
        found += _part(name, kind, measure, folder / str(number), say)
    return found


def _part(name: str, kind: _Kind, measure: Callable[[Path, Kept], list[Row]], folder: Path, say: Say) -> list[Row]:
    say(f"server: {name}")
    try:
        with kind(folder) as kept:
            return measure(folder, kept)
    except (BenchmarkError, OSError) as error:
        return [Row(name, "", (), note=str(error))]


def _sustained(name: str, folder: Path, kept: Kept, least: float, effort: Effort, say: Say) -> list[Row]:
    with Station(folder, kept, effort, say) as station:
        found = sustained.rows(name, station, least)
    with Station(folder, kept, effort, say, sustained.TOGETHER) as station:
        return found + sustained.together(name, station, least)
