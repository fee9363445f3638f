"""The job that notices what does not come: hosts that are silent, and probes without results."""

from __future__ import annotations

import logging

from monagent.server.alerts import vigil
from monagent.server.alerts.silent_hosts import SilentHosts
from monagent.server.alerts.stale_probes import StaleProbes
from monagent.server.database import Database

log = logging.getLogger(__name__)

EVERY_SECONDS = 15.0
"""How often it is to run, in one process or another."""
_MISSED = 4


class Staleness:
    """For use by one thread; several processes may have one each."""

    def __init__(self, database: Database, every: float = EVERY_SECONDS) -> None:
        """
        Args:
            database: where everything is kept.
            every: seconds from one run to the next. After a break of four times that, whatever it was (the server was
                off, or its database), everybody gets the time to be heard again.
        """
        self._database = database
        self._break = _MISSED * every
        self._hosts = SilentHosts(database, self._break)
        self._probes = StaleProbes(database, self._break)

    def run(self, now: float) -> None:
        """Look once. `now`: seconds since the epoch."""
        with self._database.write() as db:
            began = vigil.look(db, now, self._break)
        if began == now:
            log.info(
                "silence is counted from now on: nobody looked for who is silent before, or not for %.0f s", self._break
            )
        self._hosts.look(now, began)
        self._probes.look(now, began)
