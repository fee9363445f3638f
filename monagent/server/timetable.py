"""When a probe is due: rules alone, no clock, no database.

An interval counts from the epoch, so that neither late runs nor restarts make it drift. The phase, which follows from the
host's name, spreads a fleet over the interval; the probes of one host stay together, and travel in one exchange.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import blake2b
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

LATE_SECONDS = 30.0
"""Who is later than that was kept from running by an outage (or a clock that jumped), not by a busy second."""
CATCH_UP_SECONDS = 60.0
"""After an outage what was missed runs once, spread over so long."""


@dataclass(frozen=True, slots=True)
class Timetable:
    """Every so many seconds, or by a cron expression in a time zone; `phase` seconds behind that."""

    every: float | None
    cron: str | None
    timezone: str
    phase: float

    def after(self, when: float) -> float:
        """The first time later than `when` at which it is due.

        Raises:
            ValueError: the cron expression has no such time (`cronsim` looks fifty years ahead), or this host does not
                know its time zone.
        """
        if self.every:
            return (int((when - self.phase) // self.every) + 1) * self.every + self.phase
        try:
            return self._by_cron(when, ZoneInfo(self.timezone))
        except (KeyError, CronSimError, OverflowError) as error:
            raise ValueError(f"{self.cron} in {self.timezone}: {error}") from error

    def _by_cron(self, when: float, zone: ZoneInfo) -> float:
        # Daylight saving: cronsim wants aware times, and does as Debian's cron.
        start = datetime.fromtimestamp(when - self.phase, UTC).astimezone(zone)
        following = next(CronSim(self.cron or "", start), None)
        if following is None:
            raise ValueError(f"{self.cron} never comes")
        return following.timestamp() + self.phase

    def following(self, due: float, now: float) -> float:
        """When to run next, for one that was due and runs now."""
        return self.after(max(due, now))

    def caught_up(self, due: float, now: float) -> float | None:
        """For one that is later than it should be: when to run instead; None: run now, it is not that late."""
        if now - due <= LATE_SECONDS:
            return None
        spread = min(self.every or CATCH_UP_SECONDS, CATCH_UP_SECONDS)
        return now + self.phase % spread if self.phase else now


def phase_of(host: str, splay: float) -> float:
    """Seconds in [0, splay) that are always the same for a host."""
    if splay <= 0:
        return 0.0
    digest = blake2b(host.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2**64 * splay
