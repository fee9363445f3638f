"""Build an agent from its settings, start it and stop it. The only place where its parts meet."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable
from datetime import UTC, datetime

import monagent
from monagent.agent import commands
from monagent.agent.commands.kind import Tools
from monagent.agent.executor import Executor
from monagent.agent.face import Face
from monagent.agent.housekeeping import Housekeeping
from monagent.agent.journal import Journal
from monagent.agent.lock import StateLock
from monagent.agent.relay import Relay
from monagent.agent.scheduling import patient_threads
from monagent.agent.spool import JOURNAL_FILE
from monagent.agent.wiring import sensor_store
from monagent.config.settings import Settings
from monagent.models import Job, Outcome
from monagent.protocol import CAPABILITIES
from monagent.rpc.access import AllowList, Gate
from monagent.rpc.application import application
from monagent.rpc.client import Client
from monagent.rpc.dispatch import Dispatcher
from monagent.rpc.endpoint import Endpoint
from monagent.rpc.tls import client_context
from monagent.rpc.unmarshal import REQUEST_LIMITS
from monagent.sensors.runner import Runner

log = logging.getLogger(__name__)

STOP_SECONDS = 5.0
"""What the parts beside the executor get for ending."""


class Agent:
    """One agent. `start()` and `stop()` are each called once, from the same thread."""

    def __init__(self, settings: Settings, on_broken: Callable[[str], None] = lambda _reason: None) -> None:
        """
        Args:
            settings: validated.
            on_broken: called once, from a thread of the agent's, when it cannot go on and its supervisor should know.
        """
        self._settings = settings
        self._started = time.time()
        self._lock = StateLock(settings.agent.state)
        self._kinds = commands.load()
        self._sensors = sensor_store(settings)
        self._runner = Runner()
        self._tools = Tools(self._sensors, self._runner.run, settings.sensor.help, self.status)
        self._executor = Executor(settings.agent.workers, self._perform, self._failed, self._finish, self._is_long)
        self._journal = Journal(
            settings.agent.state / JOURNAL_FILE,
            settings.agent.journal_limit,
            more_coming=lambda: self._executor.checking,
            on_finished=lambda: self._relay.wake(),  # noqa: PLW0108 - there is no relay yet
            on_broken=on_broken,
        )
        monitor = settings.monitor
        tls = client_context(monitor.url, ca=monitor.ca, certificate=monitor.certificate, key=monitor.key)
        client = Client(monitor.url, timeout=monitor.timeout, tls=tls)
        self._relay = Relay(self._journal, client, more_coming=lambda: self._executor.checking)
        self._housekeeping = Housekeeping(self._journal, settings.agent.journal_limit)
        self._face = Face(
            self._kinds,
            self._tools,
            self._journal.accept,
            self._take,
            lambda: self._executor.room,
            direct=settings.security.direct_listing,
        )
        dispatcher = Dispatcher(self._face.methods(), self._face.settle, CAPABILITIES)
        gate = Gate(AllowList(settings.security.allow), REQUEST_LIMITS.size)
        self._endpoint = Endpoint(settings.agent.host, settings.agent.port, application(dispatcher.answer), gate)

    @property
    def address(self) -> tuple[str, int]:
        """Host and port that the agent listens on."""
        return self._endpoint.address

    def start(self) -> None:
        """Take up what a former process left unfinished, then listen.

        Raises:
            AlreadyRunning: another agent works in the state directory, or the port is taken.
            JournalError, OSError: the state directory or the address cannot be used.
        """
        with contextlib.ExitStack() as undo:
            self._lock.acquire()
            undo.callback(self._lock.release)
            # Not patient: sensors inherit from the workers how they are scheduled.
            self._executor.start()
            undo.callback(self._executor.stop, STOP_SECONDS)
            with patient_threads():
                self._journal.start()
                undo.callback(self._journal.stop)
                unfinished = self._journal.unfinished()
                self._endpoint.start()
                undo.pop_all()
                for job in unfinished:
                    self._executor.put(job)
                self._relay.start()
                self._housekeeping.start()
        host, port = self.address
        log.info(
            "agent %s listens on %s port %d, %d unfinished taken up", monagent.__version__, host, port, len(unfinished)
        )
        if self._settings.security.insecure:
            log.warning(
                "INSECURE: commands are taken without TLS; whoever can touch the network can command this agent"
            )

    def stop(self, grace: float) -> None:
        """Drain: refuse new tickets, give running work `grace` seconds, keep the rest in the journal."""
        self._face.draining = True
        drained = self._executor.stop(grace)
        if not drained:
            log.warning("work was cut off after %.0f s; it starts again with the next start", grace)
            self._runner.kill_all()
        deadline = time.monotonic() + STOP_SECONDS
        self._endpoint.stop()
        self._housekeeping.stop(deadline)
        self._relay.stop(deadline)
        self._journal.stop()
        self._lock.release()
        log.info("agent stopped")

    def abandon(self) -> None:
        """Kill what runs, before the process ends without draining. The journal needs no goodbye."""
        self._executor.abandon()
        self._runner.kill_all()

    def status(self) -> Outcome:
        """How the agent is doing; what `cmd_status` reports."""
        counts = self._journal.counts()
        last = self._relay.last_delivery
        return {
            "version": monagent.__version__,
            "uptime": round(time.time() - self._started, 3),
            "queues": {
                "waiting": self._executor.waiting,
                "running": self._executor.running,
                "undelivered": counts["finished"],
                "rejected": counts["rejected"],
            },
            "last_delivery": "" if last is None else datetime.fromtimestamp(last, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "sensors": self._sensors.names(),
        }

    def _take(self, job: Job) -> None:
        self._executor.put(job)
        self._relay.hint()

    def _perform(self, job: Job) -> Outcome:
        return self._kinds[job.command.method].perform(job.command, self._tools)

    def _finish(self, job: Job, outcome: Outcome, finished: float) -> None:
        self._journal.finish(job, outcome, finished)

    def _failed(self, job: Job, message: str) -> Outcome:
        kind = self._kinds.get(job.command.method)
        return kind.failed(message) if kind else {"status": "error", "message": message}

    def _is_long(self, method: str) -> bool:
        kind = self._kinds.get(method)
        return kind is not None and kind.long
