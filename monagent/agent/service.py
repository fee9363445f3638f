"""Build an agent from its settings, start it and stop it. The only place where its parts meet."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from urllib.parse import urlsplit

import monagent
from monagent.agent import certificates, commands, status_page
from monagent.agent.alerting import Surroundings as AlertSurroundings
from monagent.agent.backups import Backups
from monagent.agent.commands.kind import SHORT, Tools
from monagent.agent.executor import Executor
from monagent.agent.face import Face
from monagent.agent.housekeeping import Housekeeping
from monagent.agent.journal import Journal
from monagent.agent.liveness import Liveness
from monagent.agent.lock import StateLock
from monagent.agent.mailing import mailing
from monagent.agent.memory import give_back
from monagent.agent.metrics import Exposition, Figures
from monagent.agent.move import Mover, Surroundings
from monagent.agent.notices import Notices
from monagent.agent.pages import PATHS, Pages
from monagent.agent.receipts import RECEIPTS_FILE, Receipts, row_of_token, token_of
from monagent.agent.relay import Relay
from monagent.agent.rights import become
from monagent.agent.scheduling import patient_threads
from monagent.agent.spool import JOURNAL_FILE
from monagent.agent.turns import NOTHING, Claim
from monagent.agent.upstream import Upstream
from monagent.agent.vitals import Vitals
from monagent.agent.wiring import (
    sensor_probation,
    sensor_store,
    sensor_updater,
    sync_jobs,
)
from monagent.config.settings import Settings
from monagent.errors import Refused
from monagent.models import Job, Outcome
from monagent.protocol import CAPABILITIES, SUBMIT_READING
from monagent.rpc.access import AllowList, Gate
from monagent.rpc.application import application
from monagent.rpc.audit import Audit, Refusal
from monagent.rpc.dispatch import Dispatcher
from monagent.rpc.endpoint import PLAIN, Endpoint, Tls
from monagent.rpc.tls import Peers, server_context
from monagent.rpc.unmarshal import REQUEST_LIMITS
from monagent.sensors.occupancy import Occupancy
from monagent.sensors.runner import Runner
from monagent.sensors.swap import Record
from monagent.sync.overdue import age

log = logging.getLogger(__name__)

STOP_SECONDS = 5.0
"""What the parts beside the executor get for ending."""
SHOWN_REFUSALS = 20
LAST_RESULTS_SECONDS = 2.0
"""What the server gets of it for taking the last results; what it does not take is delivered after the next start."""


class Agent:
    """One agent. `start()` and `stop()` are each called once, from the same thread."""

    def __init__(
        self,
        settings: Settings,
        on_broken: Callable[[str], None] = lambda _reason: None,
        listeners: Sequence[socket.socket] = (),
    ) -> None:
        """
        Args:
            settings: validated.
            on_broken: called once, from a thread of the agent's, when it cannot go on and its supervisor should know.
            listeners: sockets that are bound already, instead of `[agent] host` and `port`.

        Raises:
            ConfigError: a certificate, a key or a password that the settings name cannot be used.
        """
        certificates.check(settings)
        self._settings = settings
        self._started = time.time()
        self._lock = StateLock(settings.agent.state)
        self._kinds = commands.load()
        self._runner = Runner()
        self._occupancy = Occupancy()
        self._probation = sensor_probation(settings)
        self._receipts = Receipts(settings.agent.state / RECEIPTS_FILE)
        self._upstream = Upstream(settings.monitor)
        self._mover = Mover(
            settings.file,
            settings.agent.state,
            Surroundings(
                url=lambda: self._upstream.url,
                host_name=lambda: self._settings.host_name,
                probation=lambda: self._settings.monitor.probation,
                connect=self._upstream.connect,
                use=self._use_server,
                tried=lambda: self._relay.refusals > 0 or self._journal.counts()["finished"] > 0,
                amend=self._amend,
                quiet=lambda: self._relay.quiet(),  # noqa: PLW0108 - there is no relay yet
                retry=lambda since: self._journal.revive(since),  # noqa: PLW0108 - there is no journal yet
            ),
        )
        self._backups = Backups(sync_jobs(settings))
        self._notices = Notices(
            settings,
            mailing(settings),
            self._backups,
            AlertSurroundings(
                away_since=lambda: self._relay.away_since,
                last_delivery=lambda: self._relay.last_delivery,
                away_message=self._away_message,
                overdue=self._backups.problems,
            ),
            self._finish_late,
        )
        self._tools = self._tools_for(settings)
        self._executor = Executor(
            settings.agent.workers, self._perform, self._failed, self._finish, self._lane_of, self._claim_of
        )
        self._journal = Journal(
            settings.agent.state / JOURNAL_FILE,
            settings.agent.journal_limit,
            more_coming=lambda: self._executor.checking,
            on_finished=lambda: self._relay.wake(),  # noqa: PLW0108 - there is no relay yet
            on_broken=on_broken,
        )
        self._relay = Relay(
            self._journal,
            self._upstream.relay_client(),
            more_coming=lambda: self._executor.checking,
            on_taken=self._mover.taken,
        )
        self._housekeeping = Housekeeping(self._journal, settings.agent.journal_limit)
        self._face = Face(
            self._kinds,
            self._tools,
            self._journal.accept,
            self._take,
            lambda: self._executor.room,
            direct=settings.security.direct_listing,
        )
        self._audit = Audit()
        self._dispatcher = Dispatcher(self._face.methods(), self._face.settle, CAPABILITIES, audit=self._audit)
        self._gate = Gate(AllowList(settings.security.allow), REQUEST_LIMITS.size, PATHS)
        self._vitals = Vitals()
        exposition = Exposition(self._figures, time.time)
        pages = Pages(self._page, exposition.render, lambda: self.liveness.lately(), self._unready)  # noqa: PLW0108 - there is none yet
        self._endpoint = Endpoint(
            settings.agent.host,
            settings.agent.port,
            application(self._dispatcher.answer, pages),
            self._gate,
            tls=_server_tls(settings),
            listeners=listeners,
            on_calm=give_back,
        )
        self.liveness = Liveness(
            {
                "face": self._endpoint.ailing,
                "journal": self._journal.ailing,
                "executor": self._executor.ailing,
                "relay": self._relay.ailing,
                "alerts": self._notices.alerts.ailing,
                "mail": self._notices.mails.ailing,
            }
        )

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
            self._runner.start()
            undo.callback(self._runner.stop)
            self._prepare(of_ourselves=False)
            if self._settings.agent.user:
                become(self._settings.agent.user, [self._settings.agent.state])
            self._prepare(of_ourselves=True)
            self._lock.acquire()
            undo.callback(self._lock.release)
            with patient_threads():
                self._executor.start()
                undo.callback(self._executor.stop, STOP_SECONDS)
                self._journal.start()
                undo.callback(self._journal.stop)
                unfinished = self._journal.unfinished()
                done = self._done_before()
                self._endpoint.start()
                undo.pop_all()
                for job in unfinished:
                    self._take_up(job, done)
                self._backups.begin()
                self._notices.start()
                self._relay.start()
                self._mover.start()
                self._housekeeping.start()
        host, port = self.address
        log.info(
            "agent %s listens on %s port %d, %d unfinished taken up", monagent.__version__, host, port, len(unfinished)
        )
        self._warn()

    def _done_before(self) -> dict[str, Outcome]:
        """Finish what a crash cut off; the outcomes, by token, of what was done and may not be in the journal."""
        recovered: list[Record] = []
        try:
            recovered = self._tools.updater.recover()
        except (Refused, OSError) as error:
            log.error("a sensor's update that was cut off cannot be finished now: %s", error)  # noqa: TRY400
        done = self._receipts.load() | {record.token: record.outcome for record in recovered}
        moved = self._mover.recover()
        return done | ({moved.token: moved.outcome} if moved else {})

    def _take_up(self, job: Job, done: dict[str, Outcome]) -> None:
        outcome = done.get(token_of(job))
        if outcome is None:
            self._executor.put(job)
        else:
            self._journal.finish(job, outcome, time.time())

    def stop(self, grace: float) -> None:
        """Drain: refuse new tickets, give running work `grace` seconds, keep the rest in the journal."""
        self._face.draining = True
        self._endpoint.pause()
        drained = self._executor.stop(grace)
        if not drained:
            log.warning("work was cut off after %.0f s; it starts again with the next start", grace)
            self._runner.stop()
        self._backups.stop()
        deadline = time.monotonic() + STOP_SECONDS
        with (
            contextlib.ExitStack() as stopping
        ):  # from the last to the first, and none is left out when another one fails
            stopping.callback(self._lock.release)
            stopping.callback(self._runner.stop)
            stopping.callback(self._journal.stop)
            stopping.callback(self._notices.stop, deadline)
            stopping.callback(self._relay.stop, deadline)
            stopping.callback(self._housekeeping.stop, deadline)
            stopping.callback(self._mover.stop, deadline)
            stopping.callback(self._relay.hand_in_the_rest, time.monotonic() + LAST_RESULTS_SECONDS)
            stopping.callback(self._endpoint.stop)
        log.info("agent stopped")

    def abandon(self) -> None:
        """Kill what runs, before the process ends without draining. The journal needs no goodbye."""
        self._executor.abandon()
        self._runner.stop()
        self._backups.stop()

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
            "sensors": self._tools.sensors.names(),
            "backups": self._backups.progress(),
            "mails": self._notices.mails.status(),
            "server": self._upstream.url,
            "on_probation": bool(self._mover.on_probation),
            "calls": self._audit.counts(),
        }

    def summary(self) -> str:
        """The same in one line, for people."""
        counts, away = self._journal.counts(), self._relay.away_since
        server = (
            "server is well" if away is None else time.strftime("server is away since %H:%M:%S", time.localtime(away))
        )
        return (
            f"{self._executor.running} running, {self._executor.waiting} waiting,"
            f" {counts['finished']} undelivered, {counts['rejected']} rejected; {server}"
        )

    def _unready(self) -> str:
        if self._face.draining:
            return "the agent is ending"
        if self._journal.broken or not self._journal.has_room:
            return f"the journal takes nothing: {self._journal.broken or 'it is full'}"
        if self._executor.room <= 0:
            return "too many commands wait already"
        return "; ".join(self._backups.overdue())

    def _figures(self) -> Figures:
        return Figures(
            totals=self._vitals.totals(),
            calls=self._audit.counts(),
            refused=self._endpoint.refused,
            started=self._started,
            waiting=self._executor.waiting,
            running=self._executor.running,
            journaled=self._journal.counts(),
            oldest=self._journal.oldest_undelivered(),
            journal_bytes=self._journal.used(),
            journal_limit=self._settings.agent.journal_limit,
            delivered=self._relay.delivered,
            refusals=self._relay.refused,
            last_delivery=self._relay.last_delivery,
            away_since=self._relay.away_since,
            connections=self._endpoint.connections,
            backups=self._backups.standings(),
            mails=self._notices.mails.status(),
        )

    def _page(self) -> str:
        sent_away = [Refusal(when, peer, "-", "-", reason) for when, peer, reason in self._endpoint.sent_away]
        refusals = sorted(self._audit.refusals() + sent_away, key=lambda one: one.when, reverse=True)
        return status_page.render(
            self._settings.host_name,
            self._upstream.url,
            self._figures(),
            self._vitals.checks(),
            refusals[:SHOWN_REFUSALS],
            self.liveness.lately() | self._troubles(),
            time.time(),
        )

    def _troubles(self) -> dict[str, str]:
        """What is wrong around the agent, for its page."""
        found = {"backups": "; ".join(self._backups.overdue()), "mail": self._notices.mails.status()["problem"]}
        return {name: problem for name, problem in found.items() if problem}

    # -- changes while it runs ----------------------------------------------------------------------------------

    def reload(self, load: Callable[[], Settings]) -> list[str]:
        """Work by other settings from now on; what runs ends by the old ones.

        Args:
            load: reads them. A move, which writes them, does not come in between.

        Returns:
            The options that differ and count only from the next start on.

        Raises:
            ConfigError: they are wrong, or the TLS files cannot be used; nothing has changed.
        """
        with self._mover.deciding():
            return self._use(load())

    def _use(self, settings: Settings) -> list[str]:
        certificates.check(settings)
        former, upstream, tls = self._settings, Upstream(settings.monitor), _server_tls(settings)
        mails = mailing(settings)
        self._settings = settings
        self._backups.jobs = sync_jobs(settings)
        self._backups.begin()
        self._notices.use(settings, mails)
        self._tools = self._face.tools = self._tools_for(settings)
        self._face.direct = settings.security.direct_listing
        self._dispatcher.offer(self._face.methods())
        self._gate.allow = AllowList(settings.security.allow)
        self._endpoint.tls = tls
        users = self._prepare(of_ourselves=False)
        self._runner.keep(self._tools.sensors.surroundings())
        # The same files may hold a renewed certificate.
        if settings.monitor != former.monitor or urlsplit(settings.monitor.url).scheme == "https":
            self._upstream.follow(upstream)
            self._mover.edited(settings.monitor.url)
            self._relay.use(upstream.relay_client())
        self._warn()
        return [
            f"[agent] {field.name}"
            for field in dataclasses.fields(settings.agent)
            if getattr(settings.agent, field.name) != getattr(former.agent, field.name)
        ] + [f"[sensor] user = {user}" for user in users]

    def _warn(self) -> None:
        if self._settings.security.insecure:
            log.warning(
                "INSECURE: commands are taken without TLS; whoever can touch the network can command this agent"
            )

    def _tools_for(self, settings: Settings) -> Tools:
        sensors = sensor_store(settings)
        run = self._runner.run
        return Tools(
            sensors=sensors,
            run=run,
            occupancy=self._occupancy,
            probation=self._probation,
            updater=sensor_updater(settings, sensors, self._occupancy, run, self._probation, self._keep_receipt),
            fetch=self._upstream.fetch_package,
            move=self._mover.move,
            server_url=lambda: self._upstream.url,
            status=self.status,
            backups=self._backups,
            mails=self._notices.mails,
        )

    def _keep_receipt(self, record: Record) -> None:
        self._receipts.keep(record.token, record.outcome)

    def _use_server(self, url: str) -> None:
        self._settings = replace(self._settings, monitor=replace(self._settings.monitor, url=url))
        self._upstream.move(url)
        self._relay.use(self._upstream.relay_client())

    def _amend(self, token: str, outcome: Outcome) -> None:
        row, ticket = row_of_token(token)
        if self._journal.amend(row, ticket, outcome):
            self._relay.wake()

    # -- one job ------------------------------------------------------------------------------------------------

    def _take(self, job: Job) -> None:
        self._executor.put(job)
        self._relay.hint()

    def _perform(self, job: Job) -> Outcome | None:
        return self._kinds[job.command.method].perform(job, self._tools)

    def _finish(self, job: Job, outcome: Outcome, finished: float) -> None:
        self._vitals.note(job, outcome, finished)
        self._notices.note(job, outcome, finished)
        if job.command.method != SUBMIT_READING:  # those tell more of themselves, see `commands/submit_reading.py`
            ticket, method = job.command.ticket, job.command.method
            log.info("command done ticket=%s command=%s status=%s", ticket, method, outcome.get("status", "ok"))
        self._journal.finish(job, outcome, finished)

    def _finish_late(self, job: Job, outcome: Outcome) -> None:
        self._finish(job, outcome, time.time())

    def _away_message(self, since: float) -> str:
        waiting = self._journal.counts()["finished"]
        away = age(time.time() - since)
        return f"the monitoring server {self._upstream.url} has taken nothing for {away}; {waiting} results wait here"

    def _failed(self, job: Job, message: str) -> Outcome:
        kind = self._kinds.get(job.command.method)
        return kind.failed(message) if kind else {"status": "error", "message": message}

    def _prepare(self, *, of_ourselves: bool) -> list[str]:
        """Start what runs sensors, as others or as ourselves; the users that they cannot be run as."""
        failed = set()
        for user, bounds in self._tools.sensors.surroundings():
            if bool(user) != of_ourselves:
                try:
                    self._runner.prepare(user, bounds)
                except (OSError, KeyError) as error:
                    # The reading of each says so, too.
                    log.error("sensors cannot be run as %s: %s", user or "ourselves", error)  # noqa: TRY400
                    failed.add(user)
        return sorted(failed)

    def _claim_of(self, job: Job) -> Claim:
        if job.command.method != SUBMIT_READING:
            return NOTHING
        name, arguments = job.command.arguments
        return Claim(name, "" if self._tools.sensors.overlaps(name) else "\0".join([name, *arguments]))

    def _lane_of(self, method: str) -> str:
        kind = self._kinds.get(method)
        return kind.lane if kind else SHORT


def _server_tls(settings: Settings) -> Tls:
    """How callers are spoken to."""
    security = settings.security
    if security.certificate is None:
        return PLAIN
    context = server_context(security.certificate, security.key, security.client_ca)
    return context, Peers(security.peers)
