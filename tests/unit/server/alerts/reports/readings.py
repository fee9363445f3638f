"""A day of readings, kept as the server keeps them, with the figures that they come to."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass, field

from monagent.server import rollups
from monagent.server.database import Database
from monagent.server.rollups import Point

START = 1_795_305_600.0
"""2026-11-22T00:00Z."""
DAY = 86_400.0


@dataclass
class Day:
    """What a plain loop over one probe's readings of the day comes to."""

    values: list[float] = field(default_factory=list)
    count: int = 0
    bad: int = 0

    @property
    def availability(self) -> float:
        return 1.0 - self.bad / self.count

    @property
    def mean(self) -> float:
        return math.fsum(self.values) / len(self.values)


def fill(database: Database, probe_id: int, seed: int, every: float = 300.0, bad: float = 0.02) -> Day:
    """Readings around the day, too; only those of the day count."""
    draw, day, points = random.Random(seed), Day(), []
    when = START - 3600.0
    while when < START + DAY + 3600.0:
        missing, critical = draw.random() < bad, draw.random() < bad
        value = None if missing else 10.0 + seed + draw.random() * 5 + math.sin(when / 9000) * 3
        level = "unknown" if missing else "critical" if critical else "ok"
        points.append(Point(probe_id, when, value, level))
        if START <= when < START + DAY:
            day.count += 1
            day.bad += missing or critical
            if value is not None:
                day.values.append(value)
        when += every
    with database.write() as db:
        rollups.add(db, points)
    return day
