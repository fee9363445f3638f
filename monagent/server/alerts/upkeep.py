"""The jobs that alerts need, with how often each is to run."""

from __future__ import annotations

from monagent.server.alerts import releasing, reminding, removing, staleness
from monagent.server.database import Database
from monagent.server.jobs import Job


def jobs(database: Database) -> list[Job]:
    """Those of one process; several processes may each have them."""
    return [
        Job("staleness", staleness.EVERY_SECONDS, staleness.Staleness(database).run),
        Job("removed probes", removing.EVERY_SECONDS, removing.Removing(database).run),
        Job("withheld alerts", releasing.EVERY_SECONDS, releasing.Releasing(database).run),
        Job("reminders", reminding.EVERY_SECONDS, reminding.Reminding(database).run),
    ]
