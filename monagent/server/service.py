"""Build the server from its settings, start it and stop it."""

from __future__ import annotations

import logging
import resource
import socket
import ssl
import threading
import time
from collections.abc import Sequence
from http import HTTPStatus

import monagent
from monagent.config.server_settings import ServerSettings
from monagent.errors import BadArguments, HttpRefusal, StoreAway, StoreError
from monagent.protocol import CAPABILITIES
from monagent.rpc.access import AllowList, Gate
from monagent.rpc.application import application
from monagent.rpc.dispatch import Dispatcher as Methods
from monagent.rpc.endpoint import PLAIN, Endpoint, Tls
from monagent.rpc.reception import Room
from monagent.rpc.tls import Peers, client_context, server_context
from monagent.rpc.unmarshal import Limits
from monagent.server import moves
from monagent.server.alerts import upkeep
from monagent.server.alerts.carriers.apprise import AppriseChannel
from monagent.server.alerts.carriers.mail import MailChannel
from monagent.server.alerts.carriers.outbox import Carrier, Channel
from monagent.server.alerts.carriers.settings import mailing_of
from monagent.server.alerts.carriers.webhook import WebhookChannel
from monagent.server.alerts.reports.definition import report_view_of
from monagent.server.alerts.reports.jobs import ReportJob
from monagent.server.api.routes import Api
from monagent.server.callers import Callers
from monagent.server.database import Database
from monagent.server.dispatcher import Dispatcher
from monagent.server.face import Face
from monagent.server.intake import Intake
from monagent.server.jobs import Job, Jobs
from monagent.server.metrics.exposition import Exposition
from monagent.server.metrics.own import own
from monagent.server.migrate import prepare
from monagent.server.names import Names
from monagent.server.records import Host
from monagent.server.repository import inventory
from monagent.server.repository.repository import Repository
from monagent.server.retention import JOB, Keeping, Retention, expire
from monagent.server.rollouts import job as rollouts
from monagent.server.site import hosts as site_hosts
from monagent.server.tickets import AddressBook
from monagent.server.tokens import Tokens
from monagent.server.web import page
from monagent.server.web.admission import Admission
from monagent.server.web.calls import Calls
from monagent.server.web.health import Health
from monagent.server.web.root import PATHS, PREFIXES, Root

log = logging.getLogger(__name__)

_EVERYWHERE = ("0.0.0.0", "::")  # noqa: S104 - to notice it, not to listen there

LIMITS = Limits(size=2 * 1024 * 1024, values=50_000)
"""Of what an agent may hand in at once: 100 results with their stderr."""
CONNECTIONS = 20_000
PER_PEER = 300
REQUESTS, REQUEST_BYTES = 2_000, 32 << 20
"""That may wait for a thread: after an outage a whole fleet hands in at once."""
THREADS = 48
"""That take requests. Each waits until its results are kept, so that there are as many requests in one commit at most."""
OPEN_SECONDS = 5.0
CARRY_SECONDS = 10.0
"""For a notification that is on its way when the server is told to end."""


class Server:
    """One process of the reference server."""

    def __init__(self, settings: ServerSettings) -> None:
        self._settings = settings
        self.database = Database(settings.database.url)
        self._names = Names()
        addresses = AddressBook(self._names)
        self._repository = Repository(self.database, settings.sensor.source_dir, settings.sensor.public_key)
        self._moves = moves.Moves(self.database, addresses.is_from)
        self.intake = Intake(self.database, addresses, [inventory.noted])
        mailing = mailing_of(settings.mail, socket.gethostname())
        channels: dict[str, Channel] = {
            "mail": MailChannel(self.database, mailing, report_view_of(self.database)),
            "webhook": WebhookChannel(),
            "apprise": AppriseChannel(),
        }
        self.carrier = Carrier(self.database, channels)
        self.dispatcher = Dispatcher(self.database, self._names, _agents_tls(settings), settings.agents.ticket_lifetime)
        # What may take minutes has a thread of its own.
        self._jobs = (Jobs(self.database, self._quick_jobs()), Jobs(self.database, self._slow_jobs()))
        face = Face(self.intake, self._hosts, addresses, self._url_for, self._repository.read)
        self._calls = Calls(lambda: self.intake.taken)
        methods = Methods(face.methods(), face.settle, CAPABILITIES, LIMITS, self._calls)
        callers = Callers(settings.server.proxies)
        self._endpoint = Endpoint(
            settings.server.host,
            settings.server.port,
            application(self._calls.watching(methods.answer), self._root(callers), callers.address),
            Gate(AllowList(None), LIMITS.size, PATHS, PREFIXES),
            threads=THREADS,
            tls=_own_tls(settings),
            room=_room(balanced=bool(settings.server.proxies)),
            # A fault would be an answer, after which an agent gives a result up.
            busy=HttpRefusal(HTTPStatus.SERVICE_UNAVAILABLE),
        )
        self._stopping = threading.Event()
        self._opener = threading.Thread(target=self._open_later, name="opener")

    @property
    def url(self) -> str:
        """The URL that agents are told to use: this server's, or another's when `[server] url` moves them there."""
        return self._settings.url_at(*self._endpoint.address)

    def start(self) -> None:
        """Listen, and begin to work. A database that is away is waited for.

        Raises:
            AlreadyRunning: the port is taken.
            OSError: the address cannot be used.
            StoreError: the database is of no use to this version.
        """
        self._endpoint.start()
        try:
            self._open()
        except StoreAway as error:
            log.error("waiting for the database: %s", error)  # noqa: TRY400 - a state, not a bug
            self._opener.start()
        except BaseException:
            self._endpoint.stop()
            raise
        if self._settings.server.url is None:
            log.info("server %s takes results at %s", monagent.__version__, self.url)
        else:
            where = self._endpoint.address
            log.info("server %s listens on %s port %d, URL for agents: %s", monagent.__version__, *where, self.url)

    def stop(self) -> None:
        """Answer what is being answered, then close."""
        self._stopping.set()
        if self._opener.is_alive():
            self._opener.join()
        for jobs in self._jobs:
            jobs.stop()
        self.dispatcher.stop()
        self.carrier.stop(time.monotonic() + CARRY_SECONDS)
        self._endpoint.stop()
        self.intake.stop()
        self._names.close()
        self.database.close()
        log.info("server stopped")

    def _open(self) -> None:
        prepare(self.database)
        self.intake.start()
        self.dispatcher.start()
        self.carrier.start()
        for jobs in self._jobs:
            jobs.start()

    def _open_later(self) -> None:
        while not self._stopping.wait(OPEN_SECONDS):
            try:
                self._open()
            except StoreAway as error:
                log.debug("still waiting for the database: %s", error)
                continue
            except StoreError as error:
                log.error("waiting for the database: %s", error)  # noqa: TRY400 - a state, not a bug
                continue
            log.info("the database is there")
            return

    def _quick_jobs(self) -> Sequence[Job]:
        return [
            Job("roll-outs", rollouts.EVERY_SECONDS, rollouts.RolloutJob(self.database).run),
            Job("moves", moves.EVERY_SECONDS, moves.MoveJob(self.database).run),
            Job("expiry", 30.0, lambda now: expire(self.database, now)),
            *upkeep.jobs(self.database),
            Job("reports", 10.0, ReportJob(self.database, self.carrier.wake).run),
        ]

    def _slow_jobs(self) -> Sequence[Job]:
        kept = self._settings.retention
        keeping = Keeping(kept.readings, kept.five_minutes, kept.hours, kept.tickets)
        retention = Retention(self.database, keeping, lambda: self._stopping.wait(0.01))
        return [Job(JOB, 3600.0, retention.run, alone=True)]

    def _root(self, callers: Callers) -> Root:
        shown = self._settings.metrics
        admission = Admission(Tokens(self.database, time.time), callers.address, shown.allow)
        exposition = Exposition(
            self.database,
            lambda: own(self.intake, self.dispatcher, self._endpoint, self._calls),
            shown.values,
            lambda: admission.refused,
        )
        health = Health(self.dispatcher, self._calls)
        return Root(lambda: page.render(self.database), exposition.render, health, admission, Api(self.database))

    def _hosts(self) -> list[Host]:
        with self.database.read() as db:
            return site_hosts.hosts(db)

    def _url_for(self, name: str, peer: str) -> str | None:
        return self._moves.url_for(name, peer, self._own_url)

    def _own_url(self) -> str:
        if self._settings.server.url is None and self._endpoint.address[0] in _EVERYWHERE:
            # An agent that took this for a URL would move to its own host.
            raise BadArguments("this server listens on every address and cannot tell its URL; [server] url must say it")
        return self.url


def _room(*, balanced: bool) -> Room:
    """As many connections as the process may have open, half of them for agents that call us."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 2 * CONNECTIONS + 1_000
    if soft < wanted:
        soft = min(wanted, hard) if hard != resource.RLIM_INFINITY else wanted
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    total = min(CONNECTIONS, soft // 2)
    return Room(total, total if balanced else PER_PEER, REQUESTS, REQUEST_BYTES)


def _own_tls(settings: ServerSettings) -> Tls:
    server = settings.server
    if server.certificate is None:
        return PLAIN
    return server_context(server.certificate, server.key, server.client_ca, ("server.cfg", "server")), Peers(())


def _agents_tls(settings: ServerSettings) -> ssl.SSLContext | None:
    agents = settings.agents
    if agents.ca is None and agents.certificate is None:
        return None
    return client_context(
        "https://", ca=agents.ca, certificate=agents.certificate, key=agents.key, place=("server.cfg", "agents")
    )
