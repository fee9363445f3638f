"""Are the parts of an agent really at work? And tell the service manager so, as long as they are."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping

from monagent.errors import MonagentError
from monagent.systemd import Manager

log = logging.getLogger(__name__)

PROBE_SECONDS = 5.0
"""That a part has for showing that it is alive."""
STATUS_SECONDS = 5.0
LATELY_SECONDS = 1.0

Probe = Callable[[float], str]
"""Takes seconds, and returns in about that time: what is wrong, or nothing."""


class Liveness:
    """Asks each part for a sign of life. Any thread may do so."""

    def __init__(self, probes: Mapping[str, Probe]) -> None:
        """
        Args:
            probes: one for each part, by its name.
        """
        self._probes = dict(probes)
        self._lock = threading.Lock()
        self._found: dict[str, str] = {}
        self._asked = 0.0

    def problems(self, seconds: float = PROBE_SECONDS) -> dict[str, str]:
        """What is wrong with which part; empty when all are well."""
        with self._lock:  # a part that hangs is asked by one thread at a time
            found = {name: probe(seconds) for name, probe in self._probes.items()}
            self._found = {name: problem for name, problem in found.items() if problem}
            self._asked = time.monotonic()
            return self._found

    def lately(self) -> dict[str, str]:
        """The same, asked anew only if nobody has done so in the last second: whoever reads a page cannot keep us busy."""
        if time.monotonic() - self._asked < LATELY_SECONDS or self._lock.locked():
            return self._found
        return self.problems(LATELY_SECONDS)


class Watchdog:
    """Tells the manager that we are alive and how we are doing; says nothing when a part hangs, and so has us killed."""

    def __init__(self, manager: Manager, liveness: Liveness, summary: Callable[[], str]) -> None:
        """
        Args:
            manager: who is told.
            liveness: asked before each sign of life.
            summary: one line about what the agent is doing.
        """
        self._manager = manager
        self._liveness = liveness
        self._summary = summary
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watchdog", daemon=True)

    def start(self) -> None:
        """Begin; nothing happens where no manager listens."""
        if self._manager.listens:
            self._thread.start()

    def stop(self) -> None:
        """Say nothing more. A probe under way is not waited for."""
        self._stopping.set()

    def _run(self) -> None:
        # Twice as often as is asked for (sd_watchdog_enabled(3)), and the status as often as people look.
        pause = min(self._manager.watchdog / 2, STATUS_SECONDS) if self._manager.watchdog else STATUS_SECONDS
        told = ""
        while True:
            problems = self._liveness.problems(min(PROBE_SECONDS, pause))
            if self._stopping.is_set():
                return
            if not problems:
                self._manager.alive()
            for name, problem in problems.items():
                log.error("%s is not well: %s", name, problem)
            summary = "; ".join(f"{name}: {problem}" for name, problem in problems.items()) or self._told()
            if summary != told:
                self._manager.status(summary)
                told = summary
            if self._stopping.wait(pause):
                return

    def _told(self) -> str:
        try:
            return self._summary()
        except MonagentError as error:  # of a journal that cannot be read now; whether it hangs is the probe's question
            return str(error)
